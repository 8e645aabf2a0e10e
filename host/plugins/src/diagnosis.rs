//! Says in words why a file is not a plugin that can be linked here, before wasmtime has to.

mod names;

use wasmtime::{
    Engine,
    component::{Component, types::ComponentItem},
};

use crate::{
    config::{Grants, Kind},
    denials::{grant_lines, printable},
};
use names::{CONTRACTS, Name, Offer, find};
pub(crate) use names::{contract_of, contracts_in_words, needed_grant, standing};

/// Why a file can't be linked as the plugin that it is configured to be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Finding {
    /// Something else than WebAssembly.
    #[error("it is not a WebAssembly file")]
    NotWasm,
    /// A core module.
    #[error(
        "it is a core module, not a component: build it with `cargo build --target wasm32-wasip2`, \
         or make it a component with `wasm-tools component new`"
    )]
    CoreModule,
    /// A file that ends too early, or is wrong in the middle.
    #[error("it is truncated or damaged at byte {offset} of {size}: {reason}")]
    Damaged {
        /// Where reading it failed.
        offset: u64,
        /// The file's size.
        size: usize,
        /// What the reader said.
        reason: String,
    },
    /// An interface that is offered in other versions.
    #[error("it imports {import}; this gateway offers {offered} of it: rebuild it against that version")]
    ImportVersion {
        /// The import, with its version.
        import: String,
        /// The versions that there are.
        offered: String,
    },
    /// An interface that nobody here offers.
    #[error("it imports {import}, which this gateway doesn't offer. {instead}")]
    Import {
        /// The import.
        import: String,
        /// What there is instead.
        instead: String,
    },
    /// An interface of the right name without a function of it.
    #[error("it imports `{function}` of {import}, which this gateway's {offered} doesn't have")]
    ImportFunction {
        /// The interface.
        import: String,
        /// The function.
        function: String,
        /// The version that there is.
        offered: &'static str,
    },
    /// An import that needs a grant.
    #[error("it imports {import}, which has to be granted. To grant it, add\n{lines}")]
    Grant {
        /// The import.
        import: String,
        /// The lines to add.
        lines: String,
    },
    /// The contract of its kind, in another version.
    #[error("it exports {export}; this gateway offers {offered} of it: rebuild it against that version")]
    ExportVersion {
        /// The export, with its version.
        export: String,
        /// The versions that there are.
        offered: String,
    },
    /// The contract of another kind.
    #[error(
        "it exports {export}: it is a {is} plugin, but configured with `kind: {configured}`; set `kind: {is}`"
    )]
    OtherKind {
        /// The export.
        export: String,
        /// The kind that it is.
        is: Kind,
        /// The kind that the configuration says.
        configured: Kind,
    },
    /// No contract at all.
    #[error("it exports {exports}, but a {kind} plugin exports {wanted}")]
    NoContract {
        /// What it exports.
        exports: String,
        /// The kind that the configuration says.
        kind: Kind,
        /// What plugins of that kind export.
        wanted: String,
    },
    /// The contract without a function of it.
    #[error("it exports {export} without `{function}`")]
    ExportFunction {
        /// The export.
        export: String,
        /// The function.
        function: &'static str,
    },
    /// Names that fit, with types that don't.
    #[error("its types differ from the contract's: {0}")]
    Types(String),
}

/// Checks the whole file: that it is a component, complete, and valid. Wasmtime reads files
/// lazily, and says of a truncated one only what it stumbled over.
pub(crate) fn validate(file: &[u8]) -> Result<(), Finding> {
    let magic = b"\0asm";
    if !file.starts_with(magic) {
        return Err(if magic.starts_with(file) && !file.is_empty() {
            damaged(file, 0, "it ends")
        } else {
            Finding::NotWasm
        });
    }
    if wasmparser::Parser::is_core_wasm(file) {
        return Err(Finding::CoreModule);
    }
    match wasmparser::Validator::new().validate_all(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(damaged(file, error.offset() as u64, error.message())),
    }
}

fn damaged(file: &[u8], offset: u64, reason: &str) -> Finding {
    Finding::Damaged {
        offset,
        size: file.len(),
        reason: reason.to_owned(),
    }
}

