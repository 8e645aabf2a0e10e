//! What a plugin tried to reach and may not, and what the operator would write to allow it.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{addresses::Reach, origin::Origin, secrets::Withheld};

/// How many different denials are remembered, and so logged as a warning: a plugin that makes
/// names up must not fill the log.
const MAX_REMEMBERED: usize = 32;

/// Something that a plugin tried to reach and may not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Denial {
    /// No grant names the origin.
    Origin(Origin),
    /// The request's address is not a plain web origin, so no grant can name it.
    NotAnOrigin(String),
    /// The name resolved to addresses that its grant doesn't allow.
    Address { origin: Origin, address: IpAddr },
    /// A secret was asked for that doesn't go there.
    Secret { origin: Origin, withheld: Withheld },
    /// Kubernetes objects that no grant names; says so in words.
    Kubernetes(String),
}

/// What one plugin was denied.
#[derive(Debug)]
pub(crate) struct Denials {
    plugin: String,
    count: AtomicU64,
    seen: Mutex<BTreeSet<Denial>>,
}

impl Denials {
    pub(crate) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            count: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// Counts a denial, and logs it when it is the first of its kind.
    pub(crate) fn record(&self, denial: Denial) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_REMEMBERED || seen.contains(&denial) {
            tracing::debug!(
                plugin = self.plugin,
                "denied again: {}",
                denial.in_words(&self.plugin)
            );
            return;
        }
        tracing::warn!(plugin = self.plugin, "denied: {}", denial.in_words(&self.plugin));
        seen.insert(denial);
    }

    /// How often the plugin was denied something.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The different denials so far, in words.
    pub(crate) fn in_words(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|denial| denial.in_words(&self.plugin)).collect()
    }
}

impl Denial {
    /// What happened, and the lines that would allow it.
    fn in_words(&self, plugin: &str) -> String {
        match self {
            Self::Origin(origin) => {
                let lines = grant_lines(plugin, &["http:", &format!("  - {origin}")]);
                format!("it calls {origin}, which is not granted. To allow it, add\n{lines}")
            }
            Self::NotAnOrigin(authority) => {
                format!("it calls `{authority}`, which is not a plain host and port, and can't be granted")
            }
            Self::Address { origin, address } => Self::address_in_words(plugin, origin, *address),
            Self::Kubernetes(words) => words.clone(),
            Self::Secret { origin, withheld } => match withheld {
                Withheld::Unknown(name) => {
                    let head = format!("  {}:", printable(name));
                    let bound = format!("    origin: {origin}");
                    let lines = grant_lines(plugin, &["secrets:", &head, &bound, "    bearerFile: FILE"]);
                    let name = printable(name);
                    format!(
                        "it asks for the secret `{name}`, which is not granted. To grant it, add\n{lines}"
                    )
                }
                Withheld::Bound { name, origin: bound } => {
                    let name = printable(name);
                    format!("it sends the secret `{name}` to {origin}, and that secret is bound to {bound}")
                }
                Withheld::NotAlone => {
                    format!(
                        "in a request to {origin}, `{{{{secret:NAME}}}}` is not the whole value of its header"
                    )
                }
            },
        }
    }

    fn address_in_words(plugin: &str, origin: &Origin, address: IpAddr) -> String {
        let what = format!("{origin} is granted, but its name resolves to {address}");
        match Reach::of(address) {
            Reach::Public | Reach::Private => {
                let grant = format!("  - origin: {origin}");
                let lines = grant_lines(plugin, &["http:", &grant, "    addresses: private"]);
                format!(
                    "{what}, an address of a private network. To allow those, replace the grant by\n{lines}"
                )
            }
            Reach::Loopback => {
                format!(
                    "{what}, the gateway's own machine. If that is meant, grant and use `localhost` or the address"
                )
            }
            Reach::LinkLocal | Reach::Special => {
                format!("{what}, a link-local, metadata or reserved address, which no name may stand for")
            }
        }
    }
}

/// Lines of the configuration that grant something, indented as they have to be.
pub(crate) fn grant_lines(plugin: &str, lines: &[&str]) -> String {
    let mut text = format!("  plugins:\n    {plugin}:\n      grants:");
    for line in lines {
        text.push_str("\n        ");
        text.push_str(line);
    }
    text
}

/// A plugin's own words, without anything that could break or fake a line of the log.
pub(crate) fn printable(text: &str) -> Printable<'_> {
    Printable(text, 256)
}

/// Text whose control characters are escaped, cut after a number of bytes.
pub(crate) struct Printable<'a>(pub(crate) &'a str, pub(crate) usize);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.0.floor_char_boundary(self.1);
        let (shown, rest) = self.0.split_at(cut);
        for c in shown.chars() {
            // Beside control characters, those that reorder or hide what follows (Unicode TR 36).
            let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            if c.is_control() || hidden {
                write!(f, "{}", c.escape_default())?
            } else {
                write!(f, "{c}")?
            }
        }
        if rest.is_empty() {
            Ok(())
        } else {
            write!(f, "… ({} bytes more)", rest.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<crate::origin::OriginPattern>()
            .unwrap()
            .exact()
            .unwrap()
            .clone()
    }

    #[test]
    fn a_denial_prints_the_lines_that_would_allow_it() {
        let denials = Denials::new("influx");
        denials.record(Denial::Origin(origin("http://influxdb:8086")));
        denials.record(Denial::Origin(origin("http://influxdb:8086")));
        assert_eq!(denials.count(), 2);
        let [words] = &denials.in_words()[..] else {
            panic!("{:?}", denials.in_words())
        };
        let lines = "plugins:\n    influx:\n      grants:\n        http:\n          - http://influxdb:8086";
        assert!(words.contains(lines), "{words}");
        let address = Denial::Address {
            origin: origin("http://influxdb:8086"),
            address: "10.0.0.1".parse().unwrap(),
        };
        let words = address.in_words("influx");
        assert!(
            words.contains("- origin: http://influxdb:8086\n            addresses: private"),
            "{words}"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let denials = Denials::new("influx");
        for port in 1..1000 {
            denials.record(Denial::Origin(origin(&format!("http://made-up:{port}"))));
        }
        assert_eq!((denials.count(), denials.in_words().len()), (999, MAX_REMEMBERED));
    }

    #[test]
    fn text_of_a_plugin_stays_on_its_line() {
        assert_eq!(
            printable("a\nb\u{1b}[2J\u{202e}").to_string(),
            "a\\nb\\u{1b}[2J\\u{202e}"
        );
        assert_eq!(Printable("häßlich", 3).to_string(), "hä… (6 bytes more)");
    }
}
