use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;

/// A space in memory whose size is exact, and which can fail.
#[derive(Debug, Default)]
struct Memory {
    pairs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    down: AtomicBool,
}

impl Memory {
    fn up(&self) -> Result<(), witgate_state::Error> {
        if self.down.load(Ordering::Relaxed) {
            let place = "/secret/place".to_owned();
            return Err(witgate_state::Error {
                place,
                action: "read",
                reason: "the disk is on fire".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Space for Memory {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, witgate_state::Error> {
        self.up()?;
        Ok(self.pairs.lock().unwrap().get(key).cloned())
    }

    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, witgate_state::Error> {
        self.up()?;
        let pairs = self.pairs.lock().unwrap();
        Ok(keys.iter().map(|key| pairs.get(key).cloned()).collect())
    }

    async fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<Pair>, witgate_state::Error> {
        self.up()?;
        let end = if end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(end)
        };
        let pairs = self.pairs.lock().unwrap();
        let range = pairs.range::<[u8], _>((Bound::Included(start), end));
        Ok(range
            .take(limit.pairs)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, witgate_state::Error> {
        self.up()?;
        let mut pairs = self.pairs.lock().unwrap();
        if { transaction.expect.iter() }.any(|(key, value)| pairs.get(key) != value.as_ref()) {
            return Ok(Outcome::Conflict);
        }
        for change in transaction.changes {
            match change {
                Change::Put { key, value, .. } => drop(pairs.insert(key, value)),
                Change::Delete(key) => drop(pairs.remove(&key)),
            }
        }
        Ok(Outcome::Committed)
    }

    async fn size(&self) -> Result<u64, witgate_state::Error> {
        self.up()?;
        Ok(self
            .pairs
            .lock()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum())
    }
}

fn space(quota: u64) -> (Arc<Memory>, KeyValue) {
    let memory = Arc::new(Memory::default());
    (
        memory.clone(),
        KeyValue {
            plugin: "p".to_owned(),
            space: memory,
            quota: Size(quota),
        },
    )
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    Change::Put {
        key: key.as_ref().to_vec(),
        value: value.as_ref().to_vec(),
        lifetime: None,
    }
}

#[tokio::test]
async fn a_space_over_its_quota_takes_only_deletions() {
    let (_, space) = space(10);
    space
        .commit(vec![put("a", "1234"), put("b", "1234")])
        .await
        .unwrap();
    let error = space.commit(vec![put("c", "")]).await.unwrap_err();
    let KeyValueError::QuotaExceeded(reason) = error else {
        panic!("{error:?}")
    };
    assert!(
        reason.contains("plugins.p.grants.keyValue.maxBytes") && reason.contains("quota of 10B"),
        "{reason}"
    );
    assert_eq!(space.get(b"c").await.unwrap(), None);
    space.commit(vec![Change::Delete(b"a".to_vec())]).await.unwrap();
    space.commit(vec![put("c", "")]).await.unwrap();
    assert_eq!(space.get(b"c").await.unwrap(), Some(Vec::new()));
}

#[tokio::test]
async fn a_commit_that_expects_something_else_changes_nothing() {
    let (_, space) = space(u64::MAX);
    let expect = |value: Option<&[u8]>| vec![(b"a".to_vec(), value.map(<[u8]>::to_vec))];
    assert_eq!(space.commit_if(expect(None), vec![put("a", "1")]).await, Ok(true));
    assert_eq!(
        space.commit_if(expect(None), vec![put("a", "2")]).await,
        Ok(false)
    );
    assert_eq!(space.get(b"a").await.unwrap(), Some(b"1".to_vec()));
    let deletion = vec![Change::Delete(b"a".to_vec())];
    assert_eq!(space.commit_if(expect(Some(b"1")), deletion).await, Ok(true));
    let empty = vec![(Vec::new(), None)];
    let refused = space.commit_if(empty, Vec::new()).await;
    assert!(matches!(refused, Err(KeyValueError::TooLarge(_))), "{refused:?}");
}

#[tokio::test]
async fn the_limits_of_the_contract_hold() {
    let (_, space) = space(u64::MAX);
    let too_large = |result: Result<(), KeyValueError>, says: &str| match result {
        Err(KeyValueError::TooLarge(reason)) => assert!(reason.contains(says), "{reason}"),
        other => panic!("{says}: {other:?}"),
    };
    let (key, value) = (vec![b'k'; MAX_KEY], vec![0; MAX_VALUE]);
    space.commit(vec![put(&key, &value)]).await.unwrap();
    assert_eq!(
        space.get(&key).await.unwrap().map(|value| value.len()),
        Some(MAX_VALUE)
    );
    let longer = vec![b'k'; MAX_KEY + 1];
    too_large(space.commit(vec![put("", "")]).await, "a key is empty");
    too_large(space.commit(vec![put(&longer, "")]).await, "a key has 4097 bytes");
    too_large(
        space.commit(vec![Change::Delete(longer.clone())]).await,
        "a key has 4097 bytes",
    );
    too_large(
        space.commit(vec![put("k", vec![0; MAX_VALUE + 1])]).await,
        "a value has 1048577 bytes",
    );
    too_large(space.commit(vec![put("k", &value); 17]).await, "the commit has");
    too_large(space.get(&longer).await.map(drop), "a key has 4097 bytes");
    too_large(space.get_many(vec![Vec::new()]).await.map(drop), "a key is empty");
    too_large(
        space.get_many(vec![key.clone(); 17]).await.map(drop),
        "ask for fewer keys",
    );
}

#[tokio::test]
async fn a_scan_goes_on_where_it_stopped() {
    let (_, space) = space(u64::MAX);
    space
        .commit((0..100u8).map(|key| put([key], [key])).collect())
        .await
        .unwrap();
    let mut start = Vec::new();
    let mut found = Vec::new();
    loop {
        let piece = space.scan(&start, &[50], 7).await.unwrap();
        let Some((last, _)) = piece.last() else { break };
        start = last.iter().copied().chain([0]).collect();
        found.extend(piece.into_iter().map(|(key, _)| key[0]));
    }
    assert_eq!(found, (0..50).collect::<Vec<u8>>());
    assert_eq!(space.scan(&[], &[], 0).await.unwrap(), []);
}

#[tokio::test]
async fn a_scan_of_many_ranges_goes_on_where_it_stopped() {
    let (_, space) = space(u64::MAX);
    space
        .commit((0..100u8).map(|key| put([key], [key])).collect())
        .await
        .unwrap();
    let range = |start: &[u8], end: &[u8]| (start.to_vec(), end.to_vec());
    let ranges = [
        range(&[60], &[70]),
        range(&[40], &[40]),
        range(&[5], &[12]),
        range(&[200], &[]),
        range(&[8], &[10]),
        range(&[97], &[]),
    ];
    let keys = |pairs: Vec<Pair>| pairs.into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
    let expected: Vec<u8> = (60..70).chain(5..12).chain(8..10).chain(97..100).collect();
    let all = space.scan_many(ranges.to_vec(), 1000).await.unwrap();
    assert_eq!(keys(all), expected);
    for limit in 1..30 {
        let some = space.scan_many(ranges.to_vec(), limit).await.unwrap();
        let expected = expected.iter().take(limit as usize).copied();
        assert_eq!(keys(some), expected.collect::<Vec<_>>());
    }
    let on = vec![range(&[62, 0], &[70]), range(&[5], &[12])];
    assert_eq!(
        keys(space.scan_many(on, 9).await.unwrap()),
        [63, 64, 65, 66, 67, 68, 69, 5, 6]
    );
    assert_eq!(space.scan_many(ranges.to_vec(), 0).await.unwrap(), []);
    assert_eq!(space.scan_many(Vec::new(), 9).await.unwrap(), []);
    let many = space.scan_many(vec![range(&[1], &[2]); MAX_RANGES + 1], 1).await;
    assert!(
        matches!(&many, Err(KeyValueError::TooLarge(reason)) if reason.contains("4097 ranges")),
        "{many:?}"
    );
    let long = space.scan_many(vec![range(&[1; MAX_KEY + 2], &[])], 1).await;
    assert!(matches!(long, Err(KeyValueError::TooLarge(_))), "{long:?}");
}

#[tokio::test]
async fn where_the_state_is_stays_with_the_operator() {
    let (memory, space) = space(u64::MAX);
    memory.down.store(true, Ordering::Relaxed);
    let error = space.commit(vec![put("a", "b")]).await.unwrap_err();
    assert_eq!(
        error,
        KeyValueError::Unavailable("the gateway's store can't read at the moment".to_owned())
    );
}
