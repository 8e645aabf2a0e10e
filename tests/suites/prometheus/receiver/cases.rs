//! What is sent: the requests of the public suite by its names for them, and some of our own.

use witgate_prometheus::proto::{self, BucketSpan};

use super::request::Series;
use crate::samples::STALE;

/// What the public suite calls a NaN that is none of Prometheus' markers.
const NAN: u64 = 0x7ff8_0000_0000_0001;

const COUNTER: i32 = 1;
const GAUGE: i32 = 2;
const HISTOGRAM: i32 = 3;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// One request.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) series: Vec<Series>,
    /// Whether a receiver has to take all of it that it can hold.
    pub(super) is_right: bool,
}

/// Which buckets a histogram has.
struct Buckets {
    positive: bool,
    negative: bool,
    zero: bool,
}

const POSITIVE: Buckets = Buckets {
    positive: true,
    negative: false,
    zero: true,
};
const NEGATIVE: Buckets = Buckets {
    positive: false,
    negative: true,
    zero: false,
};
const ALL: Buckets = Buckets {
    positive: true,
    negative: true,
    zero: true,
};
const NONE: Buckets = Buckets {
    positive: false,
    negative: false,
    zero: false,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    single_metrics(&mut cases);
    multiple_metrics(&mut cases);
    exemplars(&mut cases);
    histograms(&mut cases);
    metadata(&mut cases);
    combinations(&mut cases);
    own(&mut cases);
    cases
}

fn case(cases: &mut Vec<Case>, name: impl Into<String>, series: Vec<Series>) {
    let is_right = series.iter().all(|series| series.is_right);
    cases.push(Case {
        name: name.into(),
        series,
        is_right,
    });
}

