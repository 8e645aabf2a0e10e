//! Whom a member is connected to, by its own metrics.

use std::collections::BTreeMap;

use witgate_plugins::recovery::MemberId;

/// 1 for a peer whose streams are up (etcd's rafthttp/metrics.go).
pub(super) const ACTIVE: &str = "etcd_network_active_peers";

/// What a page says of each peer: whether it is connected, and the line that says so.
pub(super) fn connected(page: &str, own: MemberId) -> BTreeMap<MemberId, (bool, String)> {
    let line = |line: &str| {
        let rest = line.strip_prefix(ACTIVE)?.strip_prefix('{')?;
        let (labels, value) = rest.split_once('}')?;
        let label = |name: &str| {
            let of = labels.split(',').find_map(|label| label.strip_prefix(name))?;
            let id = of.strip_prefix("=\"")?.strip_suffix('"')?;
            u64::from_str_radix(id, 16).ok().map(MemberId)
        };
        let value: f64 = value.trim().parse().ok()?;
        (label("Local") == Some(own)).then_some(())?;
        Some((label("Remote")?, (value > 0.0, line.to_owned())))
    };
    page.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_who_is_connected() {
        let page = "# HELP etcd_network_active_peers The current number of active peer connections.\n\
                    etcd_network_active_peers{Local=\"a\",Remote=\"b1\"} 1\n\
                    etcd_network_active_peers{Local=\"a\",Remote=\"c\"} 0\n\
                    etcd_network_active_peers{Local=\"dead\",Remote=\"e\"} 1\n\
                    etcd_network_active_peers_total{Local=\"a\",Remote=\"f\"} 1\n\
                    etcd_network_active_peers{Local=\"a\"\n";
        let seen = connected(page, MemberId(10));
        let shown: Vec<_> = seen.iter().map(|(id, (active, _))| (id.0, *active)).collect();
        assert_eq!(shown, [(0xc, false), (0xb1, true)]);
    }
}
