//! Prometheus' `relabel_config`, with its exact meaning (`model/relabel/relabel.go`).

mod config;
mod label_set;
mod letters;
mod template;

use md5::{Digest, Md5};
use regex::Regex;

pub use self::config::{RelabelAction, RelabelConfig, RelabelError};
pub(crate) use self::label_set::LabelSet;
use self::template::Template;

/// Rules that labels go through, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relabel(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    step: Step,
}

/// What a rule does with its source: the values of its source labels, joined.
#[derive(Clone, Debug)]
enum Step {
    Replace {
        regex: Regex,
        target: Template,
        replacement: Template,
    },
    Keep(Regex),
    Drop(Regex),
    KeepEqual(String),
    DropEqual(String),
    HashMod {
        modulus: u64,
        target: String,
    },
    Lowercase(String),
    Uppercase(String),
    /// These three are about labels' names, and not about the source.
    LabelMap {
        regex: Regex,
        replacement: Template,
    },
    LabelDrop(Regex),
    LabelKeep(Regex),
}

impl Relabel {
    /// Checks rules. The error says which one is wrong.
    pub(crate) fn new(rules: &[RelabelConfig]) -> Result<Self, (usize, RelabelError)> {
        let rules = rules.iter().enumerate();
        let rules = rules.map(|(index, rule)| rule.rule().map_err(|error| (index, error)));
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes labels as the rules say; whether their series is kept.
    pub(crate) fn apply(&self, labels: &mut LabelSet) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    fn apply(&self, labels: &mut LabelSet) -> bool {
        let mut source = labels.take_scratch();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name));
        }
        let is_kept = self.step.apply(labels, &source);
        labels.give_scratch(source);
        is_kept
    }
}

impl Step {
    fn apply(&self, labels: &mut LabelSet, source: &str) -> bool {
        match self {
            Self::Keep(regex) => return regex.is_match(source),
            Self::Drop(regex) => return !regex.is_match(source),
            Self::KeepEqual(target) => return labels.get(target) == source,
            Self::DropEqual(target) => return labels.get(target) != source,
            Self::Replace {
                regex,
                target,
                replacement,
            } => {
                if let Some(found) = regex.captures(source) {
                    let target = target.expand(&found);
                    // A label's name may be any text but none.
                    if !target.is_empty() {
                        labels.set(&target, &replacement.expand(&found));
                    }
                }
            }
            Self::HashMod { modulus, target } => {
                let digest: [u8; 16] = Md5::digest(source.as_bytes()).into();
                let (_, last) = digest.split_at(8);
                let hash = last.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte));
                let rest = hash.checked_rem(*modulus).unwrap_or_default();
                labels.set(target, &rest.to_string());
            }
            Self::Lowercase(target) => labels.set(target, &letters::lower(source)),
            Self::Uppercase(target) => labels.set(target, &letters::upper(source)),
            Self::LabelMap { regex, replacement } => labels.each(|labels, name, value| {
                if let Some(found) = regex.captures(name) {
                    labels.set(&replacement.expand(&found), value);
                }
            }),
            Self::LabelDrop(regex) => labels.each(|labels, name, _| {
                if regex.is_match(name) {
                    labels.remove(name);
                }
            }),
            Self::LabelKeep(regex) => labels.each(|labels, name, _| {
                if !regex.is_match(name) {
                    labels.remove(name);
                }
            }),
        }
        true
    }
}

#[cfg(test)]
mod tests;
