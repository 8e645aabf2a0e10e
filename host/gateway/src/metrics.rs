//! The gateway's own metrics, in Prometheus' text format.

mod tenants;

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use witgate_prometheus::Account;

use self::tenants::Tenants;

/// Upper bounds in seconds, from a cached read to a slow backend. Watches and other streams are
/// counted when their headers are sent.
const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The gateway's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// By route and status class; made once, so that counting a request takes no lock.
    requests: Vec<[Counter; 5]>,
    durations: Vec<Histogram>,
    tenants: Tenants,
    /// Configurations that were put in service or refused.
    pub(crate) reloads: Counter,
    pub(crate) refused_reloads: Counter,
    /// The generation in service, beginning at 1.
    pub(crate) generation: Gauge,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Api,
    Console,
    Cluster,
    OAuth,
    Webhook,
    PrometheusWrite,
    PrometheusRead,
    Unknown,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

impl Route {
    const ALL: [Self; 8] = [
        Self::Api,
        Self::Console,
        Self::Cluster,
        Self::OAuth,
        Self::Webhook,
        Self::PrometheusWrite,
        Self::PrometheusRead,
        Self::Unknown,
    ];

    /// Its name in metrics and audit lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
            Self::OAuth => "oauth",
            Self::Webhook => "webhook",
            Self::Cluster => "cluster",
            Self::PrometheusWrite => "prometheus-write",
            Self::PrometheusRead => "prometheus-read",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("witgate");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<RouteLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS)
        });
        let (reloads, refused_reloads, generation) =
            (Counter::default(), Counter::default(), Gauge::default());
        registry.register(
            "requests",
            "Requests answered, by route and status class",
            requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time until the answer's headers",
            durations.clone(),
        );
        let tenants = Tenants::register(&mut registry);
        registry.register("reloads", "Configurations put in service", reloads.clone());
        registry.register(
            "refused_reloads",
            "Configurations refused",
            refused_reloads.clone(),
        );
        registry.register(
            "configuration_generation",
            "The generation in service",
            generation.clone(),
        );
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        Self {
            requests: Route::ALL
                .map(|route| {
                    classes.map(|code| {
                        requests.get_or_create_owned(&RequestLabels {
                            route: route.name(),
                            code,
                        })
                    })
                })
                .into(),
            durations: Route::ALL
                .map(|route| durations.get_or_create_owned(&RouteLabels { route: route.name() }))
                .into(),
            registry,
            tenants,
            reloads,
            refused_reloads,
            generation,
        }
    }

    /// Counts an answered request.
    pub(crate) fn request(&self, route: Route, status: http::StatusCode, duration: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self
            .requests
            .get(route as usize)
            .and_then(|classes| classes.get(class))
        {
            counter.inc();
        }
        if let Some(histogram) = self.durations.get(route as usize) {
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// Counts what a remote write came to.
    pub(crate) fn write(&self, account: &Account, status: http::StatusCode) {
        self.tenants.write(account, status);
    }

    /// Counts a request of a Prometheus whose credential does not hold.
    pub(crate) fn unauthorized(&self, credential: &str, status: http::StatusCode) {
        self.tenants.unauthorized(credential, status);
    }

    /// The text of `/metrics`.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
