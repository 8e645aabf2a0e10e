//! A backend that is away costs nothing: the sender is told to come again, and what was acknowledged
//! before a crash is there after it.

use witgate_lab::eventually;
use witgate_prometheus::proto::MatchType::Eq;

use crate::{
    backend::Kind,
    request::Request,
    world::{SOON, World, now},
};

#[tokio::test]
async fn who_writes_while_the_backend_is_away_is_told_to_come_again() {
    for kind in [
        Kind::Influx,
        Kind::NativeInflux,
        Kind::Prometheus,
        Kind::OldPrometheus,
        Kind::Victoria,
    ] {
        if kind.require().is_err() {
            continue;
        }
        let mut world = World::start(kind).await;
        let now = now();
        let write = |value: f64, time| {
            Request::default().samples(&[("__name__", "kept")], &[(time, value.to_bits())])
        };
        let said = write(1.0, now).send(&world).await;
        assert_eq!(said.status, 204, "{kind:?}: {said:?}");
        world.backend.down().await;
        let said = write(2.0, now + 1).send(&world).await;
        assert_eq!((said.status, said.written), (503, [0; 3]), "{kind:?}: {said:?}");
        world.backend.restart().await;
        let again = async || {
            let said = write(2.0, now + 1).send(&world).await;
            if said.status == 204 { Ok(()) } else { Err(said) }
        };
        let taken = eventually("it is taken again", SOON, async || {
            again().await.map_err(|said| format!("{said:?}"))
        });
        taken.await.unwrap();
        let read = async || {
            world.backend.settle().await;
            let found = world.read(&[("__name__", Eq, "kept")], now, now + 1).await;
            let values: Vec<_> = { found.iter() }
                .flat_map(|series| series.samples.iter().map(|sample| f64::from_bits(sample.value)))
                .collect();
            if values == [1.0, 2.0] {
                Ok(())
            } else {
                Err(format!("{values:?}"))
            }
        };
        eventually("both are there", SOON, read).await.unwrap();
    }
}
