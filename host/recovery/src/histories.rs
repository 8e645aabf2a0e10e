//! Many random histories of a model control plane, its people and its faults: whatever a plugin
//! proposes, whoever crashes and whatever is cut off from whom, nothing that is done was wrong by the
//! truth that the model knows and the engine can't. And each rule is needed: without it, some history
//! goes wrong.

mod ground;
mod memory;
mod people;
mod proposals;
mod refusals;
mod schedule;
mod stories;
mod truth;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use people::History;

use crate::rules::Rule;

/// Histories in which all rules are asked. `WITGATE_HISTORIES` says otherwise.
const HISTORIES: u64 = 100_000;

/// Histories that are tried to see a missing rule go wrong.
const WITHOUT: u64 = 10_000;

/// The places at which an executor of a story may be killed: every wait of it is one.
const PLACES: std::ops::Range<usize> = 0..200;

/// What came of some histories.
#[derive(Debug, Default)]
struct Tally {
    finished: AtomicUsize,
    performed: AtomicUsize,
    crashed: AtomicUsize,
}

/// Runs histories on all processors, until one goes wrong. Returns its seed and what was wrong.
fn first_wrong(count: u64, forgotten: Option<Rule>, tally: &Tally) -> Option<(u64, Vec<String>)> {
    let (next, wrong) = (AtomicU64::new(0), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while wrong.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    let outcome = History::new(seed, forgotten).run();
                    tally.finished.fetch_add(outcome.finished, Ordering::Relaxed);
                    tally.performed.fetch_add(outcome.performed, Ordering::Relaxed);
                    tally.crashed.fetch_add(outcome.crashed, Ordering::Relaxed);
                    if !outcome.wrong.is_empty() {
                        *wrong.lock().unwrap() = Some((seed, outcome.wrong));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

#[test]
fn nothing_wrong_is_ever_done() {
    let asked = std::env::var("WITGATE_HISTORIES")
        .ok()
        .and_then(|text| text.parse().ok());
    let (count, tally) = (asked.unwrap_or(HISTORIES), Tally::default());
    let began = std::time::Instant::now();
    if let Some((seed, wrong)) = first_wrong(count, None, &tally) {
        panic!("history {seed}: {wrong:#?}");
    }
    println!("{count} histories in {:?}: {tally:?}", began.elapsed());
    // Histories in which nothing happens would prove nothing.
    let enough = |what: &AtomicUsize, share: u64| {
        let happened = what.load(Ordering::Relaxed) as u64;
        assert!(happened * share >= count, "{tally:?}");
    };
    enough(&tally.finished, 30);
    enough(&tally.performed, 5);
    enough(&tally.crashed, 10);
}

#[test]
fn without_any_one_rule_something_wrong_is_done() {
    let mut missed = Vec::new();
    for rule in Rule::ALL {
        let wrong = first_wrong(WITHOUT, Some(rule), &Tally::default());
        let wrong = wrong.map(|(seed, wrong)| format!("history {seed}: {}", wrong[0]));
        let wrong = wrong.or_else(|| {
            let story = |at| (at, stories::two_changes(at, Some(rule)).wrong);
            let (at, wrong) = PLACES.map(story).find(|(_, wrong)| !wrong.is_empty())?;
            Some(format!("two changes, killed at {at}: {}", wrong[0]))
        });
        match wrong {
            Some(wrong) => println!("without {rule}: {wrong}"),
            None => missed.push(rule.name()),
        }
    }
    assert!(missed.is_empty(), "not missed in {WITHOUT} histories: {missed:?}");
}

#[test]
fn killed_before_or_after_anything_it_does_an_executor_is_resumed_to_the_same_end() {
    let whole = stories::dead_member(None);
    assert!(whole.wrong.is_empty() && whole.finished == 1, "{:?}", whole.wrong);
    assert!(
        PLACES.contains(&whole.polls) && whole.polls > 40,
        "{}",
        whole.polls
    );
    for at in 0..whole.polls {
        let killed = stories::dead_member(Some(at));
        assert!(killed.wrong.is_empty(), "killed at {at}: {:?}", killed.wrong);
        assert_eq!(killed.finished, 1, "killed at {at}");
        assert_eq!(killed.end, whole.end, "killed at {at}");
    }
}

#[test]
fn a_change_whose_end_nobody_knows_is_ended_before_another_begins() {
    let mut finished = [0; 3];
    for at in PLACES {
        let outcome = stories::two_changes(at, None);
        assert!(outcome.wrong.is_empty(), "killed at {at}: {:?}", outcome.wrong);
        finished[outcome.finished] += 1;
    }
    // What one of them changes is drift to the other.
    assert_eq!(finished, [0, PLACES.len(), 0]);
}
