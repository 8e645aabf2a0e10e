//! What every engine has to do.

use std::{sync::Arc, time::Duration};

use witgate_lab::eventually;
use witgate_state::{Change, Error, Outcome, Pair, ScanLimit, Space, Transaction};

use super::{SOON, changes, put};

const ALL: ScanLimit = ScanLimit {
    pairs: usize::MAX,
    bytes: usize::MAX,
};

async fn keys(space: &Arc<dyn Space>, start: &str, end: &str, limit: ScanLimit) -> Vec<String> {
    let pairs = space.scan(start.as_bytes(), end.as_bytes(), limit).await.unwrap();
    pairs
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect()
}

/// An engine that leaves scanning many ranges to the trait.
#[derive(Debug)]
struct Plain(Arc<dyn Space>);

#[async_trait::async_trait]
impl Space for Plain {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key).await
    }

    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.0.get_many(keys).await
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        self.0.scan(start, end, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        self.0.commit(transaction).await
    }

    async fn size(&self) -> Result<u64, Error> {
        self.0.size().await
    }
}

pub(crate) async fn many_ranges_are_scanned_one_after_the_other_within_one_limit(space: Arc<dyn Space>) {
    let pairs = ["a", "b", "c", "d", "e", "f", "g"].map(|key| put(key, "value"));
    assert_eq!(space.commit(changes(pairs)).await.unwrap(), Outcome::Committed);
    let range = |start: &str, end: &str| (start.as_bytes().to_vec(), end.as_bytes().to_vec());
    let ranges = [
        range("f", ""),
        range("e", "c"),
        range("a", "c"),
        range("x", ""),
        range("b", "d"),
    ];
    for space in [Arc::clone(&space), Arc::new(Plain(space))] {
        let found = async |limit| {
            let pairs = space.scan_many(ranges.to_vec(), limit).await.unwrap();
            let keys: Vec<u8> = pairs.iter().map(|(key, _)| key[0]).collect();
            String::from_utf8(keys).unwrap()
        };
        assert_eq!(found(ALL).await, "fgabbc");
        for pairs in 0..7 {
            assert_eq!(found(ScanLimit { pairs, ..ALL }).await, "fgabbc"[..pairs.min(6)]);
        }
        for (bytes, expected) in [
            (0, "f"),
            (11, "f"),
            (12, "fg"),
            (17, "fg"),
            (18, "fga"),
            (36, "fgabbc"),
        ] {
            assert_eq!(found(ScanLimit { bytes, ..ALL }).await, expected, "{bytes}");
        }
    }
}

pub(crate) async fn spaces_do_not_see_each_other(a: Arc<dyn Space>, b: Arc<dyn Space>) {
    let _ = a.commit(changes([put("k", "v")])).await.unwrap();
    assert_eq!(b.get(b"k").await.unwrap(), None);
    assert_eq!(keys(&b, "", "", ALL).await, Vec::<String>::new());
}

pub(crate) async fn a_scan_is_ordered_and_stops_at_its_bounds(space: Arc<dyn Space>) {
    let _ = space
        .commit(changes(["c", "a", "d", "b"].map(|key| put(key, "12345"))))
        .await
        .unwrap();

    assert_eq!(keys(&space, "", "", ALL).await, ["a", "b", "c", "d"]);
    assert_eq!(keys(&space, "b", "d", ALL).await, ["b", "c"]);
    assert_eq!(keys(&space, "d", "b", ALL).await, Vec::<String>::new());
    assert_eq!(
        keys(&space, "", "", ScanLimit { pairs: 2, ..ALL }).await,
        ["a", "b"]
    );
    assert_eq!(
        keys(&space, "", "", ScanLimit { bytes: 13, ..ALL }).await,
        ["a", "b"]
    );
    assert_eq!(keys(&space, "", "", ScanLimit { bytes: 1, ..ALL }).await, ["a"]);
}

pub(crate) async fn an_unmet_expectation_changes_nothing(space: Arc<dyn Space>) {
    let take = || Transaction {
        expect: vec![(b"k".to_vec(), Some(b"v".to_vec()))],
        changes: vec![Change::Delete(b"k".to_vec()), put("taken", "yes")],
    };
    assert_eq!(space.commit(take()).await.unwrap(), Outcome::Conflict);
    assert_eq!(space.get(b"taken").await.unwrap(), None);

    let _ = space.commit(changes([put("k", "v")])).await.unwrap();
    assert_eq!(space.commit(take()).await.unwrap(), Outcome::Committed);
    assert_eq!(space.commit(take()).await.unwrap(), Outcome::Conflict);
}

