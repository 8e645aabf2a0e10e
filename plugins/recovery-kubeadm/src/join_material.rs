//! What nodes join with, that has run out or has outlived what ends it.

use witgate_sdk::recovery::{Evidence, Finding, Proposal, Refusal, Severity};

use crate::{
    Config,
    cluster::{Cluster, NAMESPACE},
    evidence, missing_member, node_subject,
    objects::{self, Secret},
};

pub(crate) const TOKEN: &str = "expired-join-token";
pub(crate) const CERTIFICATES: &str = "stale-certificates";

/// The certificate authorities' keys, encrypted.
const KUBEADM_CERTS: &str = "kubeadm-certs";

fn subject(secret: &Secret) -> String {
    format!("secret {}", secret.name)
}

fn tokens(cluster: &Cluster) -> impl Iterator<Item = &Secret> {
    let secrets = cluster.secrets.iter().flatten();
    secrets.filter(|secret| secret.kind == objects::TOKEN)
}

/// A token of whose end nothing is known has none.
fn expired(cluster: &Cluster, token: &Secret) -> bool {
    let end = token.expiration.as_ref();
    end.is_some_and(|(_, at)| *at <= cluster.now())
}

fn said(cluster: &Cluster, token: &Secret) -> Evidence {
    let raw = token.expiration.as_ref();
    let raw = raw.map_or("there is none", |(raw, _)| raw.as_str());
    evidence::object(
        cluster,
        format!("expiration of {}", subject(token)),
        raw.to_owned(),
    )
}

/// All that there is to join with.
pub(crate) fn state(cluster: &Cluster) -> Vec<Evidence> {
    let Some(secrets) = &cluster.secrets else {
        return Vec::new();
    };
    let certificates = secrets
        .iter()
        .filter(|secret| secret.name == KUBEADM_CERTS)
        .count();
    let certificates = evidence::object(
        cluster,
        format!("secret {KUBEADM_CERTS}"),
        format!("there are {certificates}"),
    );
    tokens(cluster)
        .map(|token| said(cluster, token))
        .chain([certificates])
        .collect()
}

pub(crate) fn find(cluster: &Cluster) -> Vec<Finding> {
    let old = tokens(cluster).filter(|token| expired(cluster, token));
    let old = old.map(|token| Finding {
        class: TOKEN.to_owned(),
        severity: Severity::Notice,
        subject: subject(token),
        summary: format!(
            "{} has run out and was not cleaned up; no node can join with it",
            subject(token)
        ),
        evidence: vec![said(cluster, token)],
    });
    let secrets = cluster.secrets.iter().flatten();
    let certificates = secrets.filter(|secret| secret.name == KUBEADM_CERTS);
    old.chain(certificates.filter_map(|secret| outlived(cluster, secret)))
        .collect()
}

/// kubeadm lets the certificates end with a token of two hours: the garbage collector takes them when
/// the token cleaner has taken that.
fn outlived(cluster: &Cluster, certificates: &Secret) -> Option<Finding> {
    let ends = tokens(cluster).find(|token| certificates.owners.contains(&token.name));
    let why = match ends {
        Some(token) if expired(cluster, token) => format!("{}, which ends them, has run out", subject(token)),
        Some(_) => return None,
        None if certificates.owners.is_empty() => "no token ends them".to_owned(),
        None => "the token that ends them is gone".to_owned(),
    };
    let mut evidence = vec![evidence::object(
        cluster,
        format!("owners of {}", subject(certificates)),
        match certificates.owners.as_slice() {
            [] => "there are none".to_owned(),
            owners => owners.join(", "),
        },
    )];
    evidence.extend(ends.map(|token| said(cluster, token)));
    Some(Finding {
        class: CERTIFICATES.to_owned(),
        severity: Severity::Degraded,
        subject: subject(certificates),
        summary: format!(
            "the certificate authorities' keys are still uploaded, encrypted: {why}; whoever holds a join token \
             can read them"
        ),
        evidence,
    })
}

/// What ran out is made anew if it is known for whom; what is left over is for people to delete, for a
/// gateway deletes only what it made.
pub(crate) fn plan(cluster: &Cluster, config: &Config, finding: &Finding) -> Result<Proposal, Refusal> {
    let missing = missing_member::missing(cluster, config);
    if let (TOKEN, Some(name)) = (finding.class.as_str(), missing.first())
        && missing.len() == 1
    {
        return missing_member::plan(cluster, config, &node_subject(name));
    }
    let name = finding.subject.trim_start_matches("secret ");
    Err(Refusal::new(
        "only-its-objects",
        format!(
            "{} was made by 0 plans of this gateway, and {} nodes of the control plane are without a member",
            finding.subject,
            missing.len()
        ),
        &format!("Delete it: kubectl --namespace {NAMESPACE} delete secret {name}"),
    ))
}
