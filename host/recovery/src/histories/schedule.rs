//! Runs what happens at the same time in an order that the seed decides, and ends some of it early.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// Lets others run: a place to be interrupted at.
pub(super) async fn pause() {
    let mut paused = false;
    poll_fn(|_| {
        if std::mem::replace(&mut paused, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Runs something that nothing interrupts.
pub(super) fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// What runs, until it has ended or was killed.
pub(super) type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs tasks until all have ended. Before each poll `event` says what else happens, and whether the
/// task that is polled next is killed instead. Returns how many were killed, and the polls.
pub(super) fn run(
    mut tasks: Vec<Task<'_>>,
    rng: &mut fastrand::Rng,
    mut event: impl FnMut(&mut fastrand::Rng, usize) -> bool,
) -> (usize, usize) {
    let (mut killed, mut polls) = (0, 0);
    let mut context = Context::from_waker(Waker::noop());
    while !tasks.is_empty() {
        let chosen = rng.usize(..tasks.len());
        if event(rng, polls) {
            drop(tasks.swap_remove(chosen));
            killed += 1;
        } else if tasks[chosen].as_mut().poll(&mut context).is_ready() {
            drop(tasks.swap_remove(chosen));
        }
        polls += 1;
        assert!(polls < 200_000, "something waits for ever");
    }
    (killed, polls)
}
