//! Shows where two values differ.

use std::fmt::Write;

use serde_json::Value;

/// The most lines of either that are compared line by line: the effort grows with their product.
const MAX_LINES: usize = 2000;

/// The lines of both values, those that only one has marked with `-` for the expected and `+` for the
/// found one.
pub(super) fn lines(expected: &Value, found: &Value, indent: &str) -> String {
    let text = |value: &Value| {
        let mut value = value.clone();
        value.sort_all_objects();
        format!("{value:#}")
    };
    let (expected, found) = (text(expected), text(found));
    let expected: Vec<_> = expected.lines().collect();
    let found: Vec<_> = found.lines().collect();
    let mut out = String::new();
    let mut show = |mark: char, line: &str| {
        let _ = writeln!(out, "{indent}{mark} {line}");
    };
    if expected.len().max(found.len()) > MAX_LINES {
        expected.iter().for_each(|line| show('-', line));
        found.iter().for_each(|line| show('+', line));
        return out;
    }
    let common = common(&expected, &found);
    let (mut left, mut right) = (expected.iter().peekable(), found.iter().peekable());
    for line in common {
        while let Some(only) = left.next_if(|candidate| **candidate != line) {
            show('-', only);
        }
        while let Some(only) = right.next_if(|candidate| **candidate != line) {
            show('+', only);
        }
        left.next();
        right.next();
        show(' ', line);
    }
    left.for_each(|line| show('-', line));
    right.for_each(|line| show('+', line));
    out
}

/// A longest list of lines that both have in this order.
fn common<'a>(left: &[&'a str], right: &[&'a str]) -> Vec<&'a str> {
    // By row: how long it is for what is left of `left` from there, and of `right` from each place.
    let mut rows = vec![vec![0_usize; right.len() + 1]];
    for line in left.iter().rev() {
        let below = rows.last().cloned().unwrap_or_default();
        let mut row = vec![0; right.len() + 1];
        for (place, other) in right.iter().enumerate().rev() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or_default();
            let longest = if line == other {
                at(&below, place + 1) + 1
            } else {
                at(&below, place).max(at(&row, place + 1))
            };
            if let Some(cell) = row.get_mut(place) {
                *cell = longest;
            }
        }
        rows.push(row);
    }
    rows.reverse();
    let length = |row: usize, place: usize| {
        rows.get(row)
            .and_then(|row| row.get(place))
            .copied()
            .unwrap_or_default()
    };
    let (mut row, mut place, mut found) = (0, 0, Vec::new());
    while let (Some(line), Some(other)) = (left.get(row), right.get(place)) {
        if line == other {
            found.push(*line);
            (row, place) = (row + 1, place + 1);
        } else if length(row + 1, place) >= length(row, place + 1) {
            row += 1;
        } else {
            place += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_one_has_is_marked() {
        let shown = lines(
            &json!({"groups": ["dev", "ops"], "user": "jane"}),
            &json!({"groups": ["dev"], "user": "jane"}),
            "",
        );
        let marked: Vec<_> = shown.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            marked,
            [r#"-     "dev","#, r#"-     "ops""#, r#"+     "dev""#],
            "{shown}"
        );
        assert_eq!(lines(&json!(1), &json!(2), "> "), "> - 1\n> + 2\n");
    }
}
