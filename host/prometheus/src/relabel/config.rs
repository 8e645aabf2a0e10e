//! What the configuration says of relabelling, in Prometheus' own words.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error};

use super::{Rule, Step, template::Template};
use crate::re2;

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// One rule, as under Prometheus' `write_relabel_configs`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelabelConfig {
    /// Labels whose values, joined, are the rule's source. A label that is not there has an empty value.
    pub source_labels: Option<Vec<String>>,
    /// What is between them. Default: `;`.
    pub separator: Option<String>,
    /// An expression in RE2's syntax that the whole source has to match. Default: `(.*)`.
    pub regex: Option<String>,
    /// What the hash is divided by, of `hashmod`.
    pub modulus: Option<u64>,
    /// The label to set; of `replace`, with `$1` and `${name}` for what the groups of `regex` matched.
    pub target_label: Option<String>,
    /// The value to set, with `$1` and `${name}`. Default: `$1`. An empty one removes the label.
    pub replacement: Option<String>,
    /// What to do. Default: `replace`.
    #[serde(default, deserialize_with = "any_case")]
    pub action: RelabelAction,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Sets the target label to the replacement, if the source matches.
    #[default]
    Replace,
    /// Drops series whose source does not match.
    Keep,
    /// Drops series whose source matches.
    Drop,
    /// Drops series whose source is not the target label's value.
    KeepEqual,
    /// Drops series whose source is the target label's value.
    DropEqual,
    /// Sets the target label to the rest of the source's hash by the modulus.
    HashMod,
    /// Copies labels whose name matches to the name that the replacement is.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

/// Why a rule can't be one. Prometheus refuses the same ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// An expression that is none.
    #[error("regex: {0:?}: {1}")]
    Regex(String, String),
    /// `hashmod` divides by it.
    #[error("modulus: `hashmod` needs one that is not 0")]
    Modulus,
    /// An action that sets a label, or compares one.
    #[error("target_label: `{0}` needs one")]
    Target(&'static str),
    /// `labelmap` gives labels their names with it.
    #[error("replacement: `labelmap` needs one")]
    Replacement,
    /// A field that means nothing to the action.
    #[error("{0}: `{1}` does not take it")]
    Needless(&'static str, &'static str),
}

/// Prometheus takes `Replace` and `LABELDROP` too.
fn any_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RelabelAction, D::Error> {
    let action = String::deserialize(deserializer)?;
    let found = RelabelAction::ALL
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(&action));
    found.ok_or_else(|| {
        let names: Vec<_> = RelabelAction::ALL.map(RelabelAction::name).into();
        D::Error::custom(format!("{action:?} is no action: there are {}", names.join(", ")))
    })
}

impl RelabelAction {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

impl RelabelConfig {
    pub(super) fn rule(&self) -> Result<Rule, RelabelError> {
        self.check()?;
        let expression = self.regex.as_deref().unwrap_or(REGEX);
        let regex =
            re2::whole(expression).map_err(|error| RelabelError::Regex(expression.to_owned(), error))?;
        let target = self.target_label.clone().unwrap_or_default();
        let replacement = Template::new(self.replacement.as_deref().unwrap_or(REPLACEMENT), &regex);
        let step = match self.action {
            RelabelAction::Replace => Step::Replace {
                target: Template::new(&target, &regex),
                regex,
                replacement,
            },
            RelabelAction::Keep => Step::Keep(regex),
            RelabelAction::Drop => Step::Drop(regex),
            RelabelAction::KeepEqual => Step::KeepEqual(target),
            RelabelAction::DropEqual => Step::DropEqual(target),
            RelabelAction::HashMod => Step::HashMod {
                modulus: self.modulus.unwrap_or_default(),
                target,
            },
            RelabelAction::LabelMap => Step::LabelMap { regex, replacement },
            RelabelAction::LabelDrop => Step::LabelDrop(regex),
            RelabelAction::LabelKeep => Step::LabelKeep(regex),
            RelabelAction::Lowercase => Step::Lowercase(target),
            RelabelAction::Uppercase => Step::Uppercase(target),
        };
        Ok(Rule {
            source_labels: self.source_labels.clone().unwrap_or_default(),
            separator: self.separator.as_deref().unwrap_or(SEPARATOR).to_owned(),
            step,
        })
    }

    fn check(&self) -> Result<(), RelabelError> {
        use RelabelAction::{
            DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
        };
        let (action, name) = (self.action, self.action.name());
        let has_target = self
            .target_label
            .as_ref()
            .is_some_and(|target| !target.is_empty());
        let has_replacement = self
            .replacement
            .as_deref()
            .is_some_and(|text| text != REPLACEMENT);
        let has_separator = self.separator.as_deref().is_some_and(|text| text != SEPARATOR);
        if action == HashMod && self.modulus.unwrap_or_default() == 0 {
            return Err(RelabelError::Modulus);
        }
        let sets = matches!(
            action,
            Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual
        );
        if sets && !has_target {
            return Err(RelabelError::Target(name));
        }
        if action == LabelMap && self.replacement.as_deref() == Some("") {
            return Err(RelabelError::Replacement);
        }
        let modulus = ("modulus", self.modulus.is_some());
        let replacement = ("replacement", has_replacement);
        let separator = ("separator", has_separator);
        let needless: &[(&str, bool)] = match action {
            Lowercase | Uppercase => &[replacement],
            KeepEqual | DropEqual => &[("regex", self.regex.is_some()), modulus, separator, replacement],
            LabelDrop | LabelKeep => &[
                ("source_labels", self.source_labels.is_some()),
                ("target_label", has_target),
                modulus,
                separator,
                replacement,
            ],
            _ => &[],
        };
        match needless.iter().find(|(_, is_there)| *is_there) {
            Some((field, _)) => Err(RelabelError::Needless(field, name)),
            None => Ok(()),
        }
    }
}
