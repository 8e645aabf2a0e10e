//! What was acknowledged is there, wherever the gateway was killed, the space was full, or another
//! instance came between.

use std::cell::{Cell, RefCell};

use witgate_sdk::key_value::{Change, Expectation, KeyRange};

use super::{model::Random, *};

/// A space that ends after some commits, or does something before one.
#[derive(Default)]
struct Faulty {
    space: Rc<Memory>,
    /// Commits that are still carried out.
    left: Cell<Option<usize>>,
    /// Done once, before the next commit that expects something.
    before: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl Faulty {
    fn commit_or(&self, commit: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
        match self.left.get() {
            Some(0) => return Err(Error::Unavailable("killed".into())),
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        commit()
    }
}

impl KeyValue for Faulty {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.space.get_many(keys)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error> {
        self.space.scan(start, end, limit)
    }

    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error> {
        self.space.scan_many(ranges, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.commit_or(|| self.space.commit(changes).map(|()| true))
            .map(drop)
    }

    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error> {
        if let Some(before) = self.before.take() {
            before();
        }
        self.commit_or(|| self.space.commit_if(expected, changes))
    }
}

/// Batches of a few series, in which values are written anew and out of order.
fn batches() -> Vec<Vec<(String, i64, u64)>> {
    let mut random = Random(7);
    let one = |random: &mut Random| {
        let job = format!("job-{}", random.below(5));
        let time = NOW - DAY / 2 + i64::try_from(random.below(60)).unwrap() * 1000;
        (job, time, random.below(1 << 50))
    };
    (0..40)
        .map(|_| (0..10).map(|_| one(&mut random)).collect())
        .collect()
}

fn built(samples: &[(String, i64, u64)]) -> Batch {
    batch(
        samples
            .iter()
            .map(|(job, time, bits)| up(job, vec![(*time, *bits)])),
    )
}

fn put_into(found: &mut Found, samples: &[(String, i64, u64)]) {
    for (job, time, bits) in samples {
        let series = found.entry(format!("__name__=up,job={job}")).or_default();
        series.insert(*time, *bits);
    }
}

#[test]
fn killed_between_any_two_commits_it_has_everything_that_it_acknowledged() {
    let batches = batches();
    let mut survived = false;
    for commits in 0..1000 {
        let space: Rc<Memory> = Rc::default();
        let faulty = Rc::new(Faulty {
            space: Rc::clone(&space),
            left: Cell::new(Some(commits)),
            ..Faulty::default()
        });
        let mut killed = eager(Rc::clone(&faulty));
        let mut expected = Found::new();
        let mut batches = batches.iter();
        for batch in batches.by_ref() {
            put_into(&mut expected, batch);
            if killed.write(&tenant("t"), &built(batch)).is_err() {
                // It is sent again, to another instance.
                write(&mut eager(Rc::clone(&space)), &built(batch));
                break;
            }
        }
        survived = batches.len() == 0 && faulty.left.get() > Some(0);
        assert_eq!(
            read(&mut local(&space), named("up")),
            expected,
            "after {commits} commits"
        );
        let mut next = eager(Rc::clone(&space));
        for batch in batches {
            put_into(&mut expected, batch);
            write(&mut next, &built(batch));
        }
        assert_eq!(read(&mut next, named("up")), expected, "after {commits} commits");
        if survived {
            break;
        }
    }
    assert!(survived, "every commit had its turn");
}

#[test]
fn of_two_that_fold_the_same_shard_neither_undoes_what_the_other_did() {
    let space: Rc<Memory> = Rc::default();
    let faulty = Rc::new(Faulty {
        space: Rc::clone(&space),
        ..Faulty::default()
    });
    write(
        &mut eager(Rc::clone(&space)),
        &batch([up("a", vec![(NOW, 1), (NOW + 2, 1)])]),
    );
    // While the first one folds, and has read everything, another one writes and folds.
    let other = Rc::clone(&space);
    *faulty.before.borrow_mut() = Some(Box::new(move || {
        write(&mut eager(other), &batch([up("a", vec![(NOW, 9), (NOW + 3, 9)])]));
    }));
    let mut first = eager(Rc::clone(&faulty));
    write(&mut first, &batch([up("a", vec![(NOW + 1, 5)])]));
    assert!(faulty.before.borrow().is_none(), "it has folded");
    let expected = BTreeMap::from([(NOW, 9), (NOW + 1, 5), (NOW + 2, 1), (NOW + 3, 9)]);
    for _ in 0..3 {
        assert_eq!(read(&mut first, named("up"))["__name__=up,job=a"], expected);
        write(&mut first, &batch([up("a", vec![(NOW + 1, 5)])]));
    }
}

#[test]
fn what_is_folded_while_it_is_read_is_not_missed() {
    let space: Rc<Memory> = Rc::default();
    let mut writer = local(&space);
    let all: Vec<_> = (0..500).map(|n| (NOW + n, 1)).collect();
    for part in all.chunks(50) {
        write(
            &mut writer,
            &batch([up("a", part.to_vec()), up("b", part.to_vec())]),
        );
    }
    let query = Query {
        start: 0,
        end: i64::MAX,
        matchers: named("up"),
        only_series: false,
        without: None,
    };
    let mut cursor = writer.read(&tenant("t"), query).unwrap();
    write(
        &mut eager(Rc::clone(&space)),
        &batch([up("a", vec![(NOW, 1)]), up("b", vec![(NOW, 1)])]),
    );
    let mut count = 0;
    while let Some(Piece::Chunks(chunks)) = cursor.next(10).unwrap() {
        let chunks = chunks
            .series()
            .flat_map(|series| series.chunks().collect::<Vec<_>>());
        count += chunks.map(|chunk| usize::from(chunk.count())).sum::<usize>();
    }
    assert_eq!(count, 1000);
}

#[test]
fn a_space_that_fails_loses_nothing_that_was_acknowledged() {
    let faulty = Rc::new(Faulty::default());
    let mut local = Local::over(Rc::clone(&faulty), &Config::default(), || NOW);
    let up = batch([up("a", vec![(NOW, 1)])]);
    faulty.left.set(Some(0));
    let Failure::Unavailable(_) = local.write(&tenant("t"), &up).unwrap_err() else {
        panic!("the sender would drop its samples")
    };
    faulty.left.set(None);
    local.write(&tenant("t"), &up).unwrap();
    assert_eq!(read(&mut local, named("up"))["__name__=up,job=a"].len(), 1);
    let Failure::Unavailable(full) = failure(Error::QuotaExceeded("1GiB are used".into())) else {
        panic!("the sender would drop its samples")
    };
    assert!(
        full.message.contains("grants.keyValue.maxBytes"),
        "{}",
        full.message
    );
}
