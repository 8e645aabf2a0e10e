//! A request of Remote Write 2.0, whose answer says what was stored.

use prost::Message as _;
use witgate_prometheus::proto::v2;
use witgate_tests::remote::compress;

use crate::world::World;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A request that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Request(v2::Request);

/// What the gateway said of it.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    /// How many samples, histograms and exemplars it has stored.
    pub(crate) written: [u64; 3],
    pub(crate) words: String,
}

impl Request {
    fn symbol(&mut self, text: &str) -> u32 {
        let symbols = &mut self.0.symbols;
        if symbols.is_empty() {
            symbols.push(String::new());
        }
        let known = symbols.iter().position(|symbol| symbol == text);
        let at = known.unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        u32::try_from(at).unwrap()
    }

    /// Adds a series.
    pub(crate) fn series(mut self, labels: &[(&str, &str)], data: v2::TimeSeries) -> Self {
        let pairs = labels.iter().flat_map(|(name, value)| [*name, *value]);
        let labels_refs = pairs.map(|text| self.symbol(text)).collect();
        self.0.timeseries.push(v2::TimeSeries { labels_refs, ..data });
        self
    }

    /// Adds a series with these samples, each a time and the bits of a value.
    pub(crate) fn samples(self, labels: &[(&str, &str)], samples: &[(i64, u64)]) -> Self {
        let samples = samples.iter().map(|&(timestamp, value)| v2::Sample {
            value,
            timestamp,
            start_timestamp: 0,
        });
        let data = v2::TimeSeries {
            samples: samples.collect(),
            ..v2::TimeSeries::default()
        };
        self.series(labels, data)
    }

    /// Adds an exemplar to the series that was added last.
    pub(crate) fn exemplar(mut self, labels: &[(&str, &str)], (timestamp, value): (i64, u64)) -> Self {
        let pairs = labels.iter().flat_map(|(name, value)| [*name, *value]);
        let labels_refs = pairs.map(|text| self.symbol(text)).collect();
        let exemplar = v2::Exemplar {
            labels_refs,
            value,
            timestamp,
        };
        self.0.timeseries.last_mut().unwrap().exemplars.push(exemplar);
        self
    }

    /// Says of the series that was added last that it is a counter, and what it counts.
    pub(crate) fn counter(mut self, help: &str) -> Self {
        let help_ref = self.symbol(help);
        self.0.timeseries.last_mut().unwrap().metadata = Some(v2::Metadata {
            r#type: 1,
            help_ref,
            unit_ref: 0,
        });
        self
    }

    /// Sends it.
    pub(crate) async fn send(&self, world: &World) -> Said {
        let request = world
            .post("/api/v1/write", V2, compress(&self.0.encode_to_vec()))
            .header("X-Prometheus-Remote-Write-Version", "2.0.0");
        let answer = request.send().await.unwrap();
        let written = ["Samples", "Histograms", "Exemplars"].map(|kind| {
            let name = format!("X-Prometheus-Remote-Write-{kind}-Written");
            answer.headers()[name].to_str().unwrap().parse().unwrap()
        });
        Said {
            status: answer.status().as_u16(),
            written,
            words: answer.text().await.unwrap(),
        }
    }
}
