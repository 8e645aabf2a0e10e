//! Tenants that share a backend, and how much each may write.

use reqwest::{StatusCode, header};
use witgate_lab::{Component, InfluxDb, Prometheus, eventually, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels, read_answer, read_body, write_body};

use crate::{
    sender::endpoint,
    world::{SOON, STRANGER, Setup, USER, World},
};

/// Two tenants, `lab` and `other`, in one database, apart by a label.
const SHARED: &str = "  \
  - name: other
    storage: influx
    attributes: {db: prometheus}
    write: {groups: [others]}
    read: {groups: [others]}
  tenantLabel: tenant";

/// Numbers without a pattern, the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % end as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The same series for each tenant, with values that say whose they are.
fn series(first: u64) -> Vec<Series> {
    let mut all = Vec::new();
    for (n, job) in (first..).zip(["a", "b", "tenant", "other"]) {
        for name in ["up", "tenant", "other"] {
            let labels = labels(&[("Tenant", "lab"), ("__name__", name), ("job", job)]);
            all.push((labels, vec![(1_700_000_000_000, n)]));
        }
    }
    all.sort();
    all
}

async fn read_as(world: &World, user: &str, matchers: &[(&str, MatchType, &str)]) -> Vec<Series> {
    let body = read_body(matchers, 0, i64::MAX);
    let answer = world.post_as(user, "/api/v1/read", body).send().await.unwrap();
    let (status, body) = (answer.status(), answer.bytes().await.unwrap());
    assert_eq!(
        status,
        StatusCode::OK,
        "{matchers:?}: {}",
        String::from_utf8_lossy(&body)
    );
    read_answer(&body)
}

