//! `witgate prometheus config`: a real Prometheus takes what it prints, and its samples arrive.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use witgate_lab::{Component, Gateway, Prometheus, PrometheusOptions, eventually, require};
use witgate_prometheus::proto::MatchType;

use crate::world::{PASSWORD, SOON, STRANGER, Setup, USER, World};

/// Where somebody asks for a configuration, with a password in a file.
struct Operator {
    home: TempDir,
    server: String,
    authority: PathBuf,
}

impl Operator {
    fn of(world: &World) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("password"), PASSWORD).unwrap();
        Self {
            home,
            server: world.url(""),
            authority: world.authority(),
        }
    }

    /// What it prints, or what it complains of.
    async fn config(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(Gateway::binary().unwrap());
        command
            .args([
                "prometheus",
                "config",
                "--server",
                &self.server,
                "--username",
                user,
            ])
            .args(["--password-file", "password", "--ca-file"])
            .arg(&self.authority)
            .args(args)
            .env("WITGATE_HOME", self.home.path())
            .current_dir(self.home.path())
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(PASSWORD), "{text}");
        match output.status.success() {
            true => Ok(text),
            false => Err(text),
        }
    }
}

#[tokio::test]
async fn a_current_prometheus_takes_the_configuration_and_its_samples_arrive() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let world = World::start(&Setup::local()).await;
    let operator = Operator::of(&world);
    let printed = operator.config(USER, &["--tenant", "lab"]).await.unwrap();
    Prometheus::check(&printed).await.unwrap();
    assert!(Prometheus::check(&printed.replace("url:", "rul:")).await.is_err());
    for expected in [
        "protobuf_message: io.prometheus.write.v2.Request",
        "send_native_histograms: true",
        "retry_on_http_429: true",
        "max_samples_per_send: 2000",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    // The local storage does not hold them.
    assert!(!printed.contains("send_exemplars"), "{printed}");

    let options = PrometheusOptions {
        current: true,
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start_with(options, |own| {
        format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: own, static_configs: [{{targets: ['{own}']}}]}}]\n{printed}"
        )
    });
    let prometheus = prometheus.await.unwrap();
    let matchers = [("job", MatchType::Eq, "own"), ("__name__", MatchType::Eq, "up")];
    eventually("three scrapes have arrived", SOON, async || {
        match &world.read(&matchers, 0, i64::MAX).await[..] {
            [(_, samples)] if samples.len() >= 3 => Ok(()),
            other => Err(format!("{other:?} {}", prometheus.process().stderr())),
        }
    })
    .await
    .unwrap();

    // Another one that has nothing but the read block finds them.
    let (_, read) = printed.split_once("remote_read:").unwrap();
    let options = PrometheusOptions {
        current: true,
        ..PrometheusOptions::default()
    };
    let reader = Prometheus::start_with(options, |_| format!("remote_read:{read}"));
    let reader = reader.await.unwrap();
    eventually("they are read", SOON, async || {
        let found = reader
            .query("count_over_time(up{job='own'}[10m]) >= 3", None)
            .await;
        let found = found.map_err(|error| error.to_string())?;
        match found["result"].as_array() {
            Some(results) if !results.is_empty() => Ok(()),
            _ => Err(found.to_string()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_way_to_authenticate_is_one_that_prometheus_knows() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let world = World::start(&Setup {
        tenant: "limits: {samplesPerSecond: 100, burst: 500}",
        ..Setup::default()
    })
    .await;
    let operator = Operator::of(&world);
    let file = operator.home.path().join("secret");
    fs::write(&file, "a-secret-of-prometheus").unwrap();
    let file = file.to_str().unwrap();
    let cases = [
        (
            vec!["--credentials-file", file],
            format!("authorization:\n    type: Bearer\n    credentials_file: {file}"),
        ),
        (
            vec!["--basic-user", "sender", "--basic-password-file", file],
            format!("basic_auth:\n    username: sender\n    password_file: {file}"),
        ),
        (
            vec![
                "--oauth2-token-url",
                "https://issuer.example.com/token",
                "--oauth2-client-id",
                "prometheus",
                "--oauth2-client-secret-file",
                file,
                "--oauth2-scope",
                "openid",
            ],
            format!(
                "oauth2:\n    client_id: prometheus\n    client_secret_file: {file}\n    \
                 token_url: https://issuer.example.com/token\n    scopes:\n"
            ),
        ),
    ];
    for (args, expected) in cases {
        let printed = operator.config(USER, &args).await.unwrap();
        assert!(printed.contains(&expected), "{expected}\nis not in\n{printed}");
        assert!(!printed.contains("a-secret-of-prometheus"), "{printed}");
        // InfluxDB holds nothing but samples, and the tenant may not write more than this at once.
        for expected in ["metadata_config:\n    send: false", "max_samples_per_send: 500"] {
            assert!(printed.contains(expected), "{expected}: {printed}");
        }
        Prometheus::check(&printed).await.unwrap();
    }
}

#[tokio::test]
async fn the_operators_form_refers_to_a_secret_and_paths_are_no_keys() {
    let world = World::start(&Setup::local()).await;
    let operator = Operator::of(&world);
    let args = ["--operator", "--secret", "witgate", "--tls-ca-file", "ca.crt"];
    let basic = ["--basic-user", "user", "--basic-password-file", "password"];
    let printed = operator
        .config(USER, &[&args[..], &basic].concat())
        .await
        .unwrap();
    let url = world.url("/api/v1/write");
    let expected = format!(
        "remoteWrite:\n- url: {url}\n  name: witgate-lab\n  messageVersion: V2.0\n  \
         sendNativeHistograms: true\n  basicAuth:\n    username:\n      name: witgate\n      key: user\n    \
         password:\n      name: witgate\n      key: password\n  tlsConfig:\n    ca:\n      secret:\n        \
         name: witgate\n        key: ca.crt\n  queueConfig:\n    capacity: 10000\n    \
         maxSamplesPerSend: 2000\n    retryOnRateLimit: true\nremoteRead:\n- url: "
    );
    assert!(printed.contains(&expected), "{expected}\nis not in\n{printed}");

    let refused = [
        (
            &["--credentials-file", "/etc/token"][..],
            "give keys instead of paths",
        ),
        (&[], "say which keys of the Secret hold the credential"),
    ];
    for (more, words) in refused {
        let said = operator
            .config(USER, &[&args[..], more].concat())
            .await
            .unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}

/// Of the Prometheus Operator's resource `Prometheus` (`monitoring.coreos.com/v1`), what a `remoteWrite` and
/// a `remoteRead` may have and is of use here, as its API reference has it: each field with what its value
/// is. `*` is any key, and what ends in a dot is as in the other section.
const FIELDS: [&str; 32] = [
    "remoteWrite[].url string",
    "remoteWrite[].name string",
    "remoteWrite[].headers.* string",
    "remoteWrite[].messageVersion string",
    "remoteWrite[].sendExemplars bool",
    "remoteWrite[].sendNativeHistograms bool",
    "remoteWrite[].metadataConfig.send bool",
    "remoteWrite[].queueConfig.capacity number",
    "remoteWrite[].queueConfig.maxSamplesPerSend number",
    "remoteWrite[].queueConfig.retryOnRateLimit bool",
    "remoteWrite[].authorization.type string",
    "remoteWrite[].authorization.credentials.name string",
    "remoteWrite[].authorization.credentials.key string",
    "remoteWrite[].basicAuth.username.name string",
    "remoteWrite[].basicAuth.username.key string",
    "remoteWrite[].basicAuth.password.name string",
    "remoteWrite[].basicAuth.password.key string",
    "remoteWrite[].oauth2.clientId.secret.name string",
    "remoteWrite[].oauth2.clientId.secret.key string",
    "remoteWrite[].oauth2.clientSecret.name string",
    "remoteWrite[].oauth2.clientSecret.key string",
    "remoteWrite[].oauth2.tokenUrl string",
    "remoteWrite[].oauth2.scopes[] string",
    "remoteWrite[].tlsConfig.ca.secret.name string",
    "remoteWrite[].tlsConfig.ca.secret.key string",
    "remoteRead[].url string",
    "remoteRead[].name string",
    "remoteRead[].headers.* string",
    "remoteRead[].authorization.",
    "remoteRead[].basicAuth.",
    "remoteRead[].oauth2.",
    "remoteRead[].tlsConfig.",
];

/// All that has a value, with the way to it.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = match path.ends_with(".headers") {
                    true => "*",
                    false => name,
                };
                leaves(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(values) => {
            { values.iter() }.for_each(|value| leaves(value, &format!("{path}[]"), found))
        }
        Value::String(_) => found.push(format!("{path} string")),
        Value::Bool(_) => found.push(format!("{path} bool")),
        Value::Number(_) => found.push(format!("{path} number")),
        Value::Null => found.push(format!("{path} nothing")),
    }
}

#[tokio::test]
async fn the_operators_form_has_only_fields_that_its_resource_has() {
    let setup = Setup {
        // Another one is chosen before it, so that it is named by a header.
        more: "  \
  - name: second
    storage: local
    write: {groups: [metrics]}
    read: {groups: [metrics]}",
        ..Setup::local()
    };
    let world = World::start(&setup).await;
    let operator = Operator::of(&world);
    let common = [
        "--operator",
        "--secret",
        "witgate",
        "--tls-ca-file",
        "ca.crt",
        "--tenant",
    ];
    for tenant in ["lab", "second"] {
        for shown in [
            &["--credentials-file", "token"][..],
            &["--basic-user", "user", "--basic-password-file", "password"],
            &[
                "--oauth2-token-url",
                "https://dex.example.org/token",
                "--oauth2-client-id",
                "id",
                "--oauth2-client-secret-file",
                "secret",
                "--oauth2-scope",
                "openid",
            ],
        ] {
            let args = [&common[..], &[tenant], shown].concat();
            let printed = operator.config(USER, &args).await.unwrap();
            let spec: Value = serde_saphyr::from_str(&printed).unwrap();
            for section in ["remoteWrite", "remoteRead"] {
                assert!(spec[section].is_array(), "{printed}");
            }
            let mut found = Vec::new();
            for (section, value) in spec.as_object().unwrap() {
                leaves(value, section, &mut found);
            }
            for leaf in &found {
                // What shows who one is, is the same in both.
                let known = FIELDS.iter().any(|field| match field.strip_suffix('.') {
                    None => leaf == field,
                    Some(part) => {
                        leaf.starts_with(part) && FIELDS.contains(&leaf.replace("Read", "Write").as_str())
                    }
                });
                assert!(known, "{leaf} is no field: {printed}");
            }
            assert!(found.len() > 12, "{found:?}");
        }
    }
}

#[tokio::test]
async fn a_tenant_that_is_not_ones_own_is_not_described() {
    let world = World::start(&Setup::local()).await;
    let operator = Operator::of(&world);
    let said = operator.config(USER, &["--tenant", "other"]).await.unwrap_err();
    assert!(
        said.contains("may use no tenant \"other\": there is lab"),
        "{said}"
    );
    let said = operator.config(STRANGER, &["--tenant", "lab"]).await.unwrap_err();
    assert!(said.contains("stranger may use no tenant"), "{said}");
    assert!(!said.contains("lab"), "{said}");
}