/// Compares what a component imports and exports with what is offered. Returns the version of its
/// kind's contract that it speaks.
pub(crate) fn compare(
    engine: &Engine,
    component: &Component,
    kind: Kind,
) -> Result<&'static str, Vec<Finding>> {
    let ty = component.component_type();
    let mut findings = Vec::new();
    for (name, import) in ty.imports(engine) {
        findings.extend(check_import(engine, name, &import.ty));
    }
    let exports: Vec<_> = ty
        .exports(engine)
        .map(|(name, export)| (name, export.ty))
        .collect();
    match check_exports(engine, &exports, kind) {
        Ok(version) if findings.is_empty() => return Ok(version),
        Ok(_) => {}
        Err(found) => findings.extend(found),
    }
    Err(findings)
}

fn check_import(engine: &Engine, import: &str, item: &ComponentItem) -> Vec<Finding> {
    let shown = || printable(import).to_string();
    let offer = match find(import) {
        Offer::Here(offer) => offer,
        Offer::OtherVersion(offered) => {
            return vec![Finding::ImportVersion {
                import: shown(),
                offered,
            }];
        }
        Offer::Nowhere(instead) => {
            return vec![Finding::Import {
                import: shown(),
                instead,
            }];
        }
    };
    let (ComponentItem::ComponentInstance(instance), Some(functions)) = (item, offer.functions) else {
        return Vec::new();
    };
    let unknown = |(name, item): (&str, ComponentItem)| {
        let known = !matches!(item, ComponentItem::ComponentFunc(_)) || functions.contains(&name);
        let function = printable(name).to_string();
        (!known).then(|| Finding::ImportFunction {
            import: shown(),
            function,
            offered: offer.version,
        })
    };
    instance
        .exports(engine)
        .map(|(name, export)| (name, export.ty))
        .filter_map(unknown)
        .collect()
}

/// What a component imports that the operator has to grant, and has not granted.
pub(crate) fn ungranted(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    grants: &Grants,
) -> Vec<Finding> {
    let ty = component.component_type();
    let finding = |import: &str| {
        let needed = needed_grant(import).filter(|needed| !(needed.is_given)(grants))?;
        Some(Finding::Grant {
            import: import.to_owned(),
            lines: grant_lines(plugin, needed.lines),
        })
    };
    ty.imports(engine).filter_map(|(name, _)| finding(name)).collect()
}

fn check_exports(
    engine: &Engine,
    exports: &[(&str, ComponentItem)],
    kind: Kind,
) -> Result<&'static str, Vec<Finding>> {
    for (export, item) in exports {
        let Some(name) = Name::parse(export) else { continue };
        let Some(contract) = CONTRACTS
            .iter()
            .find(|contract| contract.interface == name.interface)
        else {
            continue;
        };
        let export = printable(export).to_string();
        if contract.kind != kind {
            return Err(vec![Finding::OtherKind {
                export,
                is: contract.kind,
                configured: kind,
            }]);
        }
        let Some(version) = contract.versions.iter().find(|offered| name.fits(offered)) else {
            return Err(vec![Finding::ExportVersion {
                export,
                offered: contract.versions.join(", "),
            }]);
        };
        let ComponentItem::ComponentInstance(instance) = item else {
            continue;
        };
        let missing = |function: &&&'static str| instance.get_export(engine, function).is_none();
        let found = contract.functions.iter().filter(missing);
        let found: Vec<_> = found
            .map(|function| Finding::ExportFunction {
                export: export.clone(),
                function,
            })
            .collect();
        return if found.is_empty() { Ok(version) } else { Err(found) };
    }
    let names: Vec<_> = exports
        .iter()
        .map(|(name, _)| printable(name).to_string())
        .collect();
    let exports = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    };
    let wanted = CONTRACTS.iter().filter(|contract| contract.kind == kind);
    let wanted: Vec<_> = wanted
        .flat_map(|c| c.versions.iter().map(|v| format!("{}@{v}", c.interface)))
        .collect();
    Err(vec![Finding::NoContract {
        exports,
        kind,
        wanted: wanted.join(" or "),
    }])
}
