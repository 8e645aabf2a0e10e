//! Load while everything fails that can: the gateway is killed, plugins run into their limits in the
//! midst of a call, backends go away, hang, and answer with errors. Senders keep what was not
//! acknowledged and send it again. At the end what was sent is what is stored, to the bit.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, header};
use witgate_lab::eventually;
use witgate_tests::{random::Random, remote::compress};

use crate::{
    backend::{Backend, Running},
    receiver::request::{Series, Version, body},
    samples::{STALE, Samples, assert_same, read_through},
    world::{PASSWORD, SOON, USER, World},
};

/// How long, in the environment or else so many seconds.
const SECONDS: (&str, u64) = ("WITGATE_SOAK_SECONDS", 12);

/// Senders at the same time.
const SENDERS: usize = 4;

/// Batches that are acknowledged between two faults.
const BETWEEN: u64 = 12;

/// Batches that are refused before a fault ends.
const REFUSED: u64 = 6;

/// A batch's time with the gateway: more than the gateway gives a backend that hangs.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a backend may hang.
const LIMITS: &str = "limits: {time: 3s}";

/// Less processor time than a call with very many samples takes.
const TRAPPING: &str = "limits: {time: 3s, cpu: 5ms}";

/// Samples of each series in a batch, of which one in three has many.
const MANY: usize = 300;
/// The same while plugins have too little time.
const VERY_MANY: usize = 5000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    GatewayKilled,
    PluginTraps,
    BackendRestarted,
    ConnectionsRefused,
    ConnectionsHang,
    Answers(u16),
}

/// What all senders have come to.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    traps: AtomicU64,
    has_much: AtomicBool,
    is_over: AtomicBool,
}

