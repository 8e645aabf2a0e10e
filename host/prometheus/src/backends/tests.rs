use std::sync::Mutex;

use super::*;
use crate::memory::Memory;

fn unavailable() -> StorageError {
    StorageError::Unavailable {
        message: "away".into(),
        retry_after: Some(Duration::from_secs(9)),
    }
}

fn overloaded() -> StorageError {
    StorageError::Overloaded {
        message: "busy".into(),
        retry_after: None,
    }
}

fn memory(fail: Option<StorageError>) -> Arc<Memory> {
    Arc::new(Memory {
        fail: Mutex::new(fail),
        ..Memory::default()
    })
}

fn backends(all: &[(&str, bool, &Arc<Memory>)]) -> Backends {
    let all = all.iter().map(|(name, is_required, memory)| {
        let storage: Arc<dyn Storage> = Arc::clone(memory) as _;
        Backend::new(name, storage, Vec::new(), *is_required)
    });
    Backends::new(all.collect())
}

fn batch() -> Batch {
    Batch {
        symbol_bytes: b"__name__up".to_vec(),
        symbol_ends: vec![0, 8, 10],
        labels: vec![1, 2],
        label_ends: vec![2],
        timestamps: vec![1, 2, 3],
        values: vec![1, 2, 3],
        sample_ends: vec![3],
        ..Batch::default()
    }
}

fn outcomes(delivered: &Delivered) -> Vec<&'static str> {
    delivered
        .deliveries
        .iter()
        .map(|delivery| delivery.outcome.name())
        .collect()
}

#[tokio::test]
async fn a_write_needs_those_that_are_required() {
    let invalid = || StorageError::Invalid("never".into());
    let cases = [
        ([None, None], true, "ok", ["stored", "stored"]),
        (
            [None, Some(unavailable())],
            true,
            "unavailable",
            ["stored", "unavailable"],
        ),
        (
            [None, Some(unavailable())],
            false,
            "ok",
            ["stored", "unavailable"],
        ),
        (
            [Some(overloaded()), None],
            true,
            "overloaded",
            ["overloaded", "stored"],
        ),
        // What a sender may come again with outweighs what it must not.
        (
            [Some(invalid()), Some(unavailable())],
            true,
            "unavailable",
            ["refused", "unavailable"],
        ),
        (
            [Some(overloaded()), Some(unavailable())],
            true,
            "unavailable",
            ["overloaded", "unavailable"],
        ),
        ([Some(invalid()), None], true, "invalid", ["refused", "stored"]),
        (
            [Some(unavailable()), None],
            false,
            "unavailable",
            ["unavailable", "stored"],
        ),
    ];
    for ([one, other], is_required, expected, expected_outcomes) in cases {
        let (one, other) = (memory(one), memory(other));
        let backends = backends(&[("one", true, &one), ("other", is_required, &other)]);
        let delivered = backends.write("t", "", &batch(), Kinds::ALL).await;
        let result = match &delivered.receipt {
            Ok(_) => "ok",
            Err(StorageError::Unavailable { message, .. }) => {
                assert!(
                    message.contains("one ") && message.contains(": away"),
                    "{message}"
                );
                "unavailable"
            }
            Err(StorageError::Overloaded { .. }) => "overloaded",
            Err(_) => "invalid",
        };
        assert_eq!(
            (result, &outcomes(&delivered)[..]),
            (expected, &expected_outcomes[..])
        );
        // A second time, all of it comes to all of them.
        let again = backends.write("t", "", &batch(), Kinds::ALL).await;
        assert!(again.receipt.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_best_effort_that_fails_is_left_out_for_a_while() {
    let (one, other) = (memory(None), memory(Some(unavailable())));
    let mut backends = backends(&[("one", true, &one), ("other", false, &other)]);
    let write = async |backends: &Backends| outcomes(&backends.write("t", "", &batch(), Kinds::ALL).await);
    assert_eq!(write(&backends).await, ["stored", "unavailable"]);
    assert_eq!(write(&backends).await, ["stored", "left out"]);
    // The clock of the process is not the test's.
    backends.began -= Duration::from_millis(LEFT_OUT + 1);
    assert_eq!(write(&backends).await, ["stored", "stored"]);
    assert_eq!(other.batches.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_several_reject_is_counted_once() {
    let reject = |count, reason: &str| {
        let rejection = Rejection {
            series: 0,
            kind: Datum::Sample,
            count,
            reason: reason.to_owned(),
        };
        Arc::new(Memory {
            receipt: Receipt {
                rejected: vec![rejection],
            },
            ..Memory::default()
        })
    };
    let (one, other) = (reject(1, "NaN"), reject(2, "too old"));
    let backends = backends(&[("one", true, &one), ("other", true, &other)]);
    let receipt = backends
        .write("t", "", &batch(), Kinds::ALL)
        .await
        .receipt
        .unwrap();
    let [only] = &receipt.rejected[..] else {
        panic!("{receipt:?}");
    };
    assert_eq!((only.count, only.reason.as_str()), (2, "other: too old"));
}
