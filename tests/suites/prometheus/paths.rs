//! Prometheus' own paths and those of InfluxDB 1.x, with credentials in the URL where allowed.

use reqwest::StatusCode;
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels, read_answer, read_body, write_body};

use crate::world::{PASSWORD, Setup, USER, World};

const MATCHER: [(&str, MatchType, &str); 1] = [("__name__", MatchType::Eq, "up")];

fn up(job: &str) -> Series {
    (
        labels(&[("__name__", "up"), ("job", job)]),
        vec![(1_700_000_000_000, 1)],
    )
}

#[tokio::test]
async fn both_families_of_paths_reach_the_same_samples() {
    let world = World::start(&Setup::local()).await;
    let (own, influxdbs) = (up("a"), up("b"));
    for (path, series) in [
        ("/api/v1/write", &own),
        ("/api/v1/prom/write?db=prometheus", &influxdbs),
    ] {
        let body = write_body(std::slice::from_ref(series));
        let answer = world.post(path, body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
    }
    for path in [
        "/api/v1/read",
        "/api/v1/prom/read?db=prometheus",
        "/api/v1/prom/read",
    ] {
        let request = world.post(path, read_body(&MATCHER, 0, i64::MAX));
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(read_answer(&answer), [own.clone(), influxdbs.clone()], "{path}");
    }
    let other = world.post("/api/v1/prom/write?db=other", write_body(&[own]));
    let answer = other.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let said = answer.text().await.unwrap();
    assert!(said.contains("other") && said.contains("prometheus"), "{said}");
}

#[tokio::test]
async fn credentials_in_the_url_work_where_allowed_and_are_in_no_log() {
    let setup = Setup {
        url_credentials: true,
        ..Setup::local()
    };
    let world = World::start(&setup).await;
    let wrong = "not-the-pass-word";
    let cases = [
        (
            format!("/api/v1/prom/write?db=prometheus&u={USER}&p={PASSWORD}"),
            204,
        ),
        (format!("/api/v1/prom/write?u={USER}&p={wrong}"), 401),
        (format!("/api/v1/write?u={USER}&p={PASSWORD}"), 401),
    ];
    for (path, status) in &cases {
        let answer = world.bare(path, write_body(&[up("url")])).send().await.unwrap();
        assert_eq!(answer.status(), *status, "{path}");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let line = world.audited(&id).await;
        assert_eq!(line["path"], path.split('?').next().unwrap());
        let said = answer.text().await.unwrap();
        assert!(!said.contains(wrong) && !said.contains(PASSWORD), "{said}");
    }
    let path = format!("/api/v1/prom/read?u={USER}&p={PASSWORD}");
    let answer = world
        .bare(&path, read_body(&MATCHER, 0, i64::MAX))
        .send()
        .await
        .unwrap();
    assert_eq!(read_answer(&answer.bytes().await.unwrap()), [up("url")]);
    let written = world.written();
    assert!(
        written.contains("/api/v1/prom/write"),
        "the audit lines are there: {written}"
    );
    assert!(
        !written.contains(PASSWORD) && !written.contains(wrong),
        "{written}"
    );

    world.reconfigure(&Setup::local()).await;
    let (path, _) = &cases[0];
    let answer = world.bare(path, write_body(&[up("url")])).send().await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::UNAUTHORIZED,
        "they are not allowed any more"
    );
}
