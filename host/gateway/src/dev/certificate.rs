//! An authority of the developer's own, and a certificate for localhost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

use super::Layout;

/// Makes `ca.pem`, `certificate.pem` and `key.pem` where they are not there yet. The authority's
/// key is not kept, so nobody can make another certificate with it.
pub(super) fn make(layout: &Layout) -> anyhow::Result<()> {
    if ["ca.pem", "certificate.pem", "key.pem"]
        .iter()
        .all(|name| layout.path(name).exists())
    {
        return Ok(());
    }
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority
        .distinguished_name
        .push(DnType::CommonName, "witgate dev");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_certificate = authority.self_signed(&authority_key)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        server.subject_alt_names.push(SanType::IpAddress(address));
    }
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;

    layout.write("key.pem", &key.serialize_pem())?;
    layout.write("certificate.pem", &certificate.pem())?;
    layout.write("ca.pem", &authority_certificate.pem())
}
