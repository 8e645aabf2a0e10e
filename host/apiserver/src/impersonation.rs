//! `kubectl --as`, `--as-group`, `--as-uid`: acting as somebody else, where the cluster's own rules
//! allow it (`k8s.io/apiserver/pkg/endpoints/filters/impersonation`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use witgate_identity::Principal;

use crate::{headers::begins_with, upstream::Upstream};

/// What all such headers begin with, whatever Kubernetes may yet invent.
const PREFIX: &str = "impersonate";
const EXTRA: &str = "impersonate-extra-";

/// Values of one request that are asked about: each is a question to the apiserver.
const MOST: usize = 64;

/// Questions at a time, and the time for all of them.
const AT_A_TIME: usize = 8;
const TIME: Duration = Duration::from_secs(5);

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const AUTHENTICATION: &str = "authentication.k8s.io";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const ANONYMOUS: &str = "system:anonymous";

/// As whom a client acts. In the extensions of answers, for the audit line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impersonated {
    /// The user.
    pub user: String,
    /// The user's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// Additional facts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why somebody can't act as somebody else.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("cluster can't be asked whether you may act as somebody else: {0}")]
    Unavailable(String),
}

/// One thing that impersonation needs to be allowed.
#[derive(Debug, PartialEq, Eq)]
struct Question<'a> {
    group: &'static str,
    resource: &'static str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

// === impl Impersonated ===

impl Impersonated {
    /// Reads what a client asks for, if it does. Names are compared as servers do that take `_` for
    /// `-`: what this gateway would not understand, something behind it might.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut asked = false;
        let mut found = Self::default();
        let mut values = 0;
        for (name, value) in headers {
            if !begins_with(name.as_str(), PREFIX) {
                continue;
            }
            asked = true;
            values += 1;
            if values > MOST {
                return Err(Refusal::BadRequest(format!(
                    "over {MOST} Impersonate-* headers, each of which would have to be allowed"
                )));
            }
            let text = std::str::from_utf8(value.as_bytes())
                .ok()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Refusal::BadRequest(format!("the header {name} is empty, or not UTF-8")))?;
            found.take(name, text)?;
        }
        if !asked {
            return Ok(None);
        }
        if found.user.is_empty() {
            return Err(Refusal::BadRequest(
                "Impersonate-Group, -Uid and -Extra need Impersonate-User (kubectl: --as)".to_owned(),
            ));
        }
        found.add_groups();
        Ok(Some(found))
    }

    fn take(&mut self, name: &HeaderName, text: &str) -> Result<(), Refusal> {
        let twice = || Err(Refusal::BadRequest(format!("the header {name} is there twice")));
        match name.as_str() {
            "impersonate-user" if !self.user.is_empty() => return twice(),
            "impersonate-user" => text.clone_into(&mut self.user),
            "impersonate-uid" if self.uid.is_some() => return twice(),
            "impersonate-uid" => self.uid = Some(text.to_owned()),
            "impersonate-group" => self.groups.push(text.to_owned()),
            other => {
                let key = other.strip_prefix(EXTRA).filter(|key| !key.is_empty());
                let key = key.and_then(|key| percent_decode_str(key).decode_utf8().ok());
                let Some(key) = key else {
                    return Err(Refusal::BadRequest(format!(
                        "the header {name} is none that this gateway knows"
                    )));
                };
                let values = self.extra.entry(key.to_ascii_lowercase()).or_default();
                values.push(text.to_owned());
            }
        }
        Ok(())
    }

    /// The groups that Kubernetes adds by itself when it impersonates, and that therefore are not
    /// asked about.
    fn add_groups(&mut self) {
        let account = self.user.strip_prefix(SERVICE_ACCOUNT);
        if self.groups.is_empty()
            && let Some((namespace, _)) = account.and_then(|account| account.split_once(':'))
        {
            self.groups = vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
        }
    }

    /// Asks the cluster whether `principal` may act so.
    pub(crate) async fn authorise(&self, principal: &Principal, upstream: &Upstream) -> Result<(), Refusal> {
        // Dropped, and with it what is under way, when the client leaves.
        let questions = stream::iter(self.questions()?)
            .map(Ok)
            .try_for_each_concurrent(AT_A_TIME, |question| async move {
                question.ask(principal, upstream).await
            });
        match tokio::time::timeout(TIME, questions).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::Unavailable(format!("no answer in {} s", TIME.as_secs()))),
        }
    }

    fn questions(&self) -> Result<Vec<Question<'_>>, Refusal> {
        let account = self.user.strip_prefix(SERVICE_ACCOUNT);
        let (resource, namespace, name) = match account.map(|account| account.split_once(':')) {
            None => ("users", "", self.user.as_str()),
            Some(Some((namespace, name))) if !namespace.is_empty() && !name.is_empty() => {
                ("serviceaccounts", namespace, name)
            }
            Some(_) => {
                return Err(Refusal::BadRequest(format!(
                    "{:?} is no service account: expected system:serviceaccount:NAMESPACE:NAME",
                    self.user
                )));
            }
        };
        let core = |resource, namespace, name| Question {
            group: "",
            resource,
            subresource: "",
            namespace,
            name,
        };
        let mut questions = vec![core(resource, namespace, name)];
        let implied = |group: &&String| {
            account.is_none()
                || (*group != "system:serviceaccounts"
                    && group.strip_prefix("system:serviceaccounts:") != Some(namespace))
        };
        questions.extend(
            { &self.groups }
                .iter()
                .filter(implied)
                .map(|group| core("groups", "", group)),
        );
        questions.extend(self.uid.iter().map(|uid| Question {
            group: AUTHENTICATION,
            ..core("uids", "", uid)
        }));
        for (key, values) in &self.extra {
            questions.extend(values.iter().map(|value| Question {
                group: AUTHENTICATION,
                subresource: key,
                ..core("userextras", "", value)
            }));
        }
        Ok(questions)
    }

    /// A principal like `caller`, but for who it is.
    pub(crate) fn principal(self: &Arc<Self>, caller: &Principal) -> Principal {
        let mut groups = self.groups.clone();
        if self.user == ANONYMOUS && !groups.iter().any(|group| group == "system:unauthenticated") {
            groups.push("system:unauthenticated".to_owned());
        }
        Principal {
            user: self.user.clone(),
            uid: self.uid.clone(),
            groups,
            extra: self
                .extra
                .iter()
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect(),
            ..caller.clone()
        }
    }
}

