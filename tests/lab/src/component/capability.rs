//! Defines what the system has to let this process do for a control plane of several nodes.

use std::fs;

/// Addresses for its nodes, and kubeadm's `--rootfs` for their files; with the numbers of
/// linux/capability.h.
const CAPABILITIES: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_CHROOT", 18)];

/// The name in capabilities(7) of a right that this process lacks.
pub(super) fn lacking() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .unwrap_or_default();
    let lacking = CAPABILITIES.iter().find(|(_, bit)| effective & (1 << bit) == 0);
    lacking.map(|(capability, _)| *capability)
}
