//! `witgate doctor prometheus`: what it says where everything arrives, and what where it does not, with
//! the words that say what to change.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
};
use witgate_lab::{Authority, Component, Gateway, InfluxDb, Port, require};
use witgate_prometheus::proto::MatchType;

use crate::{
    samples::STALE,
    world::{PASSWORD, STRANGER, Setup, USER, World},
};

/// Somebody who examines a gateway, from a machine with these files.
struct Examiner {
    home: TempDir,
    server: String,
    user: &'static str,
    authority: PathBuf,
}

/// What an examination ended with.
#[derive(Debug)]
struct Examined {
    is_well: bool,
    stdout: String,
    stderr: String,
}

impl Examiner {
    /// With everything right.
    fn of(world: &World) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self {
            home,
            server: world.url(""),
            user: USER,
            authority: world.authority(),
        }
    }

    async fn examine(&self, args: &[&str]) -> Examined {
        let mut command = Command::new(Gateway::binary().unwrap());
        command
            .args([
                "doctor",
                "prometheus",
                "--server",
                &self.server,
                "--username",
                self.user,
            ])
            .args(["--password-file", "password", "--ca-file"])
            .arg(&self.authority)
            .args(args)
            .env("WITGATE_HOME", self.home.path())
            .current_dir(self.home.path())
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let examined = Examined {
            is_well: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!format!("{examined:?}").contains(PASSWORD), "{examined:?}");
        examined
    }

    /// Sees where it fails, and certain words in what was found and in the advice.
    async fn fails(&self, at: &str, found: &str, advice: &str) {
        let examined = self.examine(&["--json"]).await;
        assert!(!examined.is_well, "{examined:?}");
        let report = examined.report();
        assert_eq!(
            (&report["ok"], &report["failedAt"]),
            (&Value::from(false), &Value::from(at)),
            "{report:#}"
        );
        let checks = report["checks"].as_array().unwrap();
        let failed = checks.iter().find(|check| check["outcome"] == "failed").unwrap();
        for (field, words) in [("found", found), ("advice", advice)] {
            assert!(
                failed[field].as_str().unwrap().contains(words),
                "{words:?}: {failed:#}"
            );
        }
        assert!(
            examined.stderr.contains(&format!("ends at: {at}")),
            "{examined:?}"
        );
        // The same for people.
        let table = self.examine(&[]).await;
        assert!(!table.is_well, "{table:?}");
        let said = format!("\nIt fails at: {at}\nWhat to do:  ");
        assert!(
            table.stdout.contains(&said) && table.stdout.contains(advice),
            "{table:?}"
        );
    }
}

impl Examined {
    fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Names and outcomes, in their order.
fn outcomes(report: &Value) -> Vec<(&str, &str)> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            (
                check["name"].as_str().unwrap(),
                check["outcome"].as_str().unwrap(),
            )
        })
        .collect()
}

/// Everything that is behind a storage that holds native histograms, or not.
fn well(histogram: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("reach", "ok"),
        ("credential", "ok"),
        ("tenant", "ok"),
        ("limits", "ok"),
        ("plugin", "ok"),
        ("backend", "ok"),
        ("float", "ok"),
        ("stale marker", "ok"),
        ("NaN payload", "ok"),
        ("infinity", "ok"),
        ("histogram", histogram),
        ("exemplar", "refused"),
        ("metadata", "skipped"),
        ("read", "ok"),
    ]
}

#[tokio::test]
async fn every_kind_arrives_in_the_local_storage_and_what_it_does_not_hold_is_refused() {
    let world = World::start(&Setup::local()).await;
    let examined = Examiner::of(&world).examine(&["--json"]).await;
    assert!(examined.is_well, "{examined:?}");
    let report = examined.report();
    assert_eq!(outcomes(&report), well("ok"), "{report:#}");
    let found = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["found"].as_str().unwrap().to_owned()
    };
    assert!(
        found("credential").contains(&format!("{USER}, in metrics")),
        "{report:#}"
    );
    assert!(
        found("tenant").contains("writes to lab (by the group metrics)"),
        "{report:#}"
    );
    assert!(
        found("exemplar").contains("not stored: 1 exemplar with"),
        "{report:#}"
    );

    // It did what it says: the bits are there, under the run's label.
    let run = report["run"].as_str().unwrap();
    let read = world
        .read(&[("witgate_run", MatchType::Eq, run)], 0, i64::MAX)
        .await;
    let bits = |name: &str| {
        let name = format!("witgate_doctor_{name}");
        let series = read
            .iter()
            .find(|(labels, _)| labels.contains(&("__name__".to_owned(), name.clone())));
        let (_, samples) = series.unwrap_or_else(|| panic!("no {name} in {read:?}"));
        assert_eq!(samples.len(), 1, "{name}: {samples:?}");
        samples[0].1
    };
    assert_eq!(bits("stale_marker"), STALE);
    assert_eq!(bits("nan"), 0x7ff8_dead_beef_cafe);
    assert_eq!(bits("infinity"), f64::INFINITY.to_bits());
    assert!(read.len() <= 7, "a run leaves few series: {read:?}");

    let table = Examiner::of(&world).examine(&[]).await;
    assert!(
        table.is_well && table.stdout.contains("stale marker  ok "),
        "{table:?}"
    );
}

