//! Which addresses a granted host may turn out to have.
//!
//! A name is resolved by somebody else's DNS server, so a granted name is not yet a granted
//! address: without this check, `http://metrics.example.com` could become the metadata service
//! of the cloud, or a database beside the gateway, whenever its owner wishes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{config::Addresses, origin::Host};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// The public internet.
    Public,
    /// A private network: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// The gateway's own machine.
    Loopback,
    /// The link, or a cloud's metadata service.
    LinkLocal,
    /// Nowhere that a plugin has business with: multicast, reserved, documentation, tunnels.
    Special,
}

/// Addresses outside the link-local ranges at which clouds serve credentials or configuration.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl Reach {
    /// Where `address` leads, looking through the ways to write an IPv4 address as IPv6.
    pub(crate) fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::LinkLocal;
        }
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(inner) => Self::of(inner.into()),
                None => Self::of_v6(address),
            },
        }
    }

    /// By the IANA IPv4 Special-Purpose Address Registry.
    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            [0 | 224..=255, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _] => Self::Special,
            _ => Self::Public,
        }
    }

    /// By the IANA IPv6 Special-Purpose Address Registry: only 2000::/3 is assigned for global
    /// use, and of that not 2001::/23 (protocols, Teredo), documentation and 3fff::/20.
    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() {
            return Self::Loopback;
        }
        match address.segments() {
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Special,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Special,
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291), translated by NAT64 with
/// the well-known prefix (RFC 6052) or the local one (RFC 8215), or tunnelled by 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => join(high, low),
        _ => None,
    }
}

/// Whether a request to `host` may be sent to `address`, which `host` resolved to.
pub(crate) fn allowed(host: &Host, granted: Addresses, address: IpAddr) -> bool {
    match host {
        Host::Address(named) => *named == address,
        Host::Name(name) if name == "localhost" => Reach::of(address) == Reach::Loopback,
        Host::Name(_) => match Reach::of(address) {
            Reach::Public => true,
            Reach::Private => granted == Addresses::Private,
            Reach::Loopback | Reach::LinkLocal | Reach::Special => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_through_every_disguise() {
        for (address, reach) in [
            ("8.8.8.8", Reach::Public),
            ("172.15.0.1", Reach::Public),
            ("172.32.0.1", Reach::Public),
            ("2606:4700::1111", Reach::Public),
            ("64:ff9b::808:808", Reach::Public),
            ("10.96.0.1", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd12:3456::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("127.0.0.1", Reach::Loopback),
            ("127.9.9.9", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("64:ff9b::7f00:1", Reach::Loopback),
            ("2002:7f00:1::", Reach::Loopback),
            ("169.254.169.254", Reach::LinkLocal),
            ("::ffff:169.254.169.254", Reach::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Reach::LinkLocal),
            ("64:ff9b:1::a9fe:a9fe", Reach::LinkLocal),
            ("fe80::1", Reach::LinkLocal),
            ("fd00:ec2::254", Reach::LinkLocal),
            ("100.100.100.200", Reach::LinkLocal),
            ("::ffff:100.100.100.200", Reach::LinkLocal),
            ("0.0.0.0", Reach::Special),
            ("::", Reach::Special),
            ("::7f00:1", Reach::Special),
            ("255.255.255.255", Reach::Special),
            ("224.0.0.1", Reach::Special),
            ("ff02::1", Reach::Special),
            ("2001::1", Reach::Special),
            ("2001:db8::1", Reach::Special),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn a_name_reaches_only_what_its_grant_says() {
        let name = Host::Name("influxdb.example.com".into());
        let localhost = Host::Name("localhost".into());
        let literal = Host::Address("127.0.0.1".parse().unwrap());
        for (host, granted, address, expected) in [
            (&name, Addresses::Public, "8.8.8.8", true),
            (&name, Addresses::Public, "10.0.0.1", false),
            (&name, Addresses::Private, "10.0.0.1", true),
            (&name, Addresses::Private, "8.8.8.8", true),
            (&name, Addresses::Private, "127.0.0.1", false),
            (&name, Addresses::Private, "169.254.169.254", false),
            (&name, Addresses::Private, "::ffff:127.0.0.1", false),
            (&localhost, Addresses::Public, "127.0.0.1", true),
            (&localhost, Addresses::Public, "::1", true),
            (&localhost, Addresses::Private, "10.0.0.1", false),
            (&literal, Addresses::Public, "127.0.0.1", true),
            (&literal, Addresses::Private, "127.0.0.2", false),
        ] {
            assert_eq!(
                allowed(host, granted, address.parse().unwrap()),
                expected,
                "{host} {address}"
            );
        }
    }
}
