//! Relabelling as Prometheus describes it, done slowly: labels in three lists, as its `labels.Builder`
//! has them, and templates letter by letter, as Go's `Regexp.Expand` reads them.

use std::sync::LazyLock;

use md5::{Digest, Md5};
use regex::{Captures, Regex};

use crate::{
    re2,
    relabel::{LabelSet, Relabel, RelabelAction, RelabelConfig},
};

/// Rules, a line each, an empty line, and labels, a line each.
pub(super) struct Input<'a> {
    rules: Vec<RelabelConfig>,
    labels: Vec<(&'a str, &'a str)>,
}

/// Rules of an input that are looked at: each may make a label twice as long.
const RULES: usize = 8;

/// What the labels of a series are in the midst of its rules.
#[derive(Default)]
struct Builder<'a> {
    base: Vec<(&'a str, &'a str)>,
    deleted: Vec<String>,
    added: Vec<(String, String)>,
}

impl<'a> Input<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let (rules, labels) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut labels: Vec<_> = { labels.lines() }
            .filter_map(|line| line.split_once('='))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .collect();
        labels.sort_by_key(|(name, _)| *name);
        labels.dedup_by_key(|(name, _)| *name);
        Self {
            rules: rules.lines().take(RULES).map(rule).collect(),
            labels,
        }
    }

    /// Both ways, which come to the same.
    pub(super) fn check(&self) {
        let Ok(relabel) = Relabel::new(&self.rules) else {
            return;
        };
        let mut set = LabelSet::default();
        // The second time with the buffers of the first.
        for _ in 0..2 {
            set.clear();
            for (name, value) in &self.labels {
                set.load(name, value);
            }
            let mut builder = Builder {
                base: self.labels.clone(),
                ..Builder::default()
            };
            let is_kept = relabel.apply(&mut set);
            assert_eq!(
                is_kept,
                self.rules.iter().all(|rule| builder.apply(rule)),
                "{:?}",
                self.rules
            );
            if is_kept {
                set.sort();
                let found: Vec<_> = set.iter().collect();
                let mut expected = builder.labels();
                expected.sort();
                let expected: Vec<_> = { expected.iter() }
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                assert_eq!(found, expected, "{:?}", self.rules);
                assert!(
                    found.is_sorted_by(|(a, _), (b, _)| a < b),
                    "none twice: {found:?}"
                );
                assert!(found.iter().all(|(_, value)| !value.is_empty()), "{found:?}");
            }
        }
    }
}

/// An action and, between tabs, its fields; what is not there is not set.
fn rule(line: &str) -> RelabelConfig {
    let mut fields = line.split('\t');
    let action = match fields.next() {
        Some("keep") => RelabelAction::Keep,
        Some("drop") => RelabelAction::Drop,
        Some("keepequal") => RelabelAction::KeepEqual,
        Some("dropequal") => RelabelAction::DropEqual,
        Some("hashmod") => RelabelAction::HashMod,
        Some("labelmap") => RelabelAction::LabelMap,
        Some("labeldrop") => RelabelAction::LabelDrop,
        Some("labelkeep") => RelabelAction::LabelKeep,
        Some("lowercase") => RelabelAction::Lowercase,
        Some("uppercase") => RelabelAction::Uppercase,
        _ => RelabelAction::Replace,
    };
    let mut rule = RelabelConfig {
        action,
        ..RelabelConfig::default()
    };
    for field in fields {
        match field.split_once('=') {
            Some(("from", names)) => {
                rule.source_labels = Some(names.split(',').map(str::to_owned).collect());
            }
            Some(("by", text)) => rule.separator = Some(text.to_owned()),
            Some(("regex", text)) => rule.regex = Some(text.to_owned()),
            Some(("modulus", text)) => rule.modulus = text.parse().ok(),
            Some(("to", text)) => rule.target_label = Some(text.to_owned()),
            Some(("with", text)) => rule.replacement = Some(text.to_owned()),
            _ => {}
        }
    }
    rule
}