/// One sender of its own series, which keeps a batch until it is acknowledged.
struct Sender {
    number: usize,
    client: Client,
    url: String,
    backend: Backend,
    random: Random,
    progress: Arc<Progress>,
    time: i64,
    sent: Samples,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_gateways_own_storage() {
    nothing_is_lost(Backend::Local, 31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_to_influxdb() {
    nothing_is_lost(Backend::InfluxDb, 32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_to_another_prometheus() {
    nothing_is_lost(Backend::Prometheus, 33).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_to_victoriametrics() {
    nothing_is_lost(Backend::VictoriaMetrics, 34).await;
}

async fn nothing_is_lost(backend: Backend, seed: u64) {
    let Some(mut running) = backend.start().await else {
        return;
    };
    let mut random = Random::seeded(seed);
    let mut world = World::start(&running.setup_with(LIMITS)).await;
    let progress = Arc::new(Progress::default());
    let start = now() - 30 * 60_000;
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (client, url) = world.sender();
            let sender = Sender {
                number,
                client,
                url,
                backend,
                random: Random::seeded(seed * 100 + number as u64),
                progress: Arc::clone(&progress),
                time: start,
                sent: Samples::new(),
            };
            tokio::spawn(sender.run())
        })
        .collect();

    let seconds = env::var(SECONDS.0).map_or(SECONDS.1, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut faults = faults(&running);
    let mut is_complete = false;
    // Each at least once, however slow the machine is.
    while !is_complete || Instant::now() < end {
        for at in 0..faults.len() {
            let other = random.below(faults.len());
            faults.swap(at, other);
        }
        for fault in &faults {
            reaches(
                &progress,
                |progress| &progress.acknowledged,
                BETWEEN,
                "more is acknowledged",
            )
            .await;
            befalls(*fault, &mut world, &mut running, &progress).await;
        }
        is_complete = true;
    }
    progress.is_over.store(true, Ordering::Relaxed);
    let mut sent = Samples::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    running.settle().await;
    eprintln!(
        "{backend:?}: {} samples, {} batches acknowledged, {} refused, of which {} by traps",
        sent.len(),
        progress.acknowledged.load(Ordering::Relaxed),
        progress.refused.load(Ordering::Relaxed),
        progress.traps.load(Ordering::Relaxed),
    );
    assert!(progress.traps.load(Ordering::Relaxed) > 0, "plugins have trapped");
    assert_same(
        &sent,
        &read_through(&world).await,
        &format!("{random:?} {backend:?}"),
    );
}

fn faults(running: &Running) -> Vec<Fault> {
    let mut faults = vec![Fault::GatewayKilled, Fault::PluginTraps];
    if running.proxy().is_some() {
        faults.extend([
            Fault::BackendRestarted,
            Fault::ConnectionsRefused,
            Fault::ConnectionsHang,
            Fault::Answers(500),
            Fault::Answers(503),
            Fault::Answers(429),
        ]);
    }
    faults
}

/// Lets a fault happen, waits until it is felt, and ends it.
async fn befalls(fault: Fault, world: &mut World, running: &mut Running, progress: &Progress) {
    let is_felt = async || {
        reaches(
            progress,
            |progress| &progress.refused,
            REFUSED,
            &format!("{fault:?} is felt"),
        )
        .await;
    };
    if fault == Fault::GatewayKilled {
        world.gateway.kill();
        is_felt().await;
        world.gateway.restart().await.unwrap();
        return;
    }
    if fault == Fault::PluginTraps {
        // On a busy machine the time may be too little even to begin, and then it is refused.
        while !world.is_reconfigured(&running.setup_with(TRAPPING)).await {}
        progress.has_much.store(true, Ordering::Relaxed);
        reaches(progress, |progress| &progress.traps, 1, "a plugin traps").await;
        progress.has_much.store(false, Ordering::Relaxed);
        world.reconfigure(&running.setup_with(LIMITS)).await;
        return;
    }
    if fault == Fault::BackendRestarted {
        running.restart().await;
        return;
    }
    if let Some(proxy) = running.proxy() {
        match fault {
            Fault::ConnectionsHang => proxy.hang(),
            Fault::Answers(status) => proxy.answer(status),
            _ => proxy.refuse(),
        }
        // A connection that hangs is not cut: that would be the other fault.
        if fault != Fault::ConnectionsHang {
            proxy.cut();
        }
        is_felt().await;
        proxy.pass();
    }
}

/// Waits until a number is so much more.
async fn reaches(progress: &Progress, number: impl Fn(&Progress) -> &AtomicU64, more: u64, what: &str) {
    let goal = number(progress).load(Ordering::Relaxed) + more;
    eventually(what, SOON, async || {
        let reached = number(progress).load(Ordering::Relaxed);
        if reached >= goal {
            Ok(())
        } else {
            Err(format!("{reached} of {goal}: {progress:?}"))
        }
    })
    .await
    .unwrap();
}

impl Sender {
    async fn run(mut self) -> Samples {
        while !self.progress.is_over.load(Ordering::Relaxed) {
            let version = self.random.of(&[Version::V1, Version::V2]);
            let batch = self.batch();
            self.deliver(version, &batch).await;
            for series in batch {
                let labels = series.sorted();
                for sample in series.samples {
                    self.sent.insert((labels.clone(), sample.time), sample.bits);
                }
            }
        }
        self.sent
    }

    /// A few samples of each series, and now and then many.
    fn batch(&mut self) -> Vec<Series> {
        let count = match self.random.once_in(3) {
            true if self.progress.has_much.load(Ordering::Relaxed) => VERY_MANY,
            true => MANY,
            false => 1 + self.random.below(20),
        };
        let start = self.time;
        self.time += count as i64;
        let sender = self.number.to_string();
        let of = |number: usize| {
            let number = number.to_string();
            let labels = [
                ("__name__", "load"),
                ("sender", sender.as_str()),
                ("series", number.as_str()),
            ];
            let mut series = Series::new(&labels);
            for time in start..self.time {
                let bits = match self.random.below(6) {
                    0 => self
                        .random
                        .of(&[STALE, f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits()]),
                    1 => self.random.number(),
                    _ => (self.random.below(1 << 20) as f64 / 8.0).to_bits(),
                };
                let is_held = self.backend.holds_value(bits) && bits != (-0f64).to_bits();
                series = series.sample_of(if is_held { bits } else { 0 }, time);
            }
            series
        };
        (0..5).map(of).collect()
    }

    /// Sends a batch until it is acknowledged, with every sample.
    async fn deliver(&self, version: Version, batch: &[Series]) {
        let body = compress(&body(version, batch));
        let samples: usize = batch.iter().map(|series| series.samples.len()).sum();
        let content_type = match version {
            Version::V1 => "application/x-protobuf",
            Version::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        };
        loop {
            let request = self.client.post(&self.url).timeout(PATIENCE).body(body.clone());
            let request = request
                .basic_auth(USER, Some(PASSWORD))
                .header(header::CONTENT_TYPE, content_type)
                .header(header::CONTENT_ENCODING, "snappy");
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                let written = { answer.headers() }
                    .get("x-prometheus-remote-write-samples-written")
                    .map(|written| written.to_str().unwrap().to_owned());
                // What is cut off while it is read is no acknowledgement.
                let said = answer.text().await;
                if status == 204 && said.is_ok() {
                    let expected = (version == Version::V2).then(|| samples.to_string());
                    assert_eq!(written, expected);
                    self.progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let said = said.unwrap_or_default();
                // On anything else a sender drops its samples.
                assert!(status >= 500 || status == 429, "{status} {said}");
                if said.contains("processor time") {
                    self.progress.traps.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.progress.refused.fetch_add(1, Ordering::Relaxed);
            // As senders do, so that a gateway that is away is not asked all the time.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
