//! Patterns with `*` and `?`.

use serde::Deserialize;

/// A pattern for a whole name: `*` stands for any characters, `?` for exactly one. There is no
/// escape; case matters.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// Whether the pattern matches all of the text.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut p, mut t) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: only the last one needs to be
        // tried again, so the time is bounded by the product of the lengths.
        let mut retry = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    retry = Some((p + 1, t));
                    p += 1;
                }
                Some(&c) if c == '?' || c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut retry {
                    Some((after_star, taken)) => {
                        *taken += 1;
                        (p, t) = (*after_star, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&c| c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn matches_the_whole_text() {
        let cases = [
            ("dev", "dev", true),
            ("dev", "devs", false),
            ("dev*", "devs", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "é", true),
            ("?", "", false),
            ("team-*-admin", "team-a-b-admin", true),
            ("team-*-admin", "team-a-b-user", false),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbxa", false),
            ("a.c", "abc", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                Glob(pattern.into()).matches(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Glob("*a".repeat(50) + "b");
        assert!(!pattern.matches(&"a".repeat(2000)));
    }
}
