//! What `kube-public/cluster-info` says to who joins, and whether that is true.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use url::Url;

use super::key_hashes;
use crate::kubernetes::text;

/// How a joining kubeadm reaches the cluster, and what it has to find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterInfo {
    /// `10.0.0.10:6443`.
    pub(super) endpoint: String,
    /// `sha256:...` of every authority. kubeadm pins one, and then trusts them all.
    pub(super) authorities: Vec<String>,
}

impl ClusterInfo {
    /// Reads the ConfigMap.
    pub(super) fn read(map: &Value) -> Result<Self, String> {
        let yaml = text(map, "/data/kubeconfig");
        let kubeconfig: Value =
            serde_saphyr::from_str(yaml).map_err(|error| format!("kubeconfig: {error}"))?;
        let cluster = "/clusters/0/cluster";
        let server = text(&kubeconfig, &format!("{cluster}/server"));
        let authority = text(&kubeconfig, &format!("{cluster}/certificate-authority-data"));
        let pem = STANDARD.decode(authority).map_err(|error| error.to_string())?;
        Ok(Self {
            endpoint: endpoint(server).ok_or_else(|| format!("the server {server:?} is no https URL"))?,
            authorities: key_hashes(&pem)?,
        })
    }
}

/// Host and port. They go into a command that root pastes into a shell: nothing of it may mean anything
/// there.
fn endpoint(server: &str) -> Option<String> {
    let url = Url::parse(server).ok().filter(|url| url.scheme() == "https")?;
    let host = url.host_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    host.bytes()
        .all(plain)
        .then(|| format!("{host}:{}", url.port().unwrap_or(443)))
}

/// Whether controller-manager has signed the ConfigMap with that token.
pub(super) fn is_signed(map: &Value, token_id: &str) -> bool {
    !text(map, &format!("/data/jws-kubeconfig-{token_id}")).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::join::authority::certificate;

    #[test]
    fn the_map_says_where_and_whom_to_trust() {
        let authorities = certificate() + &certificate();
        let data = STANDARD.encode(&authorities);
        let map = json!({"data": {
            "kubeconfig": format!(
                "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {data}\n    \
                 server: https://10.0.0.10:6443\n  name: \"\"\n"),
            "jws-kubeconfig-abcdef": "header..signature",
        }});
        let info = ClusterInfo::read(&map).unwrap();
        assert_eq!(info.endpoint, "10.0.0.10:6443");
        assert_eq!(info.authorities, key_hashes(authorities.as_bytes()).unwrap());
        assert!(is_signed(&map, "abcdef") && !is_signed(&map, "uvwxyz"));
        assert!(ClusterInfo::read(&json!({})).is_err());
    }

    #[test]
    fn nothing_of_the_server_means_anything_to_a_shell() {
        assert_eq!(
            endpoint("https://cp.example.com").as_deref(),
            Some("cp.example.com:443")
        );
        assert_eq!(
            endpoint("https://[fd00::1]:6443/").as_deref(),
            Some("[fd00::1]:6443")
        );
        for wrong in [
            "",
            "http://cp",
            "https://cp;reboot",
            "https://$(reboot):6443",
            "https://a&b",
            "cp:6443",
        ] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
        // What follows the host is not taken over.
        assert_eq!(endpoint("https://cp:1/;reboot?$(x)").as_deref(), Some("cp:1"));
    }
}
