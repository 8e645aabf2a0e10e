//! Client certificates, read as Kubernetes reads them: the common name is the user, the
//! organizations are the groups (`k8s.io/apiserver/pkg/authentication/request/x509`).

use std::{sync::Arc, time::SystemTime};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    error::{AuthError, Invalid},
    identity::Identity,
    names::Proposal,
    principal::{Method, Principal, Proof, TokenDigest},
};

/// What a client certificate says, once the listener has verified who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    common_name: String,
    organizations: Vec<String>,
    /// In seconds since 1970.
    not_before: u64,
    expires: SystemTime,
    digest: TokenDigest,
}

impl ClientCertificate {
    /// Reads a certificate (DER). Its signature is not looked at.
    pub fn parse(der: &[u8]) -> Result<Self, Invalid> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| Invalid::Certificate("it is not X.509"))?;
        let subject = certificate.subject();
        let mut common_names = subject.iter_common_name();
        let common_name = match (common_names.next(), common_names.next()) {
            (Some(name), None) => name
                .as_str()
                .map_err(|_| Invalid::Certificate("its common name is not text"))?,
            (None, _) => return Err(Invalid::Certificate("it has no common name, which is the user")),
            (Some(_), Some(_)) => return Err(Invalid::Certificate("it has several common names")),
        };
        let organizations = subject
            .iter_organization()
            .map(|organization| organization.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()
            .map_err(|_| Invalid::Certificate("one of its organizations is not text"))?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let validity = certificate.validity();
        let expires = std::time::Duration::from_secs(seconds(validity.not_after));
        Ok(Self {
            common_name: common_name.to_owned(),
            organizations,
            not_before: seconds(validity.not_before),
            expires: SystemTime::UNIX_EPOCH
                .checked_add(expires)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            digest: TokenDigest(crate::hash::sha256(der)),
        })
    }
}

impl Identity {
    /// Who has a certificate.
    pub(crate) fn certificate(&self, certificate: &ClientCertificate) -> Result<Arc<Principal>, AuthError> {
        if certificate.expires <= SystemTime::now() {
            return Err(Invalid::Expired(certificate.expires).into());
        }
        let proposal = Proposal {
            user: certificate.common_name.clone(),
            groups: certificate.organizations.clone(),
            ..Proposal::default()
        };
        let approved = self.names.approve(proposal).map_err(|error| AuthError::Denied {
            reason: format!("the client certificate's names are refused: {error}"),
        })?;
        let proof = Proof {
            issued: Some(certificate.not_before),
            token: Some(certificate.digest),
            ..Proof::default()
        };
        Ok(Arc::new(approved.into_principal(
            Method::Certificate,
            Some(certificate.expires),
            proof,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[(rcgen::DnType, &str)]) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            parameters.distinguished_name.push(kind.clone(), *name);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_the_user_and_organizations_are_groups() {
        use rcgen::DnType::{CommonName, OrganizationName};
        let der = certificate(&[(CommonName, "alice"), (OrganizationName, "platform")]);
        let read = ClientCertificate::parse(&der).unwrap();
        assert_eq!(
            (read.common_name.as_str(), read.organizations.as_slice()),
            ("alice", ["platform".to_owned()].as_slice())
        );
        let nobody = certificate(&[(OrganizationName, "platform")]);
        assert!(matches!(
            ClientCertificate::parse(&nobody),
            Err(Invalid::Certificate(why)) if why.contains("no common name")
        ));
        assert!(ClientCertificate::parse(b"no certificate").is_err());
    }
}
