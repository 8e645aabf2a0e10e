//! The names of interfaces, and which of them this gateway knows.

use semver::{Version, VersionReq};

use crate::{
    config::{Grants, Kind},
    v0_1,
};

/// A name such as `wasi:io/poll@0.2.6`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) interface: &'a str,
    pub(super) version: Option<&'a str>,
}

/// An interface that plugins export.
pub(super) struct Contract {
    pub(super) kind: Kind,
    pub(super) interface: &'static str,
    pub(super) versions: &'static [&'static str],
    pub(super) functions: &'static [&'static str],
}

/// The contracts by kind.
pub(super) const CONTRACTS: [Contract; 3] = [
    Contract {
        kind: Kind::Claims,
        interface: "witgate:claims/mapping",
        versions: &[v0_1::VERSION],
        functions: &["init", "resolve"],
    },
    Contract {
        kind: Kind::Storage,
        interface: "witgate:storage/store",
        versions: &[v0_1::VERSION],
        functions: &["init", "check", "write", "read", "cursor", "[method]cursor.next"],
    },
    Contract {
        kind: Kind::Recovery,
        interface: "witgate:recovery/repair",
        versions: &[v0_1::VERSION],
        functions: &["init", "diagnose", "plan"],
    },
];

/// An interface that plugins may import.
pub(super) struct Offered {
    interface: &'static str,
    pub(super) version: &'static str,
    /// Its functions, where the contract is this gateway's own. Those of WASI are wasmtime's
    /// matter.
    pub(super) functions: Option<&'static [&'static str]>,
}

const fn own(interface: &'static str, functions: &'static [&'static str]) -> Offered {
    Offered {
        interface,
        version: v0_1::VERSION,
        functions: Some(functions),
    }
}

const fn wasi(interface: &'static str) -> Offered {
    Offered {
        interface,
        version: "0.2.0",
        functions: None,
    }
}

/// All interfaces that the linker has. Files and sockets are among them because Rust's standard
/// library names them; what they do is refuse.
const OFFERED: [Offered; 36] = [
    own("witgate:host/log", &["write"]),
    own(
        "witgate:host/key-value",
        &["get", "get-many", "scan", "scan-many", "commit", "commit-if"],
    ),
    own("witgate:claims/types", &[]),
    own("witgate:storage/types", &[]),
    own("witgate:recovery/types", &[]),
    own("witgate:recovery/kubernetes", &["get", "list"]),
    own("witgate:recovery/etcd", &["look"]),
    wasi("wasi:cli/environment"),
    wasi("wasi:cli/exit"),
    wasi("wasi:cli/stderr"),
    wasi("wasi:cli/stdin"),
    wasi("wasi:cli/stdout"),
    wasi("wasi:cli/terminal-input"),
    wasi("wasi:cli/terminal-output"),
    wasi("wasi:cli/terminal-stderr"),
    wasi("wasi:cli/terminal-stdin"),
    wasi("wasi:cli/terminal-stdout"),
    wasi("wasi:clocks/monotonic-clock"),
    wasi("wasi:clocks/wall-clock"),
    wasi("wasi:filesystem/preopens"),
    wasi("wasi:filesystem/types"),
    wasi("wasi:http/outgoing-handler"),
    wasi("wasi:http/types"),
    wasi("wasi:io/error"),
    wasi("wasi:io/poll"),
    wasi("wasi:io/streams"),
    wasi("wasi:random/insecure"),
    wasi("wasi:random/insecure-seed"),
    wasi("wasi:random/random"),
    wasi("wasi:sockets/instance-network"),
    wasi("wasi:sockets/ip-name-lookup"),
    wasi("wasi:sockets/network"),
    wasi("wasi:sockets/tcp"),
    wasi("wasi:sockets/tcp-create-socket"),
    wasi("wasi:sockets/udp"),
    wasi("wasi:sockets/udp-create-socket"),
];

/// An import that reaches outside the component, so that the operator has to grant it.
pub(crate) struct NeededGrant {
    interface: &'static str,
    /// Whether something of the kind is granted.
    pub(crate) is_given: fn(&Grants) -> bool,
    /// How it is written under `grants`.
    pub(crate) lines: &'static [&'static str],
}

const NEEDED_GRANTS: [NeededGrant; 4] = [
    NeededGrant {
        interface: "witgate:host/key-value",
        is_given: |grants| grants.key_value.is_some(),
        lines: &["keyValue:", "  maxBytes: 1GiB"],
    },
    NeededGrant {
        interface: "wasi:http/outgoing-handler",
        is_given: |grants| !grants.http.is_empty(),
        lines: &["http:", "  - http://HOST:PORT"],
    },
    NeededGrant {
        interface: "witgate:recovery/kubernetes",
        is_given: |grants| !grants.kubernetes.is_empty(),
        lines: &["kubernetes:", "  - resource: KIND"],
    },
    NeededGrant {
        interface: "witgate:recovery/etcd",
        is_given: |grants| grants.etcd,
        lines: &["etcd: true"],
    },
];

/// The contract that a component's export is, perhaps in a version that is not offered here.
pub(crate) struct Contracted {
    pub(crate) kind: Kind,
    pub(crate) version: Option<String>,
    pub(crate) is_offered: bool,
}

