//! What is sent again, as after an answer that was lost, is there once; and of a request with some wrong
//! samples all the others are stored, and the wrong ones counted.

use witgate_lab::eventually;
use witgate_prometheus::proto::MatchType::Eq;

use crate::{
    backend::Kind,
    request::Request,
    world::{SOON, World, now},
};

#[tokio::test]
async fn what_is_sent_again_is_there_once() {
    for kind in Kind::ALL {
        if kind.require().is_err() {
            continue;
        }
        let world = World::start(kind).await;
        let now = now();
        let series: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let request = series.iter().fold(Request::default(), |request, n| {
            let samples = [(now - 1000, 1f64.to_bits()), (now, 2f64.to_bits())];
            request.samples(&[("__name__", "again"), ("n", n)], &samples)
        });
        for _ in 0..3 {
            let said = request.send(&world).await;
            assert_eq!(
                (said.status, said.written),
                (204, [400, 0, 0]),
                "{kind:?}: {said:?}"
            );
        }
        let (samples, series) = there(&world, "again", 400).await;
        assert_eq!((samples, series), (400, 200), "{kind:?}");
    }
}

#[tokio::test]
async fn of_a_request_with_wrong_samples_all_others_are_stored() {
    for (kind, wrong) in [
        (Kind::Influx, ("time", "x")),
        (Kind::NativeInflux, ("time", "x")),
        (Kind::OldPrometheus, ("a label", "x")),
        (Kind::Victoria, ("long", &"x".repeat(5000))),
    ] {
        if kind.require().is_err() {
            continue;
        }
        let world = World::start(kind).await;
        let now = now();
        let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let request = numbers
            .iter()
            .enumerate()
            .fold(Request::default(), |request, (at, n)| {
                let mut labels = vec![("__name__", "mixed"), ("n", n.as_str())];
                if at % 10 == 3 {
                    labels.push(wrong);
                }
                request.samples(&labels, &[(now - 1, 0), (now, 1f64.to_bits())])
            });
        let said = request.send(&world).await;
        assert_eq!(
            (said.status, said.written),
            (400, [180, 0, 0]),
            "{kind:?}: {said:?}"
        );
        assert!(said.words.contains("20 samples"), "{kind:?}: {}", said.words);
        assert_eq!(there(&world, "mixed", 180).await, (180, 90), "{kind:?}");
    }
}

/// A Prometheus stores nothing of a request in which one sample is wrong, if it came by 1.0.
#[tokio::test]
async fn a_prometheus_that_rolls_back_gets_what_is_right_without_what_is_wrong() {
    for kind in [Kind::OldPrometheus, Kind::Prometheus] {
        if kind.require().is_err() {
            continue;
        }
        let world = World::start(kind).await;
        let now = now();
        let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let request = numbers
            .iter()
            .enumerate()
            .fold(Request::default(), |request, (at, n)| {
                let year = 365 * 86_400_000;
                let first = if at % 20 == 7 { now - year } else { now - 1000 };
                request.samples(
                    &[("__name__", "mixed"), ("n", n)],
                    &[(first, 0), (now, 1f64.to_bits())],
                )
            });
        // Its newest sample is what others are too old for.
        let newest = Request::default().samples(&[("__name__", "newest")], &[(now, 0)]);
        assert_eq!(newest.send(&world).await.status, 204, "{kind:?}");
        let said = request.send(&world).await;
        assert_eq!(
            (said.status, said.written),
            (400, [195, 0, 0]),
            "{kind:?}: {said:?}"
        );
        assert_eq!(there(&world, "mixed", 195).await, (195, 100), "{kind:?}");
    }
}

/// How many samples and series of a name there are, once there are as many samples as expected.
async fn there(world: &World, name: &str, expected: usize) -> (usize, usize) {
    eventually("as much is there as was stored", SOON, async || {
        world.backend.settle().await;
        let found = world.read(&[("__name__", Eq, name)], 0, i64::MAX).await;
        let samples: usize = found.iter().map(|series| series.samples.len()).sum();
        match samples >= expected {
            true => Ok((samples, found.len())),
            false => Err(format!("{:?}: {samples} of {expected}", world.kind)),
        }
    })
    .await
    .unwrap()
}