#[tokio::test]
async fn tenants_of_one_database_never_see_each_other() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let setup = Setup {
        more: SHARED,
        ..Setup::influx(influx.address())
    };
    let world = World::start(&setup).await;
    let tenants = [(USER, "lab", series(0)), (STRANGER, "other", series(1000))];
    for (user, _, own) in &tenants {
        let answer = world.post_as(user, "/api/v1/write", write_body(own)).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
    }
    // A forged series is refused, and the honest one beside it is not.
    let forged = (
        labels(&[("__name__", "up"), ("job", "a"), ("tenant", "lab")]),
        vec![(1_700_000_000_000, 7)],
    );
    let honest = (
        labels(&[("__name__", "honest"), ("tenant", "other")]),
        vec![(1, 1007)],
    );
    let body = write_body(&[forged, honest.clone()]);
    let answer = world
        .post_as(STRANGER, "/api/v1/write", body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let said = answer.text().await.unwrap();
    assert!(
        said.contains("another tenant's value of `prometheus.tenantLabel`"),
        "{said}"
    );
    assert!(
        said.starts_with("stored: 1 sample; not stored: 1 sample with"),
        "{said}"
    );

    let everything = [
        ("__name__", MatchType::Re, ".+"),
        ("__name__", MatchType::Neq, "honest"),
    ];
    for (user, name, own) in &tenants {
        assert_eq!(read_as(&world, user, &everything).await, *own, "{user}");
        // Asked for by its own name, as one does who has it as an external label, and takes it out.
        let named = [everything[0], everything[1], ("tenant", MatchType::Eq, name)];
        let mut found = read_as(&world, user, &named).await;
        for (labels, _) in &mut found {
            let at = labels.iter().position(|(own, _)| own == "tenant").unwrap();
            assert_eq!(labels.remove(at).1, *name);
        }
        assert_eq!(found, *own, "{user}");
    }
    let mut random = Random(4);
    let operations = [MatchType::Eq, MatchType::Neq, MatchType::Re, MatchType::Nre];
    let names = ["tenant", "__name__", "job", "Tenant", "tenant ", "value", "none"];
    let values = [
        "",
        "lab",
        "other",
        "lab|other",
        ".*",
        ".+",
        "(?i)LAB",
        "up",
        "a",
        "^other$",
        "other|",
        "[^l].*",
        "other' OR 1=1 --",
        "\" OR \"tenant\" = 'other",
    ];
    for _ in 0..200 {
        let count = 1 + random.below(4);
        let matchers: Vec<_> = (0..count)
            .map(|_| (random.of(&names), random.of(&operations), random.of(&values)))
            .collect();
        for (user, name, foreign) in [(USER, "lab", 1000..2000), (STRANGER, "other", 0..1000)] {
            let is_asked_for = matchers.contains(&("tenant", MatchType::Eq, name));
            for (labels, samples) in read_as(&world, user, &matchers).await {
                let is_foreign = samples.iter().any(|(_, value)| foreign.contains(value));
                assert!(!is_foreign, "{user} {matchers:?}: {labels:?}");
                let shown = labels.iter().find(|(name, _)| name == "tenant");
                let expected = is_asked_for.then_some(name);
                assert_eq!(shown.map(|(_, value)| value.as_str()), expected, "{matchers:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_that_writes_too_much_is_told_to_wait_and_loses_nothing() {
    let setup = Setup {
        tenant: "limits: {samplesPerSecond: 5, burst: 10}",
        ..Setup::local()
    };
    let world = World::start(&setup).await;
    let body = |n: i64| {
        let samples = (0..10).map(|time| (n * 10 + time, 1)).collect();
        write_body(&[(labels(&[("__name__", "many")]), samples)])
    };
    let mut refused = 0;
    for n in 0..4 {
        eventually("the samples are taken", SOON, async || {
            let answer = world.post("/api/v1/write", body(n)).send().await.unwrap();
            match answer.status() {
                StatusCode::NO_CONTENT => Ok(()),
                StatusCode::TOO_MANY_REQUESTS => {
                    Err(answer.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned())
                }
                other => panic!("{other}"),
            }
        })
        .await
        .unwrap();
        let again = world.post("/api/v1/write", body(n)).send().await.unwrap();
        if again.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait = again.headers()[header::RETRY_AFTER].to_str().unwrap();
            assert!((1..=4).contains(&wait.parse::<u32>().unwrap()), "{wait}");
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused}");
    let read = world.read(&[("__name__", MatchType::Eq, "many")], 0, 1000).await;
    assert_eq!(read[0].1.len(), 40);
}

/// One entry for any number of teams, by what their groups are called.
const TEAMS: &str = "  \
  - name: 'team-{tenant}'
    storage: local
    write: {groups: ['metrics:{tenant}:write']}
    read: {groups: ['metrics:{tenant}:read']}
  tenantLabel: tenant";

const TEAMS_USERS: &[(&str, &str)] = &[
    ("red", "'metrics:red:write', 'metrics:red:read'"),
    ("blue", "'metrics:blue:write', 'metrics:blue:read'"),
    ("both", "'metrics:red:read', 'metrics:blue:read'"),
    ("odd", "'metrics:a/b:write', 'metrics:lab:read'"),
];

#[tokio::test]
async fn a_tenant_comes_to_be_from_the_name_of_a_group_and_is_apart_from_all_others() {
    let world = World::start(&Setup {
        more: TEAMS,
        users: TEAMS_USERS,
        ..Setup::local()
    })
    .await;
    let body = |value| write_body(&[(labels(&[("__name__", "up")]), vec![(1000, value)])]);
    for (user, value) in [("red", 1), ("blue", 2), (USER, 3)] {
        let answer = world
            .post_as(user, "/api/v1/write", body(value))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{user}");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let tenant = if user == USER {
            "lab".to_owned()
        } else {
            format!("team-{user}")
        };
        assert_eq!(world.audited(&id).await["account"]["tenant"], tenant.as_str());
    }
    let everything = [("__name__", MatchType::Re, ".*")];
    for (user, value) in [("red", 1), ("blue", 2), (USER, 3)] {
        let found = read_as(&world, user, &everything).await;
        assert_eq!(
            found,
            [(labels(&[("__name__", "up")]), vec![(1000, value)])],
            "{user}"
        );
    }
    // Who may read of several says of which.
    let read = |user, tenant: Option<&str>| {
        let request = world.post_as(user, "/api/v1/read", read_body(&everything, 0, 10_000));
        match tenant {
            Some(tenant) => request.header("X-Scope-OrgID", tenant),
            None => request,
        }
    };
    let answer = read("both", Some("team-blue")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(read_answer(&answer.bytes().await.unwrap())[0].1, [(1000, 2)]);
    let refused = [
        (read("both", None), "X-Scope-OrgID"),
        (read("both", Some("lab")), "\"lab\""),
        (read("red", Some("team-blue")), "\"team-blue\""),
        (read("red", Some("team-red|team-blue")), "team-red|team-blue"),
        (world.post_as("odd", "/api/v1/write", body(4)), "team-a/b"),
    ];
    for (request, words) in refused {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{words}");
        let said = answer.text().await.unwrap();
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_new_series_too_many_is_refused_and_those_beside_it_are_not() {
    let world = World::start(&Setup {
        tenant: "limits: {series: 2, body: 2KiB}",
        ..Setup::local()
    })
    .await;
    let series = |job: &str, time| {
        (
            labels(&[("__name__", "up"), ("job", job)]),
            vec![(time, 1), (time + 1, 1)],
        )
    };
    assert_eq!(world.write(&[series("a", 0), series("b", 0)]).await.0, 204);
    let (status, said) = world
        .write(&[series("c", 10), series("b", 10), series("a", 10)])
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        said.starts_with("stored: 4 samples; not stored: 2 samples with a new series"),
        "{said}"
    );
    // It is the tenant's count, whatever the configuration is changed to besides.
    world
        .reconfigure(&Setup {
            tenant: "limits: {series: 2, body: 1KiB}",
            ..Setup::local()
        })
        .await;
    assert_eq!(world.write(&[series("d", 20)]).await.0, 400);
    assert_eq!(world.write(&[series("a", 20)]).await.0, 204);
    let read = world.read(&[("__name__", MatchType::Eq, "up")], 0, 100).await;
    let jobs: Vec<_> = read
        .iter()
        .map(|(labels, samples)| (labels[1].1.as_str(), samples.len()))
        .collect();
    assert_eq!(jobs, [("a", 6), ("b", 4)]);
    let active = world
        .metric(r#"witgate_prometheus_active_series{tenant="lab"}"#)
        .await;
    assert!((active - 2.0).abs() < 0.1, "{active}");
    // So is the bound of a body.
    let noise: Vec<u8> = (0..2000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let answer = world.post("/api/v1/write", noise).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// A Prometheus that has the tenant's label as an external label asks for it, and takes it off what
/// it finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_with_the_tenants_label_as_its_own_reads_what_is_the_tenants() {
    if require(Component::Prometheus).is_err() {
        return;
    }
    let world = World::start(&Setup {
        more: "  tenantLabel: tenant",
        ..Setup::local()
    })
    .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let series = (
        labels(&[("__name__", "theirs"), ("job", "a")]),
        vec![(now, 1.0_f64.to_bits())],
    );
    assert_eq!(world.write(&[series]).await.0, 204);
    for (own, found) in [("lab", 1), ("other", 0)] {
        let remote = endpoint(&world, "read");
        let reader = Prometheus::start(|_| {
            format!("global: {{external_labels: {{tenant: {own}}}}}\nremote_read:\n- {remote}")
        });
        let reader = reader.await.unwrap();
        eventually("the query is answered", SOON, async || {
            let answer = reader
                .query("theirs", None)
                .await
                .map_err(|error| error.to_string())?;
            let results = answer["result"].as_array().cloned().unwrap_or_default();
            if results.len() != found {
                return Err(answer.to_string());
            }
            for result in results {
                assert_eq!(
                    result["metric"],
                    serde_json::json!({"__name__": "theirs", "job": "a"})
                );
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}
