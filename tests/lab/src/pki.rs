//! Defines certificate authorities for components that serve TLS or know clients by certificate.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::Error;

/// A certificate authority with a key of its own.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// Its PKCS #8 private key, on P-256.
    pub key: String,
}

impl Authority {
    /// Makes an authority with that common name.
    ///
    /// # Errors
    /// [`Error::Certificate`], if no key can be generated.
    pub fn new(name: &str) -> Result<Self, Error> {
        let failed = |source| Error::Certificate {
            subject: name.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a certificate to a server with these DNS names and addresses.
    ///
    /// # Errors
    /// [`Error::Certificate`], if a name is not one.
    pub fn server(&self, names: &[&str]) -> Result<Certified, Error> {
        self.server_within(names, None)
    }

    /// The same, expired years ago.
    ///
    /// # Errors
    /// As [`server`](Self::server).
    pub fn expired_server(&self, names: &[&str]) -> Result<Certified, Error> {
        self.server_within(names, Some((2020, 2021)))
    }

    fn server_within(&self, names: &[&str], years: Option<(i32, i32)>) -> Result<Certified, Error> {
        let subject = names.first().copied().unwrap_or("server");
        let failed = |source| Error::Certificate {
            subject: subject.to_owned(),
            source,
        };
        let alternative_names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(alternative_names).map_err(failed)?;
        params.distinguished_name = named(subject).distinguished_name;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Some((from, to)) = years {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        }
        self.issue(subject, params)
    }

    /// Issues a certificate to a client: Kubernetes reads the common name as the user and the
    /// organization as the user's group.
    ///
    /// # Errors
    /// [`Error::Certificate`], if no key can be generated.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Certified, Error> {
        let mut params = named(user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(user, params)
    }

    fn issue(&self, subject: &str, mut params: CertificateParams) -> Result<Certified, Error> {
        let failed = |source| Error::Certificate {
            subject: subject.to_owned(),
            source,
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Certified {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Certified {
    /// Writes `NAME.crt` and `NAME.key` into a directory, and gives their paths.
    ///
    /// # Errors
    /// [`Error::Io`], if they cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        fs::write(&certificate, &self.certificate).map_err(Error::io(certificate.display().to_string()))?;
        fs::write(&key, &self.key).map_err(Error::io(key.display().to_string()))?;
        Ok((certificate, key))
    }
}

/// Parameters with nothing but a common name; rcgen's default one is its own.
fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
