//! What of a cluster a request is about, as kube-apiserver understands it.

use http::{Method, Uri};
use serde::Serialize;

/// What a request is about (`k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`). In the
/// extensions of every answer of [`Cluster::proxy`](crate::Cluster::proxy), for the audit line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The cluster's name.
    pub cluster: String,
    /// `get`, `list`, `watch`, `create`, …; for a path that names no resource, the HTTP method.
    pub verb: &'static str,
    /// The API group; empty for the core group and for a path that names no resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource, in plural.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The subresource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// The namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl Target {
    /// Whether it may go on for as long as its caller may
    /// (`k8s.io/apiserver/pkg/endpoints/filters`, `longRunningRequestCheck`).
    pub(crate) fn is_stream(&self) -> bool {
        self.verb == "watch"
            || matches!(
                self.subresource.as_str(),
                "attach" | "exec" | "log" | "portforward" | "proxy"
            )
    }

    /// Reads a target from a request.
    pub(crate) fn of(cluster: &str, method: &Method, uri: &Uri) -> Self {
        let mut target = Self {
            cluster: cluster.to_owned(),
            verb: plain_verb(method),
            ..Self::default()
        };
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.clone().next()) {
            (Some("api"), Some(_version), Some(_)) => {}
            (Some("apis"), Some(group), Some(_version)) => {
                parts.next();
                if parts.clone().next().is_none() {
                    return target;
                }
                target.group = group.to_owned();
            }
            _ => return target,
        }
        let mut parts: Vec<_> = parts.collect();
        // `watch` in the path is the form of Kubernetes before 1.11, which servers still take.
        let old_watch = parts.first() == Some(&"watch");
        if old_watch {
            parts.remove(0);
        }
        if let ["namespaces", namespace, rest @ ..] = parts.as_slice() {
            target.namespace = (*namespace).to_owned();
            if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) {
                parts.drain(..2);
            }
        }
        let mut parts = parts.into_iter();
        let (Some(resource), name) = (parts.next(), parts.next()) else {
            return target;
        };
        target.resource = resource.to_owned();
        target.name = name.unwrap_or_default().to_owned();
        target.subresource = parts.next().unwrap_or_default().to_owned();
        target.verb = resource_verb(method, uri, old_watch, name.is_some());
        target
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "other",
    }
}

fn resource_verb(method: &Method, uri: &Uri, old_watch: bool, named: bool) -> &'static str {
    let watches = || {
        let query = uri.query().unwrap_or_default();
        query
            .split('&')
            .any(|pair| matches!(pair, "watch" | "watch=1" | "watch=true"))
    };
    match *method {
        Method::GET | Method::HEAD if old_watch || watches() => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE if !named => "deletecollection",
        _ => plain_verb(method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_kube_apiserver_reads_them() {
        let cases = [
            ("GET", "/api/v1/nodes", ["list", "", "nodes", "", "", ""]),
            (
                "GET",
                "/api/v1/nodes?watch=true",
                ["watch", "", "nodes", "", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/log",
                ["get", "", "pods", "log", "a", "b"],
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                ["get", "", "namespaces", "", "a", "a"],
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                ["update", "", "namespaces", "finalize", "a", "a"],
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/b",
                ["patch", "apps", "deployments", "", "a", "b"],
            ),
            (
                "DELETE",
                "/apis/apps/v1/deployments",
                ["deletecollection", "apps", "deployments", "", "", ""],
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/exec",
                ["create", "", "pods", "exec", "a", "b"],
            ),
            ("GET", "/apis/apps/v1", ["get", "", "", "", "", ""]),
            ("GET", "/version", ["get", "", "", "", "", ""]),
            ("GET", "/", ["get", "", "", "", "", ""]),
        ];
        for (method, uri, [verb, group, resource, subresource, namespace, name]) in cases {
            let target = Target::of("c", &method.parse().unwrap(), &uri.parse().unwrap());
            let found = [
                target.verb,
                &target.group,
                &target.resource,
                &target.subresource,
                &target.namespace,
                &target.name,
            ];
            assert_eq!(
                found,
                [verb, group, resource, subresource, namespace, name],
                "{method} {uri}"
            );
        }
    }
}