impl Builder<'_> {
    fn apply(&mut self, rule: &RelabelConfig) -> bool {
        let names = rule.source_labels.iter().flatten();
        let values: Vec<_> = names.map(|name| self.get(name)).collect();
        let source = values.join(rule.separator.as_deref().unwrap_or(";"));
        let regex = re2::whole(rule.regex.as_deref().unwrap_or("(.*)")).expect("it was compiled before");
        let target = rule.target_label.as_deref().unwrap_or_default();
        let replacement = rule.replacement.as_deref().unwrap_or("$1");
        match rule.action {
            RelabelAction::Keep => return regex.is_match(&source),
            RelabelAction::Drop => return !regex.is_match(&source),
            RelabelAction::KeepEqual => return self.get(target) == source,
            RelabelAction::DropEqual => return self.get(target) != source,
            RelabelAction::Replace => {
                if let Some(found) = regex.captures(&source) {
                    let (name, value) = (
                        expand(target, &regex, &found),
                        expand(replacement, &regex, &found),
                    );
                    if !name.is_empty() {
                        self.set(&name, &value);
                    }
                }
            }
            RelabelAction::HashMod => {
                let digest = u128::from_be_bytes(Md5::digest(source.as_bytes()).into());
                let hash = digest & u128::from(u64::MAX);
                let modulus = rule.modulus.expect("it was checked");
                self.set(target, &(hash % u128::from(modulus)).to_string());
            }
            RelabelAction::Lowercase | RelabelAction::Uppercase => {
                self.set(target, &cased(&source, rule.action));
            }
            RelabelAction::LabelMap => {
                for (name, value) in self.labels() {
                    if let Some(found) = regex.captures(&name) {
                        self.set(&expand(replacement, &regex, &found), &value);
                    }
                }
            }
            RelabelAction::LabelDrop | RelabelAction::LabelKeep => {
                for (name, _) in self.labels() {
                    if regex.is_match(&name) == (rule.action == RelabelAction::LabelDrop) {
                        self.delete(&name);
                    }
                }
            }
        }
        true
    }

    fn get(&self, name: &str) -> String {
        let labels = self.labels();
        let found = labels.into_iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value).unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.delete(name);
        }
        match self.added.iter_mut().find(|(own, _)| own == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.added.push((name.to_owned(), value.to_owned())),
        }
    }

    fn delete(&mut self, name: &str) {
        self.deleted.push(name.to_owned());
        self.added.retain(|(own, _)| own != name);
    }

    /// The series' own that are left, and then those that were set.
    fn labels(&self) -> Vec<(String, String)> {
        let is_left = |name: &str| {
            !self.deleted.iter().any(|deleted| deleted == name)
                && !self.added.iter().any(|(added, _)| added == name)
        };
        let base = self.base.iter().filter(|(name, _)| is_left(name));
        let base = base.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        base.chain(self.added.iter().cloned()).collect()
    }
}

/// Letter for letter: where Unicode has another single one, it is that, and where not, it stays.
fn cased(text: &str, action: RelabelAction) -> String {
    let one = |letter: char| {
        let cased = match action {
            RelabelAction::Lowercase => letter.to_lowercase().collect::<Vec<_>>(),
            _ => letter.to_uppercase().collect(),
        };
        match cased[..] {
            [one] => one,
            _ => irregular(letter, action),
        }
    };
    text.chars().map(one).collect()
}

/// Of the letters that Unicode turns into several, those that have one for one as well
/// (`UnicodeData.txt`, fields 12 and 13).
fn irregular(letter: char, action: RelabelAction) -> char {
    let plain = "ᾀᾁᾂᾃᾄᾅᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾳῃῳ";
    let titled = "ᾈᾉᾊᾋᾌᾍᾎᾏᾘᾙᾚᾛᾜᾝᾞᾟᾨᾩᾪᾫᾬᾭᾮᾯᾼῌῼ";
    match action {
        RelabelAction::Lowercase if letter == 'İ' => 'i',
        RelabelAction::Uppercase => { plain.chars().zip(titled.chars()) }
            .find(|(plain, _)| *plain == letter)
            .map_or(letter, |(_, titled)| titled),
        _ => letter,
    }
}

fn expand(template: &str, regex: &Regex, found: &Captures<'_>) -> String {
    let letters: Vec<char> = template.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while let Some(letter) = letters.get(at) {
        at += 1;
        if *letter != '$' {
            out.push(*letter);
            continue;
        }
        if letters.get(at) == Some(&'$') {
            out.push('$');
            at += 1;
            continue;
        }
        let is_braced = letters.get(at) == Some(&'{');
        let begin = at + usize::from(is_braced);
        let name: String = { letters.iter().skip(begin) }
            .take_while(|letter| is_of_a_name(**letter))
            .collect();
        let end = begin + name.chars().count();
        if name.is_empty() || is_braced && letters.get(end) != Some(&'}') {
            out.push('$');
            continue;
        }
        at = end + usize::from(is_braced);
        out.push_str(group(&name, regex, found).unwrap_or_default());
    }
    out
}

/// Go's `unicode.IsLetter` and `unicode.IsDigit`, which know fewer than `char::is_alphanumeric`.
fn is_of_a_name(letter: char) -> bool {
    static LETTERS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[_\p{L}\p{Nd}]$").expect("it is an expression"));
    LETTERS.is_match(letter.encode_utf8(&mut [0; 4]))
}

fn group<'a>(name: &str, regex: &Regex, found: &Captures<'a>) -> Option<&'a str> {
    let is_number = name.chars().all(|letter| letter.is_ascii_digit());
    let is_plain = is_number && !(name.len() > 1 && name.starts_with('0'));
    let index = match is_plain {
        true => name.parse().ok(),
        false => regex.capture_names().position(|own| own == Some(name)),
    };
    found.get(index?).map(|group| group.as_str())
}
