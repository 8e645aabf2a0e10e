//! Whom a tenant is for: by what a principal is known, and which name of a tenant that has in it.

use std::fmt;

use witgate_identity::Principal;

use crate::config::Callers;

/// Where a pattern has a tenant's name.
pub(crate) const PLACEHOLDER: &str = "{tenant}";

/// A text, or one with a tenant's name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Just this.
    Exact(String),
    /// What is between the two is a tenant's name.
    Around(String, String),
}

/// Why a pattern can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// More than one name.
    #[error("it has `{{tenant}}` more than once")]
    Twice,
    /// A place for a name, where there is no name to find.
    #[error("it has `{{tenant}}`, and the tenant's `name` does not")]
    NameIsFixed,
    /// No place for a name, where one has to be found.
    #[error("the tenant's `name` has `{{tenant}}`, so this has to say where that comes from")]
    NameIsNotFixed,
}

/// Callers of one endpoint of a tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    users: Vec<Pattern>,
    groups: Vec<Pattern>,
    clients: Vec<Pattern>,
    extra: Vec<(String, Vec<Pattern>)>,
}

/// One of the things that a principal is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact<'p> {
    User(&'p str),
    Group(&'p str),
    Client(&'p str),
    Extra(&'p str, &'p str),
}

// === impl Pattern ===

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        match text.split_once(PLACEHOLDER) {
            None => Ok(Self::Exact(text.to_owned())),
            Some((_, after)) if after.contains(PLACEHOLDER) => Err(PatternError::Twice),
            Some((before, after)) => Ok(Self::Around(before.to_owned(), after.to_owned())),
        }
    }

    pub(crate) fn has_name(&self) -> bool {
        matches!(self, Self::Around(..))
    }

    /// Whether a text is of this form, and which name is in it, if there is a place for one.
    pub(crate) fn find<'t>(&self, text: &'t str) -> Option<Option<&'t str>> {
        match self {
            Self::Exact(exact) => (exact == text).then_some(None),
            Self::Around(before, after) => {
                let name = text.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                (!name.is_empty()).then_some(Some(name))
            }
        }
    }

    /// The text with this name in it.
    pub(crate) fn with(&self, name: &str) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::Around(before, after) => [before, name, after].concat(),
        }
    }

    /// Whether there is a text that is of both forms.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(exact), pattern) | (pattern, Self::Exact(exact)) => pattern.find(exact).is_some(),
            (Self::Around(before, after), Self::Around(their_before, their_after)) => {
                let begins = before.starts_with(their_before) || their_before.starts_with(before);
                begins && (after.ends_with(their_after) || their_after.ends_with(after))
            }
        }
    }
}

// === impl Granted ===

impl Granted {
    /// Of a tenant whose own name has a place for one, or not. The error has the place in the section.
    pub(crate) fn parse(callers: &Callers, is_named: bool) -> Result<Self, (String, PatternError)> {
        let parse = |field: &str, texts: &[String]| {
            let patterns = (0_usize..).zip(texts).map(|(index, text)| {
                let at = |error| (format!("{field}[{index}]"), error);
                let pattern = Pattern::parse(text).map_err(at)?;
                match (pattern.has_name(), is_named) {
                    (true, false) => Err(at(PatternError::NameIsFixed)),
                    (false, true) => Err(at(PatternError::NameIsNotFixed)),
                    _ => Ok(pattern),
                }
            });
            patterns.collect::<Result<Vec<_>, _>>()
        };
        let extra = callers.extra.iter().map(|(key, values)| {
            let patterns = parse(&format!("extra.{key}"), values)?;
            Ok((key.to_ascii_lowercase(), patterns))
        });
        Ok(Self {
            users: parse("users", &callers.users)?,
            groups: parse("groups", &callers.groups)?,
            clients: parse("clients", &callers.clients)?,
            extra: extra.collect::<Result<_, _>>()?,
        })
    }

    fn of(&self, fact: Fact<'_>) -> &[Pattern] {
        match fact {
            Fact::User(_) => &self.users,
            Fact::Group(_) => &self.groups,
            Fact::Client(_) => &self.clients,
            Fact::Extra(key, _) => {
                let patterns = self.extra.iter().find(|(own, _)| own == key);
                patterns.map_or(&[], |(_, patterns)| patterns)
            }
        }
    }

    /// By what a principal is among these, each time with the name that is in it.
    pub(crate) fn matches<'s, 'p: 's>(
        &'s self,
        principal: &'p Principal,
    ) -> impl Iterator<Item = (Fact<'p>, Option<&'p str>)> + use<'s, 'p> {
        Fact::of(principal).flat_map(move |fact| {
            let patterns = self.of(fact).iter();
            patterns.filter_map(move |pattern| Some((fact, pattern.find(fact.text())?)))
        })
    }
}

// === impl Fact ===

impl<'p> Fact<'p> {
    fn of(principal: &'p Principal) -> impl Iterator<Item = Self> {
        let groups = principal.groups.iter().map(|group| Self::Group(group));
        let client = principal.proof.client.iter().map(|client| Self::Client(client));
        let extra = principal
            .extra
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| Self::Extra(key, value)));
        std::iter::once(Self::User(&principal.user))
            .chain(groups)
            .chain(client)
            .chain(extra)
    }

    fn text(self) -> &'p str {
        match self {
            Self::User(text) | Self::Group(text) | Self::Client(text) | Self::Extra(_, text) => text,
        }
    }
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "the user {user}"),
            Self::Group(group) => write!(f, "the group {group}"),
            Self::Client(client) => write!(f, "the client {client}"),
            Self::Extra(key, value) => write!(f, "{key}: {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_the_name_that_is_in_a_text() {
        let cases = [
            ("metrics:{tenant}:write", "metrics:a:write", Some(Some("a"))),
            ("metrics:{tenant}:write", "metrics:a:b:write", Some(Some("a:b"))),
            ("metrics:{tenant}:write", "metrics::write", None),
            ("metrics:{tenant}:write", "metrics:write", None),
            ("metrics:{tenant}:write", "metrics:a:read", None),
            ("{tenant}", "a", Some(Some("a"))),
            ("team-{tenant}", "team-", None),
            ("a", "a", Some(None)),
            ("a", "ab", None),
        ];
        for (pattern, text, expected) in cases {
            let found = Pattern::parse(pattern).unwrap().find(text);
            assert_eq!(found, expected, "{pattern} {text}");
        }
        assert_eq!(Pattern::parse("{tenant}{tenant}"), Err(PatternError::Twice));
    }

    #[test]
    fn patterns_meet_where_a_text_is_of_both() {
        let cases = [
            ("{tenant}", "a", true),
            ("{tenant}", "team-{tenant}", true),
            ("team-{tenant}", "{tenant}-x", true),
            ("team-{tenant}", "user-{tenant}", false),
            ("team-{tenant}-a", "team-{tenant}-b", false),
            ("team-{tenant}", "team", false),
            ("a", "a", true),
        ];
        for (one, other, expected) in cases {
            let [one, other] = [one, other].map(|text| Pattern::parse(text).unwrap());
            assert_eq!(one.meets(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.meets(&one), expected, "{other:?} {one:?}");
        }
    }
}