fn values() -> [(&'static str, u64); 5] {
    [
        ("1.0", 1f64.to_bits()),
        ("StaleNaN", STALE),
        ("NaN", NAN),
        ("Inf", f64::INFINITY.to_bits()),
        ("-Inf", f64::NEG_INFINITY.to_bits()),
    ]
}

fn up(instance: &str) -> Series {
    Series::new(&[("__name__", "up"), ("instance", instance), ("job", "testjob")])
}

fn nameless(instance: &str) -> Series {
    Series::new(&[("instance", instance), ("job", "testjob")]).wrong()
}

/// `TestSingleMetric`, `TestCounterWithCreatedTimestamp`.
fn single_metrics(cases: &mut Vec<Case>) {
    for (value, bits) in values() {
        for (labels, series) in [
            ("simple metric", Series::new(&[("__name__", "up")])),
            ("multiple labels", up("localhost:9090")),
            (
                "newlines",
                Series::new(&[
                    ("__name__", "up"),
                    ("instance", "localhost:9090"),
                    ("job", "test\njob\n"),
                ]),
            ),
            (
                "dots",
                Series::new(&[
                    ("__name__", "resource.cpu.usage"),
                    ("instance.name", "localhost:9090"),
                    ("job.name", "testjob"),
                ]),
            ),
            (
                "spaces",
                Series::new(&[
                    ("__name__", "resource cpu usage"),
                    ("instance name", "localhost:9090"),
                    ("job name", "testjob"),
                ]),
            ),
            ("without name label", nameless("localhost:9090")),
            ("empty metric", Series::new(&[]).wrong()),
        ] {
            case(
                cases,
                format!("SingleMetric {value} {labels}"),
                vec![series.sample_of(bits, 0)],
            );
        }
    }
    let counter = Series::new(&[("__name__", "http_requests_total"), ("job", "api")]);
    case(
        cases,
        "CounterWithCreatedTimestamp",
        vec![counter.sample(100.0).began(HOUR)],
    );
}

/// `TestMultipleMetrics`, of which one is half right.
fn multiple_metrics(cases: &mut Vec<Case>) {
    for (value, bits) in values() {
        let four = |first: fn(&str) -> Series, others: fn(&str) -> Series| -> Vec<Series> {
            (0..4)
                .map(|n| {
                    let series = if n == 0 { first } else { others };
                    series(&format!("localhost:909{n}")).sample_of(bits, 0)
                })
                .collect()
        };
        for (names, series) in [
            ("all named", four(up, up)),
            ("none named", four(nameless, nameless)),
            ("one of four not named", four(nameless, up)),
        ] {
            case(cases, format!("MultipleMetrics {value} {names}"), series);
        }
    }
}

/// `TestExemplars`, `TestExemplarWithCreatedTimestamp`, `TestMultipleExemplars`,
/// `TestExemplarTimestamps`, `TestExemplarValidation`, `TestExemplarSpecialValues`.
fn exemplars(cases: &mut Vec<Case>) {
    type Labels = &'static [(&'static str, &'static str)];
    let kinds: [(&str, Labels, Labels); 7] = [
        (
            "basic_exemplar",
            &[("__name__", "http_requests_total"), ("job", "api")],
            &[("trace_id", "abc123def456")],
        ),
        (
            "exemplar_with_span_id",
            &[("__name__", "request_duration_seconds"), ("method", "GET")],
            &[("trace_id", "xyz789"), ("span_id", "span123")],
        ),
        (
            "exemplar_without_trace_id",
            &[("__name__", "cpu_usage"), ("instance", "host1")],
            &[("user_id", "user123")],
        ),
        (
            "exemplar_with_multiple_labels",
            &[("__name__", "request_latency"), ("service", "auth")],
            &[
                ("user", "admin"),
                ("trace_id", "trace456"),
                ("endpoint", "/login"),
            ],
        ),
        ("exemplar_no_labels", &[("__name__", "simple_counter")], &[]),
        (
            "exemplar_with_special_chars",
            &[("__name__", "test_metric")],
            &[("trace_id", "trace-with-dashes_and_underscores.123")],
        ),
        (
            "exemplar_with_unicode",
            &[("__name__", "unicode_test"), ("region", "🌍")],
            &[("trace_id", "trace_测试")],
        ),
    ];
    for (kind, labels, exemplar) in kinds {
        let series = Series::new(labels).sample(1.0).exemplar(exemplar, 1.0);
        case(cases, format!("Exemplars {kind}"), vec![series]);
    }
    let trace = [("trace_id", "abc123"), ("span_id", "span456")];
    let counter = Series::new(&[("__name__", "http_requests_total"), ("job", "api")]);
    case(
        cases,
        "ExemplarWithCreatedTimestamp",
        vec![counter.sample(250.0).exemplar(&trace, 250.0).began(2 * HOUR)],
    );
    let several = [
        ("request_duration", "GET", 0.1),
        ("request_duration", "POST", 0.25),
        ("error_count", "none", 1.0),
    ];
    let several = several.map(|(name, method, value)| {
        Series::new(&[("__name__", name), ("method", method)])
            .sample(value)
            .exemplar(&trace, value)
    });
    case(cases, "MultipleExemplars", several.to_vec());
    let over_time = [(-HOUR, 0.05), (-MINUTE, 0.15), (0, 0.08)];
    let over_time = over_time.map(|(time, value): (i64, f64)| {
        Series::new(&[("__name__", "latency_hist")])
            .sample_of(value.to_bits(), time)
            .exemplar_at(&trace, value.to_bits(), time)
    });
    case(cases, "ExemplarTimestamps", over_time.to_vec());
    for (kind, series) in [
        ("exemplar_without_name_label", nameless("a")),
        (
            "exemplar_with_empty_name",
            Series::new(&[("__name__", "")]).wrong(),
        ),
        (
            "exemplar_with_valid_name",
            Series::new(&[("__name__", "valid_metric")]),
        ),
    ] {
        let series = series.sample(1.0).exemplar(&trace, 1.0);
        case(cases, format!("ExemplarValidation {kind}"), vec![series]);
    }
    for (kind, bits) in [
        ("zero_value", 0),
        ("negative_value", (-123.456_f64).to_bits()),
        ("large_value", 1e10_f64.to_bits()),
        ("small_value", 1e-10_f64.to_bits()),
        ("nan_value", NAN),
        ("inf_value", f64::INFINITY.to_bits()),
        ("-inf_value", f64::NEG_INFINITY.to_bits()),
    ] {
        let series = Series::new(&[("__name__", "test_metric")])
            .sample_of(bits, 0)
            .exemplar_at(&trace, bits, 0);
        case(cases, format!("ExemplarSpecialValues {kind}"), vec![series]);
    }
}

/// `TestHistograms`, `TestHistogramWithCreatedTimestamp`, `TestMultipleHistograms`,
/// `TestEmptyHistogram`, `TestHistogramWithMetadata`, `TestHistogramWithExemplar`,
/// `TestHistogramWithMetadataAndExemplar`, `TestMultipleHistogramsWithMetadata`.
fn histograms(cases: &mut Vec<Case>) {
    let named = |name: &str| Series::new(&[("__name__", name), ("job", "test")]);
    let zero = Buckets { zero: true, ..NONE };
    for (kind, histogram) in [
        ("basic_histogram", histogram(1.0, &ALL)),
        ("custom_buckets_histogram", custom(1.0)),
        ("positive_only_histogram", histogram(1.0, &POSITIVE)),
        ("negative_only_histogram", histogram(1.0, &NEGATIVE)),
        ("minimal_histogram", histogram(1.0, &zero)),
    ] {
        let series = named("test_histogram").histogram(histogram);
        case(cases, format!("Histograms {kind}"), vec![series]);
    }
    let wrong = proto::Histogram {
        count_int: Some(99),
        ..histogram(1.0, &POSITIVE)
    };
    case(
        cases,
        "Histograms bad_count_histogram",
        vec![named("minimal_hist").histogram(wrong).wrong()],
    );
    let began = named("request_duration_seconds").histogram(histogram(1.5, &ALL));
    case(
        cases,
        "HistogramWithCreatedTimestamp",
        vec![began.began(30 * MINUTE)],
    );
    case(
        cases,
        "MultipleHistograms",
        vec![
            named("hist1").histogram(histogram(10.5, &POSITIVE)),
            named("hist2").histogram(histogram(5.2, &NEGATIVE)),
        ],
    );
    let empty = named("empty_hist").histogram(histogram(0.0, &NONE));
    case(cases, "EmptyHistogram", vec![empty]);
    let trace = [("trace_id", "abc123def456"), ("span_id", "span789")];
    let duration = || named("http_request_duration_seconds").histogram(histogram(2.5, &ALL));
    case(
        cases,
        "HistogramWithMetadata",
        vec![duration().metadata(HISTOGRAM, "HTTP request duration in seconds", "seconds")],
    );
    case(
        cases,
        "HistogramWithExemplar",
        vec![duration().exemplar(&trace, 1.23)],
    );
    case(
        cases,
        "HistogramWithMetadataAndExemplar",
        vec![
            duration()
                .metadata(HISTOGRAM, "HTTP response size", "bytes")
                .exemplar(&trace, 10_485_760.0),
        ],
    );
    let usage = ["cpu_usage_histogram", "memory_usage_histogram"];
    let usage = usage.map(|name| {
        named(name)
            .histogram(histogram(0.75, &POSITIVE))
            .metadata(HISTOGRAM, "usage distribution", "ratio")
    });
    case(cases, "MultipleHistogramsWithMetadata", usage.to_vec());
}

/// `TestMetadata`, `TestCounterMetadataWithCreatedTimestamp`, `TestMetadataWithSamples`,
/// `TestMultipleMetadata`, `TestMetadataWithComplexLabels`, `TestMetadataValidation`.
fn metadata(cases: &mut Vec<Case>) {
    for (kind, name, number, help, unit) in [
        (
            "counter",
            "http_requests_total",
            COUNTER,
            "Total number",
            "requests",
        ),
        ("gauge", "cpu_usage_percent", GAUGE, "Current usage", "percent"),
        (
            "histogram",
            "request_duration_seconds",
            HISTOGRAM,
            "Duration",
            "seconds",
        ),
        ("no_help_no_unit", "simple_counter", COUNTER, "", ""),
        (
            "special_chars",
            "test_metric",
            GAUGE,
            "with\nnewlines and \"quotes\"",
            "bytes/sec",
        ),
        ("unspecified", "unknown_metric", 0, "Unknown metric type", ""),
        ("info", "build_info", 6, "Build information", ""),
        ("stateset", "node_state", 7, "Node state information", ""),
        (
            "summary",
            "request_latency_summary",
            5,
            "Request latency",
            "seconds",
        ),
        (
            "gauge_histogram",
            "temperature_histogram",
            4,
            "Distribution",
            "celsius",
        ),
        ("of a later time", "later", 99, "a kind that there is not yet", ""),
    ] {
        let series = Series::new(&[("__name__", name)]).metadata(number, help, unit);
        let series = match number {
            HISTOGRAM => series.histogram(histogram(1.0, &ALL)),
            _ => series.sample(1.0),
        };
        case(cases, format!("Metadata {kind}"), vec![series]);
    }
    let counter = || {
        Series::new(&[("__name__", "http_requests_total"), ("job", "api")])
            .sample(150.0)
            .metadata(COUNTER, "Total HTTP requests", "requests")
    };
    case(
        cases,
        "CounterMetadataWithCreatedTimestamp",
        vec![counter().began(HOUR)],
    );
    case(cases, "MetadataWithSamples", vec![counter()]);
    let several = ["cpu_usage", "memory_usage", "disk_usage"];
    let several = several.map(|name| {
        Series::new(&[("__name__", name), ("device", "sda1")])
            .sample(85.5)
            .metadata(GAUGE, name, "percent")
    });
    case(cases, "MultipleMetadata", several.to_vec());
    let complex = Series::new(&[
        ("__name__", "http_request_duration_seconds"),
        ("endpoint", "/api/v1/users"),
        ("instance", "localhost:8080"),
        ("job", "api-server"),
        ("method", "GET"),
        ("status", "200"),
    ]);
    case(
        cases,
        "MetadataWithComplexLabels",
        vec![complex.histogram(histogram(0.25, &ALL)).metadata(
            HISTOGRAM,
            "HTTP request duration",
            "seconds",
        )],
    );
    for (kind, series) in [
        ("metadata_without_name_label", nameless("a")),
        (
            "metadata_with_empty_name",
            Series::new(&[("__name__", "")]).wrong(),
        ),
        (
            "metadata_with_valid_name",
            Series::new(&[("__name__", "valid_metric_name")]),
        ),
    ] {
        let series = series.sample(1.0).metadata(COUNTER, "Test help", "unit");
        case(cases, format!("MetadataValidation {kind}"), vec![series]);
    }
}

/// `TestSamplesWithMetadataAndExemplars` and what follows it.
fn combinations(cases: &mut Vec<Case>) {
    let trace = [("trace_id", "request_trace_123"), ("user_id", "user789")];
    let requests = Series::new(&[
        ("__name__", "http_requests_total"),
        ("job", "api"),
        ("method", "POST"),
    ])
    .sample(1.0)
    .metadata(COUNTER, "Total number of HTTP requests", "requests")
    .exemplar(&trace, 1.0);
    case(cases, "SamplesWithMetadataAndExemplars", vec![requests]);
    let durations = |sum, buckets: &Buckets| {
        Series::new(&[("__name__", "request_duration_seconds"), ("service", "auth")])
            .histogram(histogram(sum, buckets))
            .metadata(HISTOGRAM, "HTTP request duration distribution", "seconds")
            .exemplar(&trace, sum)
    };
    case(
        cases,
        "HistogramsWithMetadataAndExemplars",
        vec![durations(0.456, &ALL)],
    );
    let gauge = |name: &str, value| {
        Series::new(&[("__name__", name), ("instance", "server1")])
            .sample(value)
            .metadata(GAUGE, name, "ratio")
    };
    case(
        cases,
        "ComplexSamplesRequest",
        vec![
            gauge("cpu_usage", 0.85).exemplar(&trace, 0.85),
            gauge("memory_usage", 8_589_934_592.0),
        ],
    );
    let size = Series::new(&[("__name__", "request_size_hist"), ("method", "POST")]);
    case(
        cases,
        "ComplexHistogramsRequest",
        vec![
            durations(0.125, &POSITIVE),
            size.histogram(histogram(1024.0, &ALL))
                .metadata(HISTOGRAM, "Request size", "bytes"),
        ],
    );
    case(
        cases,
        "MultipleMetricFamiliesSamples",
        vec![
            gauge("http_requests_total", 1000.0).exemplar(&trace, 1000.0),
            gauge("temperature_celsius", 23.5),
        ],
    );
    case(
        cases,
        "MultipleMetricFamiliesHistograms",
        vec![durations(0.003, &POSITIVE)],
    );
    let orphan = || Series::new(&[("__name__", "orphan_metric")]);
    case(
        cases,
        "EdgeCaseCombinations metadata_without_data",
        vec![orphan().metadata(COUNTER, "Orphaned metric metadata", "count")],
    );
    case(
        cases,
        "EdgeCaseCombinations exemplars_without_data",
        vec![orphan().exemplar(&trace, 42.0)],
    );
    let old = Series::new(&[("__name__", "old_metric")])
        .sample_of(1f64.to_bits(), -HOUR)
        .exemplar_at(&trace, 1f64.to_bits(), -30 * MINUTE);
    let new = Series::new(&[("__name__", "new_metric")]).sample(2.0);
    case(cases, "EdgeCaseCombinations mixed_timestamp_data", vec![old, new]);
    let many = |kind: &str| -> Vec<Series> {
        let named = |n: i32| {
            Series::new(&[
                ("__name__", &format!("{kind}_metric_{n}")),
                ("series", &format!("series_{n}")),
            ])
            .metadata(if kind == "counter" { COUNTER } else { HISTOGRAM }, kind, "count")
            .exemplar(&[("trace_id", &format!("trace_{n}"))], f64::from(n))
        };
        let of = |n: i32| match kind {
            "counter" => named(n).sample(f64::from(n * 100)),
            _ if n % 2 == 0 => named(n).histogram(histogram(f64::from(n) / 10.0, &ALL)),
            _ => named(n).histogram(histogram(f64::from(n) / 10.0, &POSITIVE)),
        };
        (0..50).map(of).collect()
    };
    case(cases, "ManySamples", many("counter"));
    case(cases, "ManyHistograms", many("histogram"));
    let special = Series::new(&[
        ("__name__", "test_metric"),
        ("environment", "test🚀"),
        ("instance", "localhost:9090"),
        ("job", "test-job_with.special@chars"),
    ]);
    case(
        cases,
        "SpecialCharactersCombined",
        vec![
            special
                .sample(42.0)
                .metadata(GAUGE, "äöü, newlines\nand \"quotes\"", "special/units")
                .exemplar(&[("trace_id", "trace_äöü-123")], 42.0),
        ],
    );
    let latency = Series::new(&[("__name__", "custom_latency_hist"), ("version", "v2")]);
    case(
        cases,
        "CustomBucketsHistogramWithExemplar",
        vec![latency.histogram(custom(0.05)).exemplar(&trace, 0.05)],
    );
}

/// What the public suite does not have.
fn own(cases: &mut Vec<Case>) {
    case(cases, "nothing", Vec::new());
    case(
        cases,
        "a label twice",
        vec![
            Series::new(&[("__name__", "twice"), ("a", "1"), ("a", "2")])
                .sample(1.0)
                .wrong(),
            Series::new(&[("__name__", "once")]).sample(1.0),
        ],
    );
    let value =
        |bits: u64, name: &str| Series::new(&[("__name__", "special"), ("value", name)]).sample_of(bits, 0);
    case(
        cases,
        "values at the edge",
        vec![
            value((-0f64).to_bits(), "-0"),
            value(1, "the least"),
            value(f64::MAX.to_bits(), "the largest"),
            value(u64::MAX, "a NaN of all bits"),
            value(0x7ff4_dead_beef_0001, "a signalling NaN"),
        ],
    );
    let series = || Series::new(&[("__name__", "repeated"), ("job", "a")]);
    case(
        cases,
        "one series several times",
        vec![
            series()
                .sample_of(1f64.to_bits(), -2)
                .sample_of(2f64.to_bits(), -1),
            series().sample(3.0),
            series().sample(3.0),
        ],
    );
    case(
        cases,
        "an empty label, which is none",
        vec![Series::new(&[("__name__", "with_empty"), ("empty", "")]).sample(1.0)],
    );
    let float = proto::Histogram {
        count_int: None,
        count_float: Some(6.5_f64.to_bits()),
        zero_count_int: None,
        zero_count_float: Some(1f64.to_bits()),
        positive_deltas: Vec::new(),
        positive_counts: vec![2.5_f64.to_bits(), 2f64.to_bits()],
        reset_hint: 3,
        ..histogram(1.0, &POSITIVE)
    };
    case(
        cases,
        "a histogram of floats",
        vec![Series::new(&[("__name__", "float_hist")]).histogram(float)],
    );
    let zeroless = proto::Histogram {
        zero_count_int: None,
        ..histogram(2.0, &NEGATIVE)
    };
    case(
        cases,
        "a histogram that says nothing of a zero bucket",
        vec![Series::new(&[("__name__", "zeroless_hist")]).histogram(zeroless)],
    );
    let stale = proto::Histogram {
        sum: STALE,
        ..histogram(0.0, &NONE)
    };
    case(
        cases,
        "the stale marker of a histogram",
        vec![Series::new(&[("__name__", "float_hist")]).histogram(stale)],
    );
}

fn histogram(sum: f64, buckets: &Buckets) -> proto::Histogram {
    let spans = |is_there| match is_there {
        true => vec![BucketSpan { offset: 0, length: 2 }],
        false => Vec::new(),
    };
    let deltas = |is_there| if is_there { vec![2, 1] } else { Vec::new() };
    let observed = 5 * (u64::from(buckets.positive) + u64::from(buckets.negative));
    proto::Histogram {
        count_int: Some(observed + u64::from(buckets.zero)),
        sum: sum.to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(buckets.zero.into()),
        negative_spans: spans(buckets.negative),
        negative_deltas: deltas(buckets.negative),
        positive_spans: spans(buckets.positive),
        positive_deltas: deltas(buckets.positive),
        ..proto::Histogram::default()
    }
}

fn custom(sum: f64) -> proto::Histogram {
    proto::Histogram {
        schema: -53,
        zero_threshold: 0,
        zero_count_int: Some(0),
        count_int: Some(5),
        custom_values: [0.5, 1.0].map(f64::to_bits).to_vec(),
        ..histogram(
            sum,
            &Buckets {
                zero: false,
                ..POSITIVE
            },
        )
    }
}
