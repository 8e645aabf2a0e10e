//! kubeconfigs that log in through `witgate credential`
//! (`k8s.io/client-go/tools/clientcmd/api/v1`).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// What a kubeconfig is made of.
#[derive(Debug)]
pub(crate) struct Kubeconfig<'a> {
    /// The gateway's URL, without a trailing slash.
    pub(crate) server: &'a str,
    /// The authority of the gateway's certificate (PEM), if it isn't publicly trusted.
    pub(crate) authority: Option<&'a str>,
    /// The names of the clusters.
    pub(crate) clusters: Vec<&'a str>,
}

impl Kubeconfig<'_> {
    /// As YAML, in which JSON is a part, so that nothing has to be escaped by hand.
    pub(crate) fn render(&self) -> String {
        let name = |cluster: &str| format!("{cluster}@{}", self.host());
        let mut text = String::from("apiVersion: v1\nkind: Config\n");
        if let [first, ..] = self.clusters.as_slice() {
            line(&mut text, "current-context: ", &json!(name(first)));
        }
        text.push_str("clusters:\n");
        for cluster in &self.clusters {
            line(
                &mut text,
                "- ",
                &json!({"name": name(cluster), "cluster": self.cluster(cluster)}),
            );
        }
        text.push_str("contexts:\n");
        for cluster in &self.clusters {
            let context = json!({"cluster": name(cluster), "user": self.user_name()});
            line(
                &mut text,
                "- ",
                &json!({"name": name(cluster), "context": context}),
            );
        }
        text.push_str("users:\n");
        line(
            &mut text,
            "- ",
            &json!({"name": self.user_name(), "user": {"exec": self.exec()}}),
        );
        text
    }

    /// Puts its entries into another kubeconfig, instead of those of the same names, and makes its
    /// first cluster the current one.
    pub(crate) fn merge_into(&self, other: &mut Value) {
        let name = |cluster: &str| format!("{cluster}@{}", self.host());
        if !other.is_object() {
            *other = json!({"apiVersion": "v1", "kind": "Config"});
        }
        for cluster in &self.clusters {
            let context = json!({"cluster": name(cluster), "user": self.user_name()});
            put(
                other,
                "clusters",
                "cluster",
                &name(cluster),
                &self.cluster(cluster),
            );
            put(other, "contexts", "context", &name(cluster), &context);
        }
        put(
            other,
            "users",
            "user",
            &self.user_name(),
            &json!({"exec": self.exec()}),
        );
        if let (Some(first), Some(other)) = (self.clusters.first(), other.as_object_mut()) {
            other.insert("current-context".to_owned(), json!(name(first)));
        }
    }

    fn cluster(&self, name: &str) -> Value {
        let server = format!("{}/clusters/{name}", self.server);
        match self.authority {
            Some(authority) => {
                json!({"server": server, "certificate-authority-data": STANDARD.encode(authority)})
            }
            None => json!({"server": server}),
        }
    }

    fn exec(&self) -> Value {
        json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "witgate",
            "args": ["credential", "--server", self.server],
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": true,
            "installHint": "kubectl logs in through `witgate`, which is not on your PATH. Whoever gave you this file can tell you where to get it.",
        })
    }

    fn user_name(&self) -> String {
        format!("witgate@{}", self.host())
    }

    fn host(&self) -> &str {
        self.server
            .split_once("://")
            .map_or(self.server, |(_, host)| host)
    }
}

fn line(text: &mut String, start: &str, value: &Value) {
    text.push_str(start);
    text.push_str(&value.to_string());
    text.push('\n');
}

fn put(config: &mut Value, list: &str, kind: &str, name: &str, value: &Value) {
    let Some(config) = config.as_object_mut() else {
        return;
    };
    let list = config.entry(list).or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    list.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(name));
    list.push(json!({"name": name, kind: value}));
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: Kubeconfig<'static> = Kubeconfig {
        server: "https://gateway.example.com:8443",
        authority: Some("PEM"),
        clusters: Vec::new(),
    };

    #[test]
    fn it_is_yaml_that_names_every_cluster() {
        let kubeconfig = Kubeconfig {
            clusters: vec!["prod", "test"],
            ..KUBECONFIG
        };
        let text = kubeconfig.render();
        let parsed: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(parsed["current-context"], "prod@gateway.example.com:8443");
        assert_eq!(
            parsed["clusters"][1]["cluster"]["server"],
            "https://gateway.example.com:8443/clusters/test"
        );
        assert_eq!(
            parsed["clusters"][0]["cluster"]["certificate-authority-data"],
            "UEVN"
        );
        assert_eq!(
            parsed["users"][0]["user"]["exec"]["interactiveMode"],
            "IfAvailable"
        );
        assert_eq!(
            parsed["contexts"][1]["context"]["user"],
            parsed["users"][0]["name"]
        );
    }

    #[test]
    fn merging_keeps_what_is_of_others_and_replaces_its_own() {
        let mut other = json!({
            "clusters": [{"name": "mine", "cluster": {}}, {"name": "prod@gateway.example.com:8443", "cluster": {"server": "old"}}],
            "current-context": "mine",
        });
        let kubeconfig = Kubeconfig {
            clusters: vec!["prod"],
            ..KUBECONFIG
        };
        kubeconfig.merge_into(&mut other);
        kubeconfig.merge_into(&mut other);
        assert_eq!(other["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(other["clusters"][0]["name"], "mine");
        assert_eq!(
            other["clusters"][1]["cluster"]["server"],
            "https://gateway.example.com:8443/clusters/prod"
        );
        assert_eq!(other["users"].as_array().unwrap().len(), 1);
        assert_eq!(other["current-context"], "prod@gateway.example.com:8443");
    }
}