// === impl Question ===

impl Question<'_> {
    async fn ask(&self, principal: &Principal, upstream: &Upstream) -> Result<(), Refusal> {
        let mut groups = principal.groups.clone();
        groups.push("system:authenticated".to_owned());
        let extra: BTreeMap<_, _> = principal
            .extra
            .iter()
            .map(|(key, values)| (key, values))
            .collect();
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": principal.user,
                "uid": principal.uid.as_deref().unwrap_or_default(),
                "groups": groups,
                "extra": extra,
                "resourceAttributes": {
                    "verb": "impersonate",
                    "group": self.group,
                    "version": if self.group.is_empty() { "" } else { "v1" },
                    "resource": self.resource,
                    "subresource": self.subresource,
                    "namespace": self.namespace,
                    "name": self.name,
                },
            },
        });
        let answer = upstream
            .post(REVIEWS, &review)
            .await
            .map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let allowed = answer
            .pointer("/status/allowed")
            .and_then(serde_json::Value::as_bool);
        if allowed == Some(true) {
            return Ok(());
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            key => format!("{}/{key}", self.resource),
        };
        let place = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        Err(Refusal::Forbidden(format!(
            "{resource} {:?} is forbidden: User {:?} cannot impersonate resource {resource:?} in API group {:?} {place}",
            self.name, principal.user, self.group
        )))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(lines: &[(&'static str, &'static str)]) -> Result<Option<Impersonated>, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Impersonated::parse(&headers)
    }

    #[test]
    fn each_value_is_a_question_of_its_own() {
        let asked = parse(&[
            ("impersonate-user", "bob"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-example.com%2fteam", "x"),
        ]);
        let asked = asked.unwrap().unwrap();
        let questions = asked.questions().unwrap();
        let shown: Vec<_> = questions
            .iter()
            .map(|q| (q.group, q.resource, q.subresource, q.name))
            .collect();
        assert_eq!(
            shown,
            [
                ("", "users", "", "bob"),
                ("", "groups", "", "a"),
                ("", "groups", "", "b"),
                (AUTHENTICATION, "uids", "", "7"),
                (AUTHENTICATION, "userextras", "example.com/team", "x"),
            ]
        );
    }

    #[test]
    fn a_service_account_is_asked_about_as_one_and_has_its_groups() {
        let asked = parse(&[("impersonate-user", "system:serviceaccount:web:deployer")]);
        let asked = asked.unwrap().unwrap();
        assert_eq!(
            asked.groups,
            ["system:serviceaccounts", "system:serviceaccounts:web"]
        );
        let questions = asked.questions().unwrap();
        assert_eq!(questions.len(), 1);
        assert_eq!(
            (questions[0].resource, questions[0].namespace, questions[0].name),
            ("serviceaccounts", "web", "deployer")
        );
        let broken = parse(&[("impersonate-user", "system:serviceaccount:web")])
            .unwrap()
            .unwrap();
        assert!(matches!(broken.questions(), Err(Refusal::BadRequest(_))));
        // Groups that are asked for are asked about, the reserved ones too.
        let masters = parse(&[
            ("impersonate-user", "system:serviceaccount:web:deployer"),
            ("impersonate-group", "system:masters"),
            ("impersonate-group", "system:serviceaccounts:kube-system"),
        ]);
        let masters = masters.unwrap().unwrap();
        assert_eq!(masters.questions().unwrap().len(), 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_never_ignored() {
        assert_eq!(parse(&[("accept", "*/*")]), Ok(None));
        for lines in [
            &[("impersonate-group", "a")][..],
            &[("impersonate-uid", "1")],
            &[("impersonate-extra-a", "1")],
            &[("impersonate-user", "a"), ("impersonate-user", "b")],
            &[
                ("impersonate-user", "a"),
                ("impersonate-uid", "1"),
                ("impersonate-uid", "2"),
            ],
            &[("impersonate-user", "")],
            &[("impersonate-user", "a"), ("impersonate-group", "")],
            &[("impersonate_user", "a")],
            &[("impersonate-user", "a"), ("impersonate_group", "system:masters")],
            &[("impersonate-user", "a"), ("impersonate-something", "x")],
            &[("impersonate-user", "a"), ("impersonate-extra-", "x")],
            &[("impersonate-user", "a"), ("impersonate", "x")],
        ] {
            assert!(
                matches!(parse(lines), Err(Refusal::BadRequest(_))),
                "{lines:?} passes"
            );
        }
        let mut many = HeaderMap::new();
        many.insert("impersonate-user", HeaderValue::from_static("a"));
        for n in 0..MOST {
            many.append("impersonate-group", HeaderValue::try_from(n.to_string()).unwrap());
        }
        assert!(matches!(Impersonated::parse(&many), Err(Refusal::BadRequest(_))));
    }
}