/// Where an import is found.
pub(super) enum Offer {
    /// In the linker.
    Here(&'static Offered),
    /// In other versions, which are named.
    OtherVersion(String),
    /// Nowhere; says what there is instead.
    Nowhere(String),
}

impl<'a> Name<'a> {
    /// Takes a name apart; `None` for what is no name of an interface.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (interface, version) = match name.split_once('@') {
            Some((interface, version)) => (interface, Some(version)),
            None => (name, None),
        };
        (interface.contains(':') && interface.contains('/')).then_some(Self { interface, version })
    }

    /// Whether `offered` can stand for the version of this name, by semantic versioning.
    pub(super) fn fits(&self, offered: &str) -> bool {
        let version = self.version.and_then(|version| Version::parse(version).ok());
        let (Some(version), Ok(offered)) = (version, VersionReq::parse(&format!("^{offered}"))) else {
            return false;
        };
        offered.matches(&version)
    }
}

/// What the operator has to grant for an import, if it needs that.
pub(crate) fn needed_grant(import: &str) -> Option<&'static NeededGrant> {
    let interface = Name::parse(import)?.interface;
    NEEDED_GRANTS.iter().find(|needed| needed.interface == interface)
}

/// The contract that an export is, if it is one.
pub(crate) fn contract_of(export: &str) -> Option<Contracted> {
    let name = Name::parse(export)?;
    let contract = CONTRACTS
        .iter()
        .find(|contract| contract.interface == name.interface)?;
    Some(Contracted {
        kind: contract.kind,
        version: name.version.map(str::to_owned),
        is_offered: contract.versions.iter().any(|offered| name.fits(offered)),
    })
}

/// What is exported by plugins of all kinds: `witgate:claims/mapping@0.1.0 (claims), ...`.
pub(crate) fn contracts_in_words() -> String {
    let named = CONTRACTS.iter().flat_map(|contract| {
        let Contract { kind, interface, .. } = contract;
        { contract.versions.iter() }.map(move |version| format!("{interface}@{version} ({kind})"))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Whether an import is offered here, and if not, what is.
pub(crate) fn standing(import: &str) -> Result<(), String> {
    match find(import) {
        Offer::Here(_) => Ok(()),
        Offer::OtherVersion(offered) => Err(format!("offered here: {offered}")),
        Offer::Nowhere(instead) => Err(format!("not offered here. {instead}")),
    }
}

/// Looks an import up.
pub(super) fn find(import: &str) -> Offer {
    let Some(name) = Name::parse(import) else {
        return Offer::Nowhere("Plugins import interfaces of `witgate` and of WASI 0.2 only.".to_owned());
    };
    let same: Vec<_> = OFFERED
        .iter()
        .filter(|offered| offered.interface == name.interface)
        .collect();
    if let Some(offered) = same.iter().find(|offered| name.fits(offered.version)) {
        return Offer::Here(offered);
    }
    let version = |offered: &&Offered| match offered.functions {
        Some(_) => offered.version.to_owned(),
        None => "0.2".to_owned(),
    };
    if !same.is_empty() {
        return Offer::OtherVersion(same.iter().map(version).collect::<Vec<_>>().join(", "));
    }
    let package = name.interface.split('/').next().unwrap_or_default();
    let siblings = OFFERED
        .iter()
        .filter(|offered| offered.interface.split('/').next() == Some(package));
    let siblings: Vec<_> = siblings.map(|offered| offered.interface).collect();
    Offer::Nowhere(match siblings.as_slice() {
        [] => "Plugins import interfaces of `witgate` and of WASI 0.2 only.".to_owned(),
        there => format!("Of {package} there is {}.", there.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_semantically() {
        for (name, offered, fits) in [
            ("witgate:host/log@0.1.0", "0.1.0", true),
            ("witgate:host/log@0.1.7", "0.1.0", true),
            ("witgate:host/log@0.2.0", "0.1.0", false),
            ("witgate:host/log@1.0.0", "0.1.0", false),
            ("witgate:host/log@0.1.0-rc.1", "0.1.0", false),
            ("witgate:host/log", "0.1.0", false),
            ("witgate:host/log@newest", "0.1.0", false),
            ("wasi:io/poll@0.2.12", "0.2.0", true),
            ("wasi:io/poll@0.3.0", "0.2.0", false),
        ] {
            assert_eq!(Name::parse(name).unwrap().fits(offered), fits, "{name}");
        }
    }

    #[test]
    fn an_import_is_found_or_what_is_nearest_is_said() {
        assert!(matches!(find("wasi:cli/environment@0.2.3"), Offer::Here(_)));
        assert!(matches!(find("witgate:host/key-value@0.1.0"), Offer::Here(_)));
        let Offer::OtherVersion(versions) = find("wasi:http/types@0.3.0") else {
            panic!()
        };
        assert_eq!(versions, "0.2");
        let Offer::Nowhere(instead) = find("wasi:http/incoming-handler@0.2.0") else {
            panic!()
        };
        assert_eq!(
            instead,
            "Of wasi:http there is wasi:http/outgoing-handler, wasi:http/types."
        );
        for stranger in ["acme:vault/open@1.0.0", "do-something", ""] {
            let Offer::Nowhere(instead) = find(stranger) else {
                panic!("{stranger}")
            };
            assert!(instead.contains("WASI 0.2 only"), "{stranger}: {instead}");
        }
    }
}
