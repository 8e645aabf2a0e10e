//! Two tenants with the same series in one storage: neither sees or makes anything of the other's,
//! whatever it asks for and whatever it writes.

use std::{
    collections::BTreeMap,
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;
use reqwest::{StatusCode, header};
use witgate_prometheus::proto::{
    Label, LabelMatcher, MatchType, Query, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries,
    WriteRequest,
};
use witgate_tests::{
    random::Random,
    remote::{compress, streamed},
};

use crate::{
    backend::{Backend, Running},
    world::{STRANGER, Setup, USER, World},
};

/// How many sets of matchers each tenant asks with, in the environment or else this many.
const SETS: (&str, usize) = ("WITGATE_SETS", 256);

/// Sets of matchers in one request, which are its queries.
const QUERIES: usize = 32;

/// Values of the second tenant begin here.
const OTHERS: u32 = 1_000_000;

/// What makes labels and matchers that are taken for another.
const NAMES: [&str; 9] = [
    "job",
    "Tenant",
    "TENANT",
    "tenant_",
    "_tenant",
    "ténant",
    "tenant\u{200b}",
    "other",
    "lab",
];

const VALUES: [&str; 16] = [
    "",
    "lab",
    "other",
    "LAB",
    "Other",
    " lab",
    "lab ",
    "lab\u{0}",
    "l\u{430}b",
    "lab,other",
    "lab|other",
    "a",
    "b",
    "\"other\"",
    "other' OR 'a'='a",
    "{tenant=\"other\"}",
];

/// Regular expressions that both of `regex` and RE2 read the same way.
const EXPRESSIONS: [&str; 28] = [
    "",
    ".*",
    ".+",
    "lab",
    "other",
    "lab|other",
    "other|",
    "|other",
    "(lab|other)?",
    "(?i)LAB",
    "(?i:OTHER)",
    "^other$",
    "^lab",
    "o.*",
    "[^l].*",
    "[a-z]+",
    "(?:)",
    "(lab)|(.*)",
    "oth(er)?|(?:lab)?",
    "[0-9A-Za-z_]+",
    "[^a]*",
    ".{0,3}",
    ".{5}",
    "\\x6f.*",
    "l.b",
    "/other/",
    "other$/ OR \"tenant\" =~ /^lab",
    "a|b|lab",
];

type Labels = Vec<(String, String)>;

/// A tenant and what it has.
#[derive(Debug)]
struct Tenant {
    name: &'static str,
    user: &'static str,
    held: BTreeMap<Labels, BTreeMap<i64, u64>>,
}

#[tokio::test]
async fn in_the_gateways_own_storage() {
    let running = Backend::Local.start().await.unwrap();
    // There the plugin keeps tenants apart, by their names alone.
    tenants_are_apart(&running, None, Random::seeded(11)).await;
    tenants_are_apart(&running, Some("tenant"), Random::seeded(12)).await;
}

#[tokio::test]
async fn in_one_database_of_influxdb() {
    if let Some(running) = Backend::InfluxDb.start().await {
        tenants_are_apart(&running, Some("tenant"), Random::seeded(13)).await;
    }
}

#[tokio::test]
async fn at_another_prometheus() {
    if let Some(running) = Backend::Prometheus.start().await {
        tenants_are_apart(&running, Some("tenant"), Random::seeded(14)).await;
    }
}

#[tokio::test]
async fn in_victoriametrics() {
    if let Some(running) = Backend::VictoriaMetrics.start().await {
        tenants_are_apart(&running, Some("tenant"), Random::seeded(15)).await;
    }
}

async fn tenants_are_apart(running: &Running, label: Option<&'static str>, mut random: Random) {
    let storage = running.backend.plugin();
    let more = format!(
        "  - name: other\n    storage: {storage}\n    attributes: {{db: prometheus}}\n    \
         write: {{groups: [others]}}\n    read: {{groups: [others]}}\n{}",
        label
            .map(|label| format!("  tenantLabel: {label}\n"))
            .unwrap_or_default()
    );
    let setup = Setup {
        more: more.leak(),
        ..running.setup()
    };
    let world = World::start(&setup).await;
    let mut tenants = [("lab", USER), ("other", STRANGER)].map(|(name, user)| Tenant {
        name,
        user,
        held: BTreeMap::new(),
    });
    let start = now() - 600_000;
    write_the_same(&world, &mut tenants, start, running.backend, &mut random).await;
    forge(&world, &mut tenants, label, start, &mut random).await;
    running.settle().await;

    let sets = env::var(SETS.0).map_or(SETS.1, |sets| sets.parse().unwrap());
    let mut found = 0;
    for round in 0..sets.div_ceil(QUERIES) {
        let sets: Vec<_> = (0..QUERIES)
            .map(|_| matchers(&tenants, label, &mut random))
            .collect();
        let form = random.of(&[ResponseType::Samples, ResponseType::StreamedXorChunks]);
        for tenant in &tenants {
            let results = read(&world, tenant.user, &sets, form).await;
            for (set, result) in sets.iter().zip(results) {
                let expected = tenant.sees(set, label);
                found += result.len();
                assert!(
                    result == expected,
                    "{random:?} round {round}: {} asks {storage} for {set:?} as {form:?} and gets {result:?} \
                     instead of {expected:?}",
                    tenant.name
                );
            }
        }
    }
    assert!(found > sets, "most of what is asked finds something: {found}");
}

/// Both write the same series, with values that say whose they are.
async fn write_the_same(
    world: &World,
    tenants: &mut [Tenant; 2],
    start: i64,
    backend: Backend,
    random: &mut Random,
) {
    let values: Vec<_> = { VALUES.into_iter() }
        .filter(|value| backend.holds_label(value))
        .collect();
    for n in 0..60 {
        let mut labels = BTreeMap::from([("__name__", random.of(&["up", "other", "lab", "tenant"]))]);
        for _ in 0..random.below(4) {
            labels.insert(random.of(&NAMES), random.of(&values));
        }
        let labels: Labels = { labels.into_iter() }
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (tenant, first) in tenants.iter_mut().zip([0, OTHERS]) {
            let (time, value) = (start + i64::from(n), f64::from(first + n).to_bits());
            let status = write(world, tenant.user, &[(labels.clone(), time, value)]).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{labels:?}");
            tenant.held.entry(labels.clone()).or_default().insert(time, value);
        }
    }
}

/// Each tries to write as the other, and as itself in ways that are no forgery.
async fn forge(
    world: &World,
    tenants: &mut [Tenant; 2],
    label: Option<&str>,
    start: i64,
    random: &mut Random,
) {
    let name = label.unwrap_or("tenant");
    let (mut taken, mut refused) = (0, 0);
    for n in 0..120 {
        let (at, first) = random.of(&[(0, 0), (1, OTHERS)]);
        let tenant = &mut tenants[at];
        let mut labels = vec![
            ("__name__".to_owned(), "up".to_owned()),
            ("n".to_owned(), n.to_string()),
        ];
        for _ in 0..1 + random.below(2) {
            let value = random.of(&["lab", "other", "", "LAB", " lab", "other "]);
            labels.insert(
                random.below(labels.len() + 1),
                (name.to_owned(), value.to_owned()),
            );
        }
        let claimed: Vec<_> = { labels.iter() }
            .filter(|(label, value)| label == name && !value.is_empty())
            .map(|(_, value)| value.clone())
            .collect();
        let is_right = match &claimed[..] {
            [] => true,
            [value] => label.is_none() || value == tenant.name,
            _ => false,
        };
        let (time, value) = (start + 1000 + i64::from(n), f64::from(first + 1000 + n).to_bits());
        let honest = (vec![("__name__".to_owned(), "honest".to_owned())], time, value);
        let series = [(labels.clone(), time, value), honest.clone()];
        let status = write(world, tenant.user, &series).await;
        let expected = if is_right {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!(status, expected, "{random:?} {} {labels:?}", tenant.name);
        // The honest one beside a forged one is kept.
        tenant.held.entry(honest.0).or_default().insert(honest.1, value);
        if !is_right {
            refused += 1;
            continue;
        }
        taken += 1;
        labels.retain(|(label_name, value)| !value.is_empty() && (label_name != name || label.is_none()));
        labels.sort();
        tenant.held.entry(labels).or_default().insert(time, value);
    }
    assert!(
        taken > 10 && (refused > 10),
        "{taken} taken and {refused} refused"
    );
}

async fn write(world: &World, user: &str, series: &[(Labels, i64, u64)]) -> StatusCode {
    let timeseries = series.iter().map(|(labels, timestamp, value)| TimeSeries {
        labels: { labels.iter().cloned() }
            .map(|(name, value)| Label { name, value })
            .collect(),
        samples: vec![Sample {
            value: *value,
            timestamp: *timestamp,
        }],
        ..TimeSeries::default()
    });
    let request = WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    };
    let body = compress(&request.encode_to_vec());
    let answer = world.post_as(user, "/api/v1/write", body).send().await.unwrap();
    answer.status()
}

/// One to four matchers: of the label that keeps the tenants apart, of what looks like it, and of what
/// there is.
fn matchers(tenants: &[Tenant; 2], label: Option<&str>, random: &mut Random) -> Vec<LabelMatcher> {
    let count = 1 + random.below(4);
    let some = |random: &mut Random| {
        let name = match random.below(4) {
            0 => label.unwrap_or("tenant").to_owned(),
            1 => "__name__".to_owned(),
            2 => random.of(&NAMES).to_owned(),
            _ => {
                let held: Vec<_> = tenants[random.below(2)].held.keys().cloned().collect();
                let labels = random.of(&held);
                random.of(&labels).0
            }
        };
        let operation = random.of(&[MatchType::Eq, MatchType::Neq, MatchType::Re, MatchType::Nre]);
        let value = match operation {
            MatchType::Eq | MatchType::Neq => {
                random.of(&[&VALUES[..], &["up", "honest", "tenant", "7"]].concat())
            }
            MatchType::Re | MatchType::Nre => {
                random.of(&[&EXPRESSIONS[..], &["up|tenant", "[ou].*", "honest|.*", "1?[0-9]"]].concat())
            }
        };
        LabelMatcher {
            r#type: operation.into(),
            name,
            value: value.to_owned(),
        }
    };
    (0..count).map(|_| some(random)).collect()
}

impl Tenant {
    /// What a set of matchers has to find, by the definition of matchers.
    fn sees(&self, set: &[LabelMatcher], label: Option<&str>) -> Vec<(Labels, Vec<(i64, u64)>)> {
        let expressions = { set.iter() }.filter(|matcher| matcher.r#type >= MatchType::Re as i32);
        let compiled: BTreeMap<_, _> = expressions
            .map(|matcher| {
                let regex = regex::Regex::new(&format!("^(?s:{})$", matcher.value)).unwrap();
                (matcher.value.clone(), regex)
            })
            .collect();
        let holds = |labels: &Labels, matcher: &LabelMatcher| {
            let own = (label == Some(matcher.name.as_str())).then_some(self.name);
            let found = { labels.iter() }.find(|(name, _)| *name == matcher.name);
            let value = own.or(found.map(|(_, value)| value.as_str())).unwrap_or_default();
            let regex = || &compiled[&matcher.value];
            match MatchType::try_from(matcher.r#type).unwrap() {
                MatchType::Eq => value == matcher.value,
                MatchType::Neq => value != matcher.value,
                MatchType::Re => regex().is_match(value),
                MatchType::Nre => !regex().is_match(value),
            }
        };
        // Who asks for the label by its value gets it, as from a Prometheus whose external label it is.
        let own = label.map(|label| (label.to_owned(), self.name.to_owned()));
        let is_asked_for = |matcher: &LabelMatcher| {
            let is_own = { own.as_ref() }
                .is_some_and(|(name, value)| (&matcher.name, &matcher.value) == (name, value));
            is_own && matcher.r#type == MatchType::Eq as i32
        };
        let own = own.as_ref().filter(|_| set.iter().any(is_asked_for));
        let seen =
            { self.held.iter() }.filter(|(labels, _)| set.iter().all(|matcher| holds(labels, matcher)));
        let mut seen: Vec<_> = seen
            .map(|(labels, samples)| {
                let mut labels: Labels = { labels.iter().chain(own) }.cloned().collect();
                labels.sort();
                let samples = samples.iter().map(|(time, bits)| (*time, *bits));
                (labels, samples.collect::<Vec<_>>())
            })
            .collect();
        seen.sort();
        seen
    }
}

async fn read(
    world: &World,
    user: &str,
    sets: &[Vec<LabelMatcher>],
    form: ResponseType,
) -> Vec<Vec<(Labels, Vec<(i64, u64)>)>> {
    let queries = sets.iter().map(|set| Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: i64::MAX,
        matchers: set.clone(),
        hints: None,
    });
    let request = ReadRequest {
        queries: queries.collect(),
        accepted_response_types: vec![form.into()],
    };
    let request = world.post_as(user, "/api/v1/read", compress(&request.encode_to_vec()));
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let body = answer.bytes().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    if form == ResponseType::StreamedXorChunks {
        assert_eq!(kind.unwrap(), streamed::CONTENT_TYPE);
        let results = streamed::read(&body, sets.len()).into_iter();
        return results
            .map(|result| {
                { result.into_iter() }
                    .map(|series| (series.labels, series.samples))
                    .collect()
            })
            .collect();
    }
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let answer = ReadResponse::decode(body.as_slice()).unwrap();
    let series = |series: TimeSeries| {
        let labels = { series.labels.into_iter() }.map(|label| (label.name, label.value));
        let samples = { series.samples.into_iter() }.map(|sample| (sample.timestamp, sample.value));
        (labels.collect(), samples.collect())
    };
    let results = answer.results.into_iter();
    results
        .map(|result| result.timeseries.into_iter().map(series).collect())
        .collect()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
