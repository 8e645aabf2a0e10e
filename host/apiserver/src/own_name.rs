//! Who the gateway itself is to a cluster.
//!
//! Whoever had the gateway's own name would be allowed to impersonate everybody. So the cluster is asked
//! for it (`authentication.k8s.io/v1` SelfSubjectReview), and nobody is forwarded under it.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::upstream::{PostError, Upstream};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// The gateway's name, once the cluster has said it. Nothing, if the cluster does not tell: it is older
/// than Kubernetes 1.28, or forbids it.
#[derive(Debug, Default)]
pub(crate) struct OwnName(OnceCell<Option<String>>);

impl OwnName {
    /// Whether this is the gateway's name. Fails while the cluster does not answer.
    pub(crate) async fn is(&self, user: &str, upstream: &Upstream) -> Result<bool, String> {
        let name = self.0.get_or_try_init(|| ask(upstream)).await?;
        Ok(name.as_deref() == Some(user))
    }
}

async fn ask(upstream: &Upstream) -> Result<Option<String>, String> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let why = match upstream.post(REVIEWS, &review).await {
        Ok(answer) => match answer
            .pointer("/status/userInfo/username")
            .and_then(Value::as_str)
        {
            Some(name) => return Ok(Some(name.to_owned())),
            None => "its answer has no user".to_owned(),
        },
        Err(PostError::Unanswered(why)) => return Err(why),
        Err(refused) => refused.to_string(),
    };
    tracing::warn!(
        why,
        "a cluster does not tell the gateway its own name, so it is up to the claims plugin that nobody gets it"
    );
    Ok(None)
}
