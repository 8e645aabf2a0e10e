//! URLs with claims in them.

use witgate_sdk::claims::{ClaimSet, Denial};

use crate::fetch::origin_of;

/// No name of a user is longer.
const MAX_VALUE: usize = 256;

/// A URL with claims in braces, behind its origin.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Claim(String),
}

impl Template {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let Some(origin) = origin_of(url) else {
            return Err(format!(
                "`{url}` should be like https://directory.example.com/users/{{sub}}/groups"
            ));
        };
        let (origin, mut rest) = url.split_at(origin.len());
        let mut parts = vec![Part::Text(origin.to_owned())];
        while let Some((text, after)) = rest.split_once('{') {
            let (claim, after) = after
                .split_once('}')
                .filter(|(claim, _)| !claim.is_empty())
                .ok_or_else(|| format!("`{url}` has a brace that is not closed, or nothing in it"))?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Claim(claim.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template(parts))
    }

    /// The URL for a token. A claim stays within its place in the path, whatever is in it.
    pub(crate) fn fill(&self, claims: &ClaimSet) -> Result<String, Denial> {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Claim(claim) => {
                    let value = match claim.as_str() {
                        // Anybody can claim an address that is not verified.
                        "email" => claims.user_name(claim)?,
                        _ => claims.text(claim)?,
                    };
                    let fits = |value: &&str| {
                        !value.is_empty() && value.len() <= MAX_VALUE && !matches!(*value, "." | "..")
                    };
                    let value = value.filter(fits).ok_or_else(|| {
                        Denial::new(format!(
                            "the claim `{claim}` of your token is missing, or can't be looked up"
                        ))
                    })?;
                    encode(value, &mut url);
                }
            }
        }
        Ok(url)
    }
}

/// Everything but the unreserved characters (RFC 3986 section 2.3).
fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
}
