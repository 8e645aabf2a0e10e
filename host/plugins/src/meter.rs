//! The processor time of a call.
//!
//! The time that counts is the time in which the call holds a thread: between the moments at
//! which its future is polled it waits, for a backend or because it gave way to others, and that
//! is not billed. Wasmtime's epochs only say when to look at the clock.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use wasmtime::{Engine, UpdateDeadline};

/// How often running guests look at the clock, and give way to other tasks of their thread.
const TICK: Duration = Duration::from_millis(10);

/// A clock that runs while a call is polled.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    resumed: AtomicU64,
    spent: AtomicU64,
}

/// The time of a call was over before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeUp;

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            resumed: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Runs a call from zero, until it ends or `deadline` is there.
    pub(crate) async fn run<F: Future>(&self, deadline: Instant, call: F) -> Result<F::Output, TimeUp> {
        self.spent.store(0, Ordering::Relaxed);
        let mut call = pin!(call);
        let metered = poll_fn(|cx| {
            let resumed = self.now();
            self.resumed.store(resumed, Ordering::Relaxed);
            let polled = call.as_mut().poll(cx);
            self.spent
                .fetch_add(self.now().saturating_sub(resumed), Ordering::Relaxed);
            polled
        });
        timeout_at(deadline, metered).await.map_err(|_| TimeUp)
    }

    /// What the call that is being polled has spent so far.
    pub(crate) fn spent(&self) -> Duration {
        let running = self.now().saturating_sub(self.resumed.load(Ordering::Relaxed));
        Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a guest does that may go on after a tick: gives way, and continues until the next one.
pub(crate) fn give_way() -> UpdateDeadline {
    UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
}

/// Starts the thread that advances the engine's epoch. It ends with the engine.
pub(crate) fn start_ticking(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new()
        .name("plugin-epoch".into())
        .spawn(tick)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_not_billed() {
        let meter = Meter::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        meter
            .run(deadline, tokio::time::sleep(Duration::from_secs(30)))
            .await
            .unwrap();
        assert_eq!(
            Duration::from_nanos(meter.spent.load(Ordering::Relaxed)),
            Duration::ZERO
        );
        let late = meter
            .run(
                Instant::now() + Duration::from_secs(1),
                std::future::pending::<()>(),
            )
            .await;
        assert_eq!(late, Err(TimeUp));
    }

    #[tokio::test]
    async fn every_call_begins_at_zero() {
        let meter = Meter::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let busy = async || {
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_millis(5) {}
            meter.spent()
        };
        for _ in 0..3 {
            let spent = meter.run(deadline, busy()).await.unwrap();
            assert!(
                spent >= Duration::from_millis(5) && spent < Duration::from_secs(5),
                "{spent:?}"
            );
        }
    }
}
