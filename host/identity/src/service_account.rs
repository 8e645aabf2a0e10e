//! Kubernetes service accounts, with their own tokens: the cluster that made them is asked.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    cache::Found,
    config::ServiceAccountConfig,
    error::{AuthError, Invalid, Unavailable},
    principal::{Method, Principal, Proof, Subject, TokenDigest},
    token::{Unverified, check_times},
};

/// How long a cluster's word holds. A deleted service account is out after this.
const HOLDS: Duration = Duration::from_secs(30);

/// What all names of service accounts begin with.
const PREFIX: &str = "system:serviceaccount:";

/// A cluster that can be asked whether a token holds (`authentication.k8s.io/v1` TokenReview).
#[async_trait::async_trait]
pub trait TokenReviewer: Send + Sync + std::fmt::Debug {
    /// Whose the token is, if the cluster vouches for it; an error if it does not say.
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, String>;
}

/// Whom a cluster vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// The service account's uid.
    pub uid: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// Which pod it is, and the like.
    pub extra: Vec<(String, Vec<String>)>,
}

/// A cluster whose service accounts are let in.
pub(crate) struct ServiceAccounts {
    pub(crate) config: ServiceAccountConfig,
    pub(crate) reviewer: Arc<dyn TokenReviewer>,
}

impl ServiceAccounts {
    /// The principal of a token that says it is of this cluster.
    pub(crate) async fn verify(&self, token: &str, unverified: &Unverified<'_>) -> Result<Found, AuthError> {
        let now = SystemTime::now();
        // The cluster decides; but what has expired need not be sent to it.
        let expires = check_times(&unverified.claims, now)?;
        let cluster = &self.config.cluster;
        let reviewed = self
            .reviewer
            .review(token, &self.config.audiences)
            .await
            .map_err(|error| {
                tracing::error!(cluster, error, "a service account's token can't be reviewed");
                Unavailable::Cluster(cluster.clone())
            })?;
        let refused = || Invalid::ServiceAccount {
            cluster: cluster.clone(),
        };
        let reviewed = reviewed.ok_or_else(refused)?;
        // A cluster with an issuer of its own vouches for its users too. They log in as themselves.
        if !reviewed.user.starts_with(PREFIX) {
            return Err(refused().into());
        }
        let subject = Subject {
            issuer: self.config.issuer.clone(),
            subject: reviewed.user.clone(),
        };
        let principal = Principal {
            user: reviewed.user,
            uid: reviewed.uid,
            groups: reviewed.groups,
            extra: reviewed.extra,
            method: Method::ServiceAccount {
                cluster: cluster.clone(),
            },
            expires: Some(expires),
            proof: Proof {
                issued: unverified.seconds("iat"),
                subject: Some(subject),
                token: Some(TokenDigest::of(token)),
                ..Proof::default()
            },
        };
        Ok(Found {
            principal: Arc::new(principal),
            fresh_until: Some(expires.min(now + HOLDS)),
        })
    }
}
