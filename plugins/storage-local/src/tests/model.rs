//! Whatever is written in whatever order is there afterwards, as a map would have it.

use super::*;

/// Numbers without a pattern, the same each time (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % n
    }
}

fn message(time: i64, sum: u64) -> (witgate_chunk::histogram::Histogram, Vec<u8>) {
    let histogram = witgate_chunk::histogram::Histogram {
        time,
        sum,
        ..Default::default()
    };
    let message = witgate_chunk::message::write(&histogram);
    (histogram, message)
}

/// Some samples and histograms of some series, around some days: old ones, same ones, others again.
fn some(random: &mut Random, model: &mut BTreeMap<String, Values>) -> Batch {
    let mut builder = BatchBuilder::default();
    for _ in 0..=random.below(4) {
        let job = format!("job-{}", random.below(20));
        builder.series([("__name__", "up"), ("job", job.as_str())]);
        let of_series = model.entry(format!("__name__=up,job={job}")).or_default();
        let base = NOW - i64::try_from(random.below(3)).unwrap() * DAY;
        let mut histograms = Vec::new();
        for _ in 0..=random.below(30) {
            let timestamp = base + i64::try_from(random.below(400)).unwrap() - 200;
            let bits = random.below(1 << 60);
            if random.below(10) == 0 {
                histograms.push((timestamp, bits));
            } else {
                builder.sample(Sample { timestamp, bits });
                of_series.insert(timestamp, Value::Float(bits));
            }
        }
        // They are behind the samples, whatever their times.
        for (timestamp, sum) in histograms {
            let (histogram, message) = message(timestamp, sum);
            builder.histogram(Histogram {
                timestamp,
                message: &message,
            });
            of_series.insert(timestamp, Value::Histogram(Box::new(histogram)));
        }
    }
    builder.finish()
}

#[test]
fn instances_that_fold_and_read_at_any_time_agree_with_a_map() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let space: Rc<Memory> = Rc::default();
        let mut instances = [local(&space), eager(Rc::clone(&space)), eager(Rc::clone(&space))];
        instances[2].upkeep.least = 2000;
        let mut model = BTreeMap::new();
        for turn in 0..150 {
            let written = some(&mut random, &mut model);
            let which = usize::try_from(random.below(3)).unwrap();
            assert!(write(&mut instances[which], &written).rejected.is_empty());
            if turn % 10 != 0 {
                continue;
            }
            let start = NOW - 3 * DAY + i64::try_from(random.below(4)).unwrap() * DAY - 100;
            let range = match random.below(2) {
                0 => (i64::MIN, i64::MAX),
                _ => (start, start + i64::try_from(random.below(2)).unwrap() * DAY + 250),
            };
            let page = 1 + u32::try_from(random.below(500)).unwrap();
            let found = answer(&mut instances[0], "t", named("up"), range, page);
            let expected: Vec<_> = { model.iter() }
                .map(|(series, values)| {
                    let values = values.range(range.0..=range.1);
                    let values = values.map(|(time, value)| (*time, value.clone()));
                    (series.clone(), values.collect::<Values>())
                })
                .filter(|(_, values)| !values.is_empty())
                .collect();
            assert_eq!(found, expected, "seed {seed}, turn {turn}, {range:?}");
        }
    }
}
