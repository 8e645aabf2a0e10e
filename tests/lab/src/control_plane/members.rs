//! Defines what a test asks etcd's members themselves, over their JSON gateway.

use serde_json::{Value, json};

use super::ControlPlaneNode;
use crate::{error::Error, http};

/// A member as one member lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Whether it does not vote yet.
    pub learner: bool,
}

impl ControlPlaneNode {
    /// Calls a method of etcd's JSON gateway on this node's member, such as `maintenance/status`, with
    /// a certificate of the node's own.
    ///
    /// # Errors
    /// If the member does not answer, or answers with an error.
    pub async fn etcd_call(&self, method: &str, request: &Value) -> Result<Value, Error> {
        let certificate = self.read("pki/etcd/healthcheck-client.crt")?;
        let identity = certificate + &self.read("pki/etcd/healthcheck-client.key")?;
        let client = http::client_identified(&self.read("pki/etcd/ca.crt")?, &identity)?;
        let url = format!("{}/v3/{method}", self.etcd_endpoint());
        http::json(client.post(url).json(request)).await
    }

    /// The members as this node's member knows them by itself, with or without a quorum.
    ///
    /// # Errors
    /// As [`etcd_call`](Self::etcd_call).
    pub async fn members(&self) -> Result<Vec<EtcdMember>, Error> {
        let list = self
            .etcd_call("cluster/member/list", &json!({"linearizable": false}))
            .await?;
        let members = list.get("members").and_then(Value::as_array);
        Ok(members.into_iter().flatten().map(member).collect())
    }
}

/// The JSON gateway writes 64-bit numbers as strings, and leaves out what is empty.
fn member(member: &Value) -> EtcdMember {
    let text = |key: &str| member.get(key).and_then(Value::as_str).unwrap_or_default();
    EtcdMember {
        id: text("ID").parse().unwrap_or_default(),
        name: text("name").to_owned(),
        learner: member
            .get("isLearner")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
    }
}
