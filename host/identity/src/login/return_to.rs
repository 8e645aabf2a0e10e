//! Where a browser goes after a login: somewhere on this gateway, whatever is asked for.

use percent_encoding::percent_decode_str;
use url::Url;

const MAX: usize = 2048;

/// The path, query and fragment that a browser would go to, if it is on `origin`. Nothing, if
/// anything about it could be understood in another way.
pub(super) fn normalise(text: &str, origin: &str) -> Option<String> {
    if text.len() > MAX || !is_path(text) {
        return None;
    }
    // Something on the way may decode once more than we do.
    let once = percent_decode_str(text).decode_utf8().ok()?;
    let twice = percent_decode_str(&once).decode_utf8().ok()?;
    if !is_path(&once) || !is_path(&twice) {
        return None;
    }
    let origin = Url::parse(origin).ok()?;
    let url = origin.join(text).ok()?;
    if url.origin() != origin.origin() {
        return None;
    }
    // `/.//host` is a path on this host, but after its normalisation begins like another host.
    let normal = url.as_str().strip_prefix(origin.as_str().trim_end_matches('/'))?;
    is_path(normal).then(|| normal.to_owned())
}

/// Browsers take a backslash for a slash, and leave out tabs and line ends (WHATWG URL, 4.4).
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains('\\')
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::normalise;

    const ORIGIN: &str = "https://gateway.example.com";

    #[test]
    fn paths_on_the_gateway_are_kept() {
        for (text, expected) in [
            ("/", "/"),
            ("/clusters/a?x=1&y=%2F#z", "/clusters/a?x=1&y=%2F#z"),
            ("/a/../b", "/b"),
            ("/?next=https://example.com//x", "/?next=https://example.com//x"),
            ("/käse", "/k%C3%A4se"),
        ] {
            assert_eq!(normalise(text, ORIGIN).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn whatever_could_lead_elsewhere_is_refused() {
        for text in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "/%2fevil.example",
            "/%5cevil.example",
            "/%252fevil.example",
            "/%09/evil.example",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            "/a%00",
            "@evil.example",
        ] {
            assert_eq!(normalise(text, ORIGIN), None, "{text:?}");
        }
    }
}
