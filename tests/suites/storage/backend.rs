//! The plugins, each with its backend.

use witgate_lab::{Component, InfluxDb, Missing, Prometheus, PrometheusOptions, VictoriaMetrics, require};

/// A plugin, and which backend it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Local,
    /// InfluxDB by line protocol.
    Influx,
    /// InfluxDB by its own remote write and read.
    NativeInflux,
    /// Remote Write 2.0 to the current Prometheus.
    Prometheus,
    /// Remote Write 1.0 to Debian's Prometheus 2.42.
    OldPrometheus,
    Victoria,
}

/// A backend that runs.
#[derive(Debug)]
pub(crate) enum Backend {
    Local,
    Influx(InfluxDb),
    NativeInflux(InfluxDb),
    Prometheus(Prometheus),
    OldPrometheus(Prometheus),
    Victoria(VictoriaMetrics),
}

/// What a Prometheus needs to take samples that are not its newest.
const PROMETHEUS: &str = "storage: {tsdb: {out_of_order_time_window: 12h}}";

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Local,
        Self::Influx,
        Self::NativeInflux,
        Self::Prometheus,
        Self::OldPrometheus,
        Self::Victoria,
    ];

    /// How the README calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Influx => "InfluxDB 1.6 (line)",
            Self::NativeInflux => "InfluxDB 1.6 (native)",
            Self::Prometheus => "Prometheus (2.0)",
            Self::OldPrometheus => "Prometheus 2.42 (1.0)",
            Self::Victoria => "VictoriaMetrics",
        }
    }

    /// Whether this machine has the backend.
    pub(crate) fn require(self) -> Result<(), Missing> {
        match self {
            Self::Local => Ok(()),
            Self::Influx | Self::NativeInflux => require(Component::InfluxDb),
            Self::Prometheus => require(Component::CurrentPrometheus),
            Self::OldPrometheus => require(Component::Prometheus),
            Self::Victoria => require(Component::VictoriaMetrics),
        }
    }

    pub(crate) async fn start(self) -> Backend {
        let prometheus = async |current| {
            let features = match current {
                true => "--enable-feature=exemplar-storage",
                false => "--enable-feature=native-histograms,exemplar-storage",
            };
            let options = PrometheusOptions {
                current,
                args: vec![
                    "--web.enable-remote-write-receiver".to_owned(),
                    features.to_owned(),
                ],
            };
            Prometheus::start_with(options, |_| PROMETHEUS.to_owned())
                .await
                .unwrap()
        };
        match self {
            Self::Local => Backend::Local,
            Self::Influx | Self::NativeInflux => {
                let influx = InfluxDb::start().await.unwrap();
                influx.create_database("lab").await.unwrap();
                match self {
                    Self::NativeInflux => Backend::NativeInflux(influx),
                    _ => Backend::Influx(influx),
                }
            }
            Self::Prometheus => Backend::Prometheus(prometheus(true).await),
            Self::OldPrometheus => Backend::OldPrometheus(prometheus(false).await),
            Self::Victoria => Backend::Victoria(VictoriaMetrics::start(&[]).await.unwrap()),
        }
    }
}

impl Backend {
    /// The plugin's file, its `config` and its `grants`.
    pub(crate) fn plugin(&self) -> [String; 3] {
        let reach = |url: &str| format!("{{http: [{{origin: '{url}', addresses: private}}]}}");
        let (file, config, grants) = match self {
            Self::Local => (
                "storage-local",
                "{retention: forever}".to_owned(),
                "{keyValue: {maxBytes: 1GiB}}".to_owned(),
            ),
            Self::Influx(influx) => {
                let url = influx.url();
                let config = format!("{{url: '{url}', database: lab}}");
                ("storage-influxdb", config, reach(&url))
            }
            Self::NativeInflux(influx) => {
                let url = influx.url();
                let config = format!("{{url: '{url}', database: lab, mode: native}}");
                ("storage-influxdb", config, reach(&url))
            }
            Self::Prometheus(prometheus) => {
                let url = prometheus.url();
                let config = format!("{{writeUrl: '{url}/api/v1/write', readUrl: '{url}/api/v1/read'}}");
                ("storage-prometheus", config, reach(&url))
            }
            Self::OldPrometheus(prometheus) => {
                let url = prometheus.url();
                let config = format!(
                    "{{writeUrl: '{url}/api/v1/write', readUrl: '{url}/api/v1/read', version: '1.0', \
                     holds: [exemplars, metadata]}}"
                );
                ("storage-prometheus", config, reach(&url))
            }
            Self::Victoria(victoria) => {
                let url = victoria.url();
                (
                    "storage-victoriametrics",
                    format!("{{url: '{url}'}}"),
                    reach(&url),
                )
            }
        };
        [file.to_owned(), config, grants]
    }

    /// Makes what was written visible, where that takes a while.
    pub(crate) async fn settle(&self) {
        if let Self::Victoria(victoria) = self {
            victoria.flush().await.unwrap();
        }
    }

    /// Kills it as a crash would. VictoriaMetrics acknowledges what it has in memory, and has it on
    /// disk up to five seconds later: it is asked to end.
    pub(crate) async fn down(&mut self) {
        match self {
            Self::Local => {}
            Self::Influx(influx) | Self::NativeInflux(influx) => influx.kill(),
            Self::Prometheus(prometheus) | Self::OldPrometheus(prometheus) => prometheus.kill(),
            Self::Victoria(victoria) => {
                victoria.stop().await.unwrap();
            }
        }
    }

    /// Starts it again.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Local => {}
            Self::Influx(influx) | Self::NativeInflux(influx) => influx.restart().await.unwrap(),
            Self::Prometheus(prometheus) | Self::OldPrometheus(prometheus) => {
                prometheus.restart().await.unwrap();
            }
            Self::Victoria(victoria) => victoria.restart().await.unwrap(),
        }
    }
}
