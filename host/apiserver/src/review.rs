//! Asking the cluster whose a service account's token is (`authentication.k8s.io/v1` TokenReview).

use serde_json::{Value, json};
use witgate_identity::{Reviewed, TokenReviewer};

use crate::Cluster;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

#[async_trait::async_trait]
impl TokenReviewer for Cluster {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, String> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        });
        let answer = self.upstream.post(REVIEWS, &review).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.get("status").unwrap_or(&Value::Null);
        if status.get("authenticated").and_then(Value::as_bool) != Some(true) {
            return Ok(None);
        }
        let user = status.get("user").unwrap_or(&Value::Null);
        let text = |key: &str| user.get(key).and_then(Value::as_str).unwrap_or_default();
        let list = |value: &Value| -> Vec<String> {
            let texts = value.as_array().into_iter().flatten();
            texts.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Some(Reviewed {
            user: text("username").to_owned(),
            uid: Some(text("uid")).filter(|uid| !uid.is_empty()).map(str::to_owned),
            groups: list(user.get("groups").unwrap_or(&Value::Null)),
            extra: { user.get("extra").and_then(Value::as_object) }
                .into_iter()
                .flatten()
                .map(|(key, values)| (key.clone(), list(values)))
                .collect(),
        }))
    }
}
