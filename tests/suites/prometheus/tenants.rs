//! Tenants that share a backend, and how much each may write.

use reqwest::{StatusCode, header};
use witgate_lab::{Component, InfluxDb, eventually, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels, read_answer, read_body, write_body};

use crate::world::{SOON, STRANGER, Setup, USER, World};

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
        // Asked for by its own name, as one does who has it as an external label.
        let named = [everything[0], everything[1], ("tenant", MatchType::Eq, name)];
        assert_eq!(read_as(&world, user, &named).await, *own, "{user}");
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
        for (user, foreign) in [(USER, 1000..2000), (STRANGER, 0..1000)] {
            for (labels, samples) in read_as(&world, user, &matchers).await {
                let is_foreign = samples.iter().any(|(_, value)| foreign.contains(value));
                assert!(!is_foreign, "{user} {matchers:?}: {labels:?}");
                assert!(labels.iter().all(|(name, _)| name != "tenant"), "{labels:?}");
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
