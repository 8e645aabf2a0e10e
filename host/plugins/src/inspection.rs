//! What a component's file says of itself, without running any of it.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;
use wasmparser::{ComponentExternalKind, CustomSectionReader, KnownCustom, Parser, Payload};

use crate::{
    config::Kind,
    denials::printable,
    diagnosis::{self, Finding, contract_of, contracts_in_words, needed_grant, standing},
    load::{Problem, file::File},
};

/// The custom section by which an SDK says what it is: `witgate-sdk 0.1.0`.
const SDK_SECTION: &str = "witgate:sdk";

/// Producers that are listed. A handful is usual, and a file could name a million.
const MAX_PRODUCERS: usize = 64;

/// What a component's file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The file's size in bytes.
    pub size: usize,
    /// The file's SHA-256 digest in hexadecimal.
    pub sha256: String,
    /// The contract that it exports; none if there is none among its exports.
    pub contract: Option<Spoken>,
    /// The SDK that it was built with, if that has left its name: `witgate-sdk 0.1.0`.
    pub sdk: Option<String>,
    /// The tools that it was made with, as they say themselves.
    pub producers: BTreeSet<Producer>,
    /// What it wants.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
}

/// The contract that a component speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spoken {
    /// Of which kind of plugin.
    pub kind: Kind,
    /// Which version, if it names one.
    pub version: Option<String>,
    /// Whether this gateway speaks it too.
    pub offered: bool,
}

/// A tool that had a part in a file, as in the section `producers` of WebAssembly's tool conventions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Which part: `language`, `processed-by`, `sdk`.
    pub role: String,
    /// The tool.
    pub name: String,
    /// Its version, perhaps empty.
    pub version: String,
}

/// Something that a component wants from the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// `witgate:host/log@0.1.0`
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Why this gateway can't give it, if it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The lines under `grants` that it takes, if it takes a grant.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub grant: &'static [&'static str],
}

/// Whose interface an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// The contract's.
    Witgate,
    /// The WebAssembly System Interface's.
    Wasi,
    /// Somebody else's.
    Other,
}

impl Inspection {
    /// Reads a file, which has to be a component, complete and valid.
    pub async fn read(path: &Path) -> Result<Self, Problem> {
        let (file, content) = File::read(path.to_owned(), None).await?;
        let found = diagnosis::validate(&content).and_then(|()| Self::of(&content));
        let found = found.map_err(|finding| Problem::Link(vec![finding]))?;
        Ok(Self {
            sha256: file.digest.to_string(),
            ..found
        })
    }

    /// What plugins of each kind export, in words.
    pub fn contracts() -> String {
        contracts_in_words()
    }

    fn of(content: &[u8]) -> Result<Self, Finding> {
        let mut found = Self {
            size: content.len(),
            sha256: String::new(),
            contract: None,
            sdk: None,
            producers: BTreeSet::new(),
            imports: Vec::new(),
            exports: Vec::new(),
        };
        found.look(content).map_err(|error| Finding::Damaged {
            offset: error.offset() as u64,
            size: content.len(),
            reason: error.message().to_owned(),
        })?;
        found
            .imports
            .sort_by(|a, b| (a.owner, &a.name).cmp(&(b.owner, &b.name)));
        found.contract = { found.exports.iter() }.find_map(|export| {
            let spoken = contract_of(export)?;
            Some(Spoken {
                kind: spoken.kind,
                version: spoken.version,
                offered: spoken.is_offered,
            })
        });
        Ok(found)
    }

    /// Imports and exports are those of the outermost component; tools leave their names in what is
    /// inside of it as well.
    fn look(&mut self, content: &[u8]) -> wasmparser::Result<()> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(content) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        self.imports.push(Import::new(import?.name.name));
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export?;
                        // What else is exported are the types that the interface is made of.
                        if export.kind == ComponentExternalKind::Instance {
                            self.exports.push(printable(export.name.name).to_string());
                        }
                    }
                }
                Payload::CustomSection(section) => self.custom(&section)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) -> wasmparser::Result<()> {
        if section.name() == SDK_SECTION {
            let text = String::from_utf8_lossy(section.data());
            self.sdk = Some(printable(&text).to_string());
        }
        let KnownCustom::Producers(fields) = section.as_known() else {
            return Ok(());
        };
        for field in fields {
            let field = field?;
            for value in field.values {
                let value = value?;
                if self.producers.len() < MAX_PRODUCERS {
                    self.producers.insert(Producer {
                        role: printable(field.name).to_string(),
                        name: printable(value.name).to_string(),
                        version: printable(value.version).to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// What it was built with, in words: the SDK, or else the tools.
    pub fn built_with(&self) -> String {
        match (&self.sdk, self.tools()) {
            (Some(sdk), _) => sdk.clone(),
            (None, tools) if tools.is_empty() => "tools that have not left their names".to_owned(),
            (None, tools) => tools,
        }
    }

    /// The tools, in words: `Rust, rustc 1.95.0`. Where one says from which sources it was made, that is
    /// left out.
    pub fn tools(&self) -> String {
        let tool = |producer: &Producer| {
            let version = producer.version.split(' ').next().unwrap_or_default();
            format!("{} {version}", producer.name).trim_end().to_owned()
        };
        self.producers.iter().map(tool).collect::<Vec<_>>().join(", ")
    }
}

impl Import {
    fn new(name: &str) -> Self {
        let owner = match name.split(':').next() {
            Some("witgate") => Owner::Witgate,
            Some("wasi") => Owner::Wasi,
            _ => Owner::Other,
        };
        Self {
            name: printable(name).to_string(),
            owner,
            missing: standing(name).err(),
            grant: needed_grant(name).map_or(&[], |needed| needed.lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Inspection {
        Inspection::of(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn a_component_is_taken_apart() {
        let found = of(r#"(component
              (core module (@custom "witgate:sdk" "witgate-sdk 9.9") (@producers (processed-by "rustc" "1.95 (5980761)")))
              (import "wasi:http/outgoing-handler@0.2.4" (instance))
              (import "witgate:host/log@0.7.0" (instance))
              (import "acme:vault/open" (instance))
              (instance $i)
              (export "witgate:claims/mapping@0.9.0" (instance $i)))"#);
        let contract = found.contract.clone().unwrap();
        assert_eq!(
            (contract.kind, contract.version.as_deref(), contract.offered),
            (Kind::Claims, Some("0.9.0"), false)
        );
        assert_eq!(found.built_with(), "witgate-sdk 9.9");
        assert_eq!(found.tools(), "rustc 1.95");
        let imports: Vec<_> = found
            .imports
            .iter()
            .map(|import| {
                (
                    import.name.as_str(),
                    import.owner,
                    import.missing.is_none(),
                    import.grant.len(),
                )
            })
            .collect();
        assert_eq!(
            imports,
            [
                ("witgate:host/log@0.7.0", Owner::Witgate, false, 0),
                ("wasi:http/outgoing-handler@0.2.4", Owner::Wasi, true, 2),
                ("acme:vault/open", Owner::Other, false, 0),
            ]
        );
    }

    #[test]
    fn what_a_file_says_is_bounded_and_stays_on_its_line() {
        let tools: String = (0..200)
            .map(|tool| format!("(processed-by \"tool{tool}\" \"\\1b\\n\")"))
            .collect();
        let found = of(&format!("(component (core module (@producers {tools})))"));
        assert_eq!(found.producers.len(), MAX_PRODUCERS);
        assert!(!found.built_with().contains(char::is_control));
        assert_eq!(found.contract, None);
    }
}
