//! Which paths are not handed on: those that two servers could read differently.

/// Why a path is refused, if it is. What passes is forwarded byte for byte, so the apiserver's
/// authorisation sees exactly what was asked for. `//` passes: below a `proxy` subresource it is
/// part of somebody else's path, and Kubernetes answers it with a redirect elsewhere.
pub(crate) fn refusal(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("the path does not begin with `/`");
    }
    if path
        .bytes()
        .any(|byte| byte == b'\\' || byte == b'#' || byte.is_ascii_control())
    {
        return Some("the path has a backslash, `#` or a control character");
    }
    if path.split('/').any(is_dot_segment) {
        return Some("the path has a `.` or `..` segment");
    }
    let hidden = ["%2f", "%5c", "%00", "%0a", "%0d", "%23"];
    let lower = path.to_ascii_lowercase();
    if path.contains('%') && hidden.iter().any(|sequence| lower.contains(sequence)) {
        return Some("the path has an encoded separator or control character");
    }
    None
}

/// `.` or `..`, however it is encoded, and with the parameters that some servers take off.
fn is_dot_segment(segment: &str) -> bool {
    let segment = segment.split(';').next().unwrap_or_default();
    if segment.is_empty() || segment.len() > 6 {
        return false;
    }
    matches!(
        segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
        "." | ".."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        for path in [
            "api",
            "/a/../b",
            "/a/..",
            "/./a",
            "/%2e%2e/a",
            "/%2E./a",
            "/a/.%2e",
            "/..;x/a",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a#b",
        ] {
            assert!(refusal(path).is_some(), "{path} passes");
        }
    }

    #[test]
    fn what_kubernetes_needs_passes() {
        for path in [
            "/",
            "/api/v1/namespaces/a/services/https:web:443/proxy//x/...",
            "/apis/apps/v1/x;y",
            "/api/v1/a%20b",
            "/api/v1/nodes/n.example.com",
            "/openid/v1/jwks",
            "/.well-known/openid-configuration",
        ] {
            assert_eq!(refusal(path), None, "{path}");
        }
    }
}
