//! `witgate prometheus config`: a real Prometheus takes what it prints, and its samples arrive.

use std::{fs, path::PathBuf};

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
