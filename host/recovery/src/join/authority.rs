//! Authorities by the hash of their key, as kubeadm pins them.

use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::parse_x509_certificate;

/// What `--discovery-token-ca-cert-hash` is: of the certificate's public key, so that it stays when
/// the certificate is issued anew (kubeadm's util/pubkeypin).
pub(crate) fn key_hash(der: &[u8]) -> Result<String, String> {
    let (_, certificate) =
        parse_x509_certificate(der).map_err(|error| format!("a certificate can't be read: {error}"))?;
    let digest = digest(&SHA256, certificate.public_key().raw);
    Ok(format!("sha256:{}", hex::encode(digest)))
}

/// The same for every certificate of a bundle. At least one.
pub(crate) fn key_hashes(pem: &[u8]) -> Result<Vec<String>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem);
    let hashes = certificates.map(|der| {
        let der = der.map_err(|error| format!("a certificate can't be read: {error:?}"))?;
        key_hash(&der)
    });
    let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
    if hashes.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    Ok(hashes)
}

/// An authority's certificate.
#[cfg(test)]
pub(super) fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::default();
    parameters.self_signed(&key).unwrap().pem()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is what `openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256`
    /// says of it.
    const KNOWN: &str = "-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUHwt9FsgSPD90phTlgfCiJM2QC6YwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjUwMjU4MzZaGA8yMTI2MTEw
MTAyNTgzNlowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABPKBzlr0R7OyiK+qpPz1dxEcabji3snDoOiNk6752AsyucrEoScS
FhfDzolhn8s43xYFjRz+79ZGCjX0KThuzVejUzBRMB0GA1UdDgQWBBTcXvTbqj/4
8/AWrT3mkJ5WPZM0IDAfBgNVHSMEGDAWgBTcXvTbqj/48/AWrT3mkJ5WPZM0IDAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDHrqFrawf+RFdGBQpx
CCclg8lF/H6qOIMMfIgdKf8z+AIgQX6D46SmKaGP9XFdbYVaY8+9aHVy/Ks12ckB
3qqDBrk=
-----END CERTIFICATE-----
";

    #[test]
    fn an_authority_has_the_hash_that_openssl_has() {
        let expected = "sha256:1b7c31dd64e0d6c495a8b26fc2081251c1b4f24c76e8579fbe76edd249218415";
        assert_eq!(key_hashes(KNOWN.as_bytes()).unwrap(), [expected]);
    }

    #[test]
    fn every_certificate_of_a_bundle_counts_and_none_is_an_error() {
        let bundle = certificate() + &certificate();
        let hashes = key_hashes(bundle.as_bytes()).unwrap();
        assert_eq!(hashes.len(), 2);
        assert_ne!(hashes[0], hashes[1]);
        assert_eq!(key_hashes(b"nothing").unwrap_err(), "there is no certificate");
    }
}
