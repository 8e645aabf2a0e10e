//! A read asks the space for many series at once, and still has no more than a page in memory.

use std::cell::Cell;

use witgate_sdk::key_value::{Change, Expectation, KeyRange, MAX_SCAN};

use super::{model::Random, *};

/// A space that counts what is asked of it.
#[derive(Default)]
struct Counting {
    space: Memory,
    calls: Cell<usize>,
    bytes: Cell<usize>,
}

impl Counting {
    fn count(&self, found: &[Entry]) {
        self.calls.set(self.calls.get() + 1);
        let bytes: usize = { found.iter() }
            .map(|entry| entry.key.len() + entry.value.len())
            .sum();
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Calls and bytes since this was asked last.
    fn take(&self) -> (usize, usize) {
        (self.calls.take(), self.bytes.take())
    }
}

impl KeyValue for Counting {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.count(&[]);
        self.space.get_many(keys)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error> {
        self.space
            .scan(start, end, limit)
            .inspect(|found| self.count(found))
    }

    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error> {
        self.space
            .scan_many(ranges, limit)
            .inspect(|found| self.count(found))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.space.commit(changes)
    }

    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error> {
        self.space.commit_if(expected, changes)
    }
}

fn jobs(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("job-{n:04}")).collect()
}

fn everything() -> Query {
    Query {
        start: i64::MIN,
        end: i64::MAX,
        matchers: named("up"),
        only_series: false,
        without: None,
    }
}

/// So many samples whose values nothing can be said about.
fn noise(random: &mut Random, count: i64) -> Vec<(i64, u64)> {
    let first = NOW - DAY / 2;
    (0..count)
        .map(|n| (first + n * 50, random.below(u64::MAX)))
        .collect()
}

#[test]
fn a_thousand_series_are_read_with_few_calls() {
    let space: Rc<Counting> = Rc::default();
    let mut local = eager(Rc::clone(&space));
    let jobs = jobs(1000);
    for day in 0..3 {
        let samples = |n: i64| (0..n).map(|n| (NOW - day * DAY - n * 15_000, 1)).collect();
        let series = jobs.iter().map(|job| up(job, samples(240)));
        write(&mut local, &batch(series));
    }
    let regex = vec![matcher("job", MatchOperation::Matches, "job-.+")];
    for (days, most) in [(1, 20), (3, 40)] {
        let range = (NOW - (days - 1) * DAY - DAY / 2, NOW);
        for matchers in [named("up"), regex.clone()] {
            space.take();
            let found = answer(&mut local, "t", matchers, range, 100_000);
            assert_eq!(found.len(), 1000);
            assert!(
                found
                    .iter()
                    .all(|(_, values)| values.len() == 240 * usize::try_from(days).unwrap())
            );
            let (calls, _) = space.take();
            assert!(calls <= most, "{calls} calls for {days} days");
        }
    }
}

#[test]
fn an_expression_passes_over_values_that_many_series_have() {
    let space: Rc<Counting> = Rc::default();
    let mut local = Local::over(Rc::clone(&space), &Config::default(), || NOW);
    let jobs = jobs(5000);
    let labels = |job| vec![("__name__", "up"), ("job", job), ("zone", "a")];
    let wanted = (
        vec![("__name__", "up"), ("job", "x"), ("zone", "b")],
        vec![(NOW, 1)],
    );
    let series = jobs.iter().map(|job| (labels(job.as_str()), vec![(NOW, 1)]));
    write(&mut local, &batch(series.chain([wanted])));
    space.take();
    let found = read(&mut local, vec![matcher("zone", MatchOperation::Matches, "b|c")]);
    assert_eq!(found.len(), 1);
    let (calls, _) = space.take();
    assert!(calls <= 10, "{calls} calls");
}

#[test]
fn no_more_is_read_ahead_than_a_page() {
    let space: Rc<Counting> = Rc::default();
    let mut local = eager(Rc::clone(&space));
    let mut random = Random(3);
    let jobs = jobs(60);
    // One that is larger than a page, and some that are together.
    let mut expected: Vec<_> = vec![("large", noise(&mut random, 600_000))];
    expected.extend(jobs.iter().map(|job| (job.as_str(), noise(&mut random, 12_000))));
    for (job, samples) in &expected {
        write(&mut local, &batch([up(job, samples.clone())]));
    }
    expected.sort();
    space.take();
    let mut cursor = local.read(&tenant("t"), everything()).unwrap();
    let mut used = 0;
    let found = collect((i64::MIN, i64::MAX), || {
        let piece = cursor.next(1).unwrap();
        if let Some(Piece::Chunks(chunks)) = &piece {
            used += chunks.bytes.len();
        }
        let given = space.bytes.get();
        // What is read again of a series that was cut counts too.
        let spare = 2 * MAX_SCAN + used / 4;
        assert!(given <= used + used / 4 + spare, "{given} bytes for {used}");
        piece
    });
    let found: Vec<_> = { found.into_iter() }
        .map(|(labels, values)| {
            let samples = values.into_iter().map(|(time, value)| match value {
                Value::Float(bits) => (time, bits),
                Value::Histogram(_) => panic!("nobody wrote one"),
            });
            (labels, samples.collect::<Vec<_>>())
        })
        .collect();
    let expected = { expected.into_iter() }.map(|(job, samples)| (format!("__name__=up,job={job}"), samples));
    assert!(found == expected.collect::<Vec<_>>());
    assert!(space.take().0 < 40);
}

#[test]
fn what_is_folded_anew_while_it_is_read_is_there_once() {
    let space: Rc<Memory> = Rc::default();
    let mut random = Random(5);
    let jobs = jobs(50);
    let samples: Vec<_> = jobs.iter().map(|_| noise(&mut random, 12_000)).collect();
    let series = || jobs.iter().zip(&samples);
    for (job, samples) in series() {
        write(&mut eager(Rc::clone(&space)), &batch([up(job, samples.clone())]));
    }
    let mut cursor = local(&space).read(&tenant("t"), everything()).unwrap();
    let mut turn = 0;
    let found = collect((i64::MIN, i64::MAX), || {
        // Between old samples, so that all chunks after them are made anew and are others.
        turn += 1;
        if turn % 5 == 0 {
            let late = { series() }.map(|(job, samples)| up(job, vec![(samples[turn * 7].0 + 1, 1)]));
            write(&mut eager(Rc::clone(&space)), &batch(late));
        }
        cursor.next(1).unwrap()
    });
    assert_eq!(found.len(), jobs.len());
    for ((labels, values), (job, samples)) in found.iter().zip(series()) {
        let all = samples
            .iter()
            .all(|(time, bits)| values.get(time) == Some(&Value::Float(*bits)));
        assert!(all, "{labels} is not all of {job}");
    }
}
