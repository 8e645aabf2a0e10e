//! A snapshot as etcd streams it: JSON objects, each on a line, with pieces of the file in base64.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::timeout;
use witgate_plugins::recovery::{MemberId, Timestamp};

use super::{
    ANSWER, Depth, Etcd, EtcdError,
    call::{causes, failed, text},
};

/// What one line may have. etcd's pieces are of 64 KiB at most.
const MAX_LINE: usize = 4 << 20;

/// A snapshot that is being received.
#[derive(Debug)]
pub(crate) struct Stream {
    answer: Response,
    /// What has come and is no whole line yet.
    rest: Vec<u8>,
    endpoint: String,
    /// Of which cluster.
    pub(crate) cluster_id: MemberId,
    /// By which member.
    pub(crate) member: MemberId,
    /// That member's version.
    pub(crate) version: String,
    /// The revision that it was at before: the snapshot has this one or a later one.
    pub(crate) revision: i64,
    /// How large its database is: about what will come.
    pub(crate) size: u64,
}

impl Etcd {
    /// Begins a snapshot of the most advanced voter that answers. It needs no quorum.
    pub(crate) async fn snapshot(&self, now: Timestamp) -> Result<Stream, EtcdError> {
        let survey = self.survey(now, Depth::Presence).await;
        let nobody = || EtcdError::Nobody("no voter answers".to_owned());
        let cluster_id = survey.cluster_id.ok_or_else(nobody)?;
        let voters = survey.statuses.iter().filter(|status| !status.learner);
        let status = voters.max_by_key(|status| (status.raft_term, status.raft_applied_index));
        let status = status.ok_or_else(nobody)?;
        let member = survey.member(status.member).ok_or_else(nobody)?;
        let endpoint = self.endpoint_of(member, now).await.ok_or_else(nobody)?;
        let begun = timeout(ANSWER, self.begin(&endpoint, "maintenance/snapshot", &json!({}))).await;
        let answer = begun.unwrap_or_else(|_| Err(failed(&endpoint, "no snapshot begins")))?;
        Ok(Stream {
            answer,
            rest: Vec::new(),
            endpoint,
            cluster_id,
            member: status.member,
            version: status.version.clone(),
            revision: status.revision,
            size: status.db_size,
        })
    }
}

impl Stream {
    /// The next piece, or none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, EtcdError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return self.piece(&line).map(Some);
            }
            if self.rest.len() > MAX_LINE {
                return Err(failed(&self.endpoint, "a piece of the snapshot is too large"));
            }
            let chunk = match timeout(ANSWER * 6, self.answer.chunk()).await {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return Err(failed(&self.endpoint, causes(&error))),
                Err(_) => return Err(failed(&self.endpoint, "the snapshot came to a halt")),
            };
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.is_empty() => return Ok(None),
                None => self.rest.push(b'\n'),
            }
        }
    }

    fn piece(&self, line: &[u8]) -> Result<Vec<u8>, EtcdError> {
        let message: Value = serde_json::from_slice(line).map_err(|error| {
            failed(
                &self.endpoint,
                format!("a piece of the snapshot is no JSON: {error}"),
            )
        })?;
        if let Some(error) = message.get("error") {
            return Err(failed(&self.endpoint, text(error, "message")));
        }
        let blob = message.pointer("/result/blob").and_then(Value::as_str);
        BASE64_STANDARD.decode(blob.unwrap_or_default()).map_err(|error| {
            failed(
                &self.endpoint,
                format!("a piece of the snapshot is damaged: {error}"),
            )
        })
    }
}