pub(crate) async fn of_many_takers_of_one_key_exactly_one_wins(space: Arc<dyn Space>) {
    for _ in 0..20 {
        let _ = space.commit(changes([put("k", "v")])).await.unwrap();
        let takers = (0..8).map(|_| {
            let space = Arc::clone(&space);
            tokio::spawn(async move {
                let expect = vec![(b"k".to_vec(), Some(b"v".to_vec()))];
                let changes = vec![Change::Delete(b"k".to_vec())];
                space.commit(Transaction { expect, changes }).await.unwrap()
            })
        });
        let mut winners = 0;
        for taker in takers.collect::<Vec<_>>() {
            winners += usize::from(taker.await.unwrap() == Outcome::Committed);
        }
        assert_eq!(winners, 1);
    }
}

pub(crate) async fn a_key_with_a_lifetime_is_gone_after_it(space: Arc<dyn Space>) {
    let short = |key: &str, lifetime| Change::Put {
        key: key.into(),
        value: b"v".to_vec(),
        lifetime: Some(lifetime),
    };
    let _ = space
        .commit(changes([short("gone", Duration::ZERO)]))
        .await
        .unwrap();
    let _ = space
        .commit(changes([
            short("there", Duration::from_secs(3600)),
            put("always", "v"),
        ]))
        .await
        .unwrap();
    let gone = async || match space.get(b"gone").await.unwrap() {
        None => Ok(()),
        Some(_) => Err("it is still there"),
    };
    eventually("an expired key is gone", SOON, gone).await.unwrap();
    assert_eq!(keys(&space, "", "", ALL).await, ["always", "there"]);
}

pub(crate) async fn a_key_that_was_set_anew_does_not_expire_with_its_former_value(space: Arc<dyn Space>) {
    let lived = Change::Put {
        key: b"k".to_vec(),
        value: b"old".to_vec(),
        lifetime: Some(Duration::ZERO),
    };
    let _ = space.commit(changes([lived])).await.unwrap();
    let _ = space.commit(changes([put("k", "new")])).await.unwrap();
    let other = Change::Put {
        key: b"o".to_vec(),
        value: b"v".to_vec(),
        lifetime: Some(Duration::from_secs(60)),
    };
    let _ = space.commit(changes([other])).await.unwrap();
    assert_eq!(space.get(b"k").await.unwrap(), Some(b"new".to_vec()));
}

/// A change by whomever is told of, in its own space.
pub(crate) async fn a_change_is_told_to_who_watches(space: Arc<dyn Space>, other: Arc<dyn Space>) {
    let mut told = space.watch();
    let changed = async || {
        // Of what comes before the watch began nothing is told.
        let _ = space.commit(changes([put("k", "v")])).await.unwrap();
        match told.has_changed().unwrap() {
            true => Ok(()),
            false => Err("nothing is told"),
        }
    };
    eventually("the change is told", SOON, changed).await.unwrap();
    let quiet = async || {
        told.mark_unchanged();
        let _ = other.commit(changes([put("k", "v")])).await.unwrap();
        match told.has_changed().unwrap() {
            false => Ok(()),
            true => Err("another space's change is told"),
        }
    };
    eventually("another space's change is not told", SOON, quiet)
        .await
        .unwrap();
}

/// Two that see the same write one after the other, and lose none of it.
pub(crate) async fn no_addition_is_lost(space: Arc<dyn Space>) {
    let _ = space.commit(changes([put("sum", "0")])).await.unwrap();
    let adding = (0..4).map(|_| {
        let space = Arc::clone(&space);
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let found = space.get(b"sum").await.unwrap().unwrap();
                    let sum: u32 = std::str::from_utf8(&found).unwrap().parse().unwrap();
                    let transaction = Transaction {
                        expect: vec![(b"sum".to_vec(), Some(found))],
                        changes: vec![put("sum", &(sum + 1).to_string())],
                    };
                    if space.commit(transaction).await.unwrap() == Outcome::Committed {
                        break;
                    }
                }
            }
        })
    });
    for adding in adding.collect::<Vec<_>>() {
        adding.await.unwrap();
    }
    assert_eq!(space.get(b"sum").await.unwrap().unwrap(), b"40");
}