#[tokio::test]
async fn every_kind_arrives_in_influxdb_and_histograms_are_refused() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let world = World::start(&Setup::influx(influx.address())).await;
    let examiner = Examiner::of(&world);
    for args in [&["--json"][..], &["--json", "--database", "prometheus"]] {
        let examined = examiner.examine(args).await;
        assert!(examined.is_well, "{examined:?}");
        assert_eq!(outcomes(&examined.report()), well("refused"), "{examined:?}");
    }
}

#[tokio::test]
async fn on_the_way_to_the_gateway_the_certificate_the_port_and_the_password_are_told_apart() {
    let world = World::start(&Setup::local()).await;
    let mut examiner = Examiner::of(&world);
    let other = Authority::new("another authority").unwrap();
    let authority = examiner.home.path().join("other.pem");
    fs::write(&authority, other.certificate()).unwrap();
    examiner.authority = authority;
    let advice = "other.pem does not hold the authority that signed it: give its PEM file with --ca-file";
    examiner.fails("reach", "is not trusted", advice).await;

    let mut examiner = Examiner::of(&world);
    // The certificate is for localhost and 127.0.0.1.
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    examiner.server = format!("https://{}", listener.local_addr().unwrap());
    let gateway = world.url("").replace("https://localhost", "127.0.0.1");
    let forwarding = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&gateway).await.unwrap();
            // A client that does not trust the certificate hangs up.
            let _ = copy_bidirectional(&mut from, &mut to).await;
        }
    });
    let advice = "use a name that is in the certificate";
    examiner.fails("reach", "is not for 127.0.0.2", advice).await;
    forwarding.abort();

    examiner.server = format!("https://localhost:{}", Port::free().unwrap().number());
    examiner
        .fails("reach", "does not answer", "whether the gateway runs")
        .await;

    let examiner = Examiner::of(&world);
    fs::write(examiner.home.path().join("password"), "another-password").unwrap();
    let advice = "`witgate hash password` makes the hash of the right one";
    examiner.fails("credential", "401", advice).await;
}

#[tokio::test]
async fn whoever_has_no_tenant_is_told_where_to_be_added() {
    let world = World::start(&Setup::local()).await;
    let mut examiner = Examiner::of(&world);
    examiner.user = STRANGER;
    let advice = "to `write` of a tenant under `prometheus.tenants`";
    examiner
        .fails("tenant", "groups [\"others\"] may not write", advice)
        .await;
}

#[tokio::test]
async fn a_backend_that_is_away_or_lacks_its_database_is_named_with_what_to_do() {
    let world = World::start(&Setup::default()).await;
    let advice = "start the backend, make the database, or correct `config` and `grants` of `plugins.influx`";
    Examiner::of(&world)
        .fails("backend", "http://127.0.0.1:9", advice)
        .await;

    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    let setup = Setup {
        // Another tenant with a database of its own, for the other user.
        more: "  \
  - name: other
    storage: influx
    attributes: {db: nowhere}
    write: {groups: [others]}
    read: {groups: [others]}",
        ..Setup::influx(influx.address())
    };
    let world = World::start(&setup).await;
    let mut examiner = Examiner::of(&world);
    examiner.fails("backend", "prometheus", advice).await;

    // The plugin's own database is there now, and the tenant's is not: only a write finds that out.
    influx.create_database("prometheus").await.unwrap();
    examiner.user = STRANGER;
    let advice = "or `attributes` of the tenant";
    examiner.fails("backend", "nowhere", advice).await;
}

#[tokio::test]
async fn a_storage_of_best_effort_that_is_away_is_a_warning() {
    let setup = Setup {
        storage: "",
        tenant: "storages: [{plugin: local}, {plugin: influx, bestEffort: true}]",
        ..Setup::default()
    };
    let world = World::start(&setup).await;
    let examiner = Examiner::of(&world);
    let examined = examiner.examine(&["--json"]).await;
    assert!(examined.is_well, "{examined:?}");
    let report = examined.report();
    let mut expected = well("ok");
    expected.splice(
        4..6,
        [
            ("plugin", "ok"),
            ("backend", "ok"),
            ("plugin", "ok"),
            ("backend", "warning"),
        ],
    );
    assert_eq!(outcomes(&report), expected, "{report:#}");
    let table = examiner.examine(&[]).await;
    assert!(table.is_well, "{table:?}");
    for words in [
        "A warning:   influx: ",
        "http://127.0.0.1:9",
        "start the backend, make the database",
    ] {
        assert!(table.stdout.contains(words), "{words:?}: {table:?}");
    }
}

#[tokio::test]
async fn limits_that_are_too_narrow_are_named() {
    let labels = Setup {
        tenant: "limits: {labels: 2}",
        ..Setup::local()
    };
    let world = World::start(&labels).await;
    let examiner = Examiner::of(&world);
    let found = "a series may have 2 labels, and these have 3";
    examiner
        .fails("limits", found, "in `limits` of the tenant lab")
        .await;

    let rate = Setup {
        tenant: "limits: {samplesPerSecond: 1, burst: 1}",
        ..Setup::local()
    };
    world.reconfigure(&rate).await;
    let found = "tenant lab writes more than its samplesPerSecond";
    let advice = "raise samplesPerSecond or burst of the tenant's `limits`";
    examiner.fails("limits", found, advice).await;
}

#[tokio::test]
async fn a_plugin_that_traps_is_told_from_its_backend() {
    let setup = Setup {
        storage: "misbehave",
        ..Setup::default()
    };
    let world = World::start(&setup).await;
    let advice = "an older `file` of it can be put back";
    Examiner::of(&world)
        .fails("plugin", "plugin misbehave:", advice)
        .await;
}
