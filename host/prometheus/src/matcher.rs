//! Prometheus' label matchers.

use regex::Regex;
use witgate_plugins::{MatchOperation, Matcher};

use crate::{
    proto::{LabelMatcher, MatchType},
    re2,
};

/// The matchers of a query, ready to be applied and to be handed to a plugin.
#[derive(Debug)]
pub(crate) struct Matchers {
    tests: Vec<Test>,
    pub(crate) plain: Vec<Matcher>,
    /// Whether nothing that the tenant has can match.
    pub(crate) is_void: bool,
}

#[derive(Debug)]
struct Test {
    name: String,
    negated: bool,
    by: By,
}

#[derive(Debug)]
enum By {
    Value(String),
    Regex(Regex),
}

impl Matchers {
    /// Compiles matchers. The error says which one is wrong.
    ///
    /// Where all series have a label with one value, what is asked of that label is answered here, as
    /// a Prometheus answers for its external labels, and the storage is asked for that value.
    pub(crate) fn new(matchers: &[LabelMatcher], enforced: Option<(&str, &str)>) -> Result<Self, String> {
        if matchers.is_empty() {
            return Err("a query has no matcher, which would be everything: give it at least one".to_owned());
        }
        let (mut tests, mut plain) = (Vec::new(), Vec::new());
        let mut is_void = false;
        for matcher in matchers {
            let (name, value) = (&matcher.name, &matcher.value);
            let operation = MatchType::try_from(matcher.r#type)
                .map_err(|_| format!("the matcher of {name:?} has an unknown type {}", matcher.r#type))?;
            let regex = || {
                re2::whole(value)
                    .map(By::Regex)
                    .map_err(|error| format!("the expression {value:?} of {name:?}: {error}"))
            };
            let (operation, negated, by) = match operation {
                MatchType::Eq => (MatchOperation::Equal, false, By::Value(value.clone())),
                MatchType::Neq => (MatchOperation::NotEqual, true, By::Value(value.clone())),
                MatchType::Re => (MatchOperation::Matches, false, regex()?),
                MatchType::Nre => (MatchOperation::NotMatches, true, regex()?),
            };
            let test = Test {
                name: name.clone(),
                negated,
                by,
            };
            if let Some((_, value)) = enforced.filter(|(enforced, _)| enforced == name) {
                is_void |= !test.holds(value);
                continue;
            }
            tests.push(test);
            plain.push(Matcher {
                name: name.clone(),
                operation,
                value: value.clone(),
            });
        }
        if let Some((name, value)) = enforced {
            tests.push(Test {
                name: name.to_owned(),
                negated: false,
                by: By::Value(value.to_owned()),
            });
            plain.push(Matcher {
                name: name.to_owned(),
                operation: MatchOperation::Equal,
                value: value.to_owned(),
            });
        }
        Ok(Self {
            tests,
            plain,
            is_void,
        })
    }

    /// Whether all hold. A label that is not there has the empty value.
    pub(crate) fn hold(&self, labels: &[(&str, &str)]) -> bool {
        self.tests.iter().all(|test| {
            let value = labels
                .iter()
                .find(|(name, _)| *name == test.name)
                .map_or("", |(_, value)| *value);
            test.holds(value)
        })
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        let matches = match &self.by {
            By::Value(expected) => value == expected,
            By::Regex(regex) => regex.is_match(value),
        };
        matches != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_whole_values_and_absent_labels_are_empty() {
        let labels = [("__name__", "up"), ("job", "foobar"), ("text", "a\nb")];
        let cases = [
            ("job", MatchType::Eq, "foobar", true),
            ("job", MatchType::Neq, "foobar", false),
            ("job", MatchType::Re, "foo", false),
            ("job", MatchType::Re, "foo|foobar", true),
            ("job", MatchType::Nre, "foo", true),
            ("job", MatchType::Nre, "foo.*", false),
            ("text", MatchType::Re, "a.b", true),
            ("absent", MatchType::Eq, "", true),
            ("absent", MatchType::Neq, "", false),
            ("absent", MatchType::Re, ".*", true),
            ("absent", MatchType::Re, ".+", false),
            ("absent", MatchType::Nre, ".+", true),
        ];
        for (name, operation, value, expected) in cases {
            let matcher = LabelMatcher {
                r#type: operation.into(),
                name: name.into(),
                value: value.into(),
            };
            let matchers = Matchers::new(&[matcher], None).unwrap();
            assert_eq!(matchers.hold(&labels), expected, "{name} {operation:?} {value}");
        }
    }

    #[test]
    fn a_wrong_matcher_is_named() {
        let regex = |value: &str| LabelMatcher {
            r#type: 2,
            name: "job".into(),
            value: value.into(),
        };
        assert!(
            Matchers::new(&[regex("a(")], None)
                .unwrap_err()
                .contains("\"a(\" of \"job\"")
        );
        assert!(Matchers::new(&[regex("(a{1000}){1000}")], None).is_err());
        // Which, put between what makes it match a whole value, would match a part of one.
        assert!(Matchers::new(&[regex("a)|(?:b")], None).is_err());
        assert!(Matchers::new(&[], None).is_err());
    }

    #[test]
    fn a_tenant_sees_its_own_series_whatever_it_asks() {
        let own = Some(("tenant", "a"));
        let cases = [
            (MatchType::Eq, "a", false),
            (MatchType::Eq, "b", true),
            (MatchType::Eq, "", true),
            (MatchType::Neq, "a", true),
            (MatchType::Neq, "b", false),
            (MatchType::Re, "a|b", false),
            (MatchType::Re, "b.*", true),
            (MatchType::Re, ".*", false),
            (MatchType::Nre, "b", false),
            (MatchType::Nre, ".+", true),
        ];
        for (operation, value, is_void) in cases {
            let matcher = LabelMatcher {
                r#type: operation.into(),
                name: "tenant".into(),
                value: value.into(),
            };
            let matchers = Matchers::new(&[matcher], own).unwrap();
            assert_eq!(matchers.is_void, is_void, "{operation:?} {value}");
            let [only] = &matchers.plain[..] else {
                panic!("{:?}", matchers.plain);
            };
            assert_eq!((only.name.as_str(), only.value.as_str()), ("tenant", "a"));
            assert!(matchers.hold(&[("__name__", "up"), ("tenant", "a")]));
            assert!(!matchers.hold(&[("__name__", "up"), ("tenant", "b")]));
            assert!(!matchers.hold(&[("__name__", "up")]));
        }
    }
}
