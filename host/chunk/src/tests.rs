use crate::{
    Appender, Encoding, Samples,
    bits::{Reader, Writer},
    histogram::{CUSTOM_BUCKETS, Counts, Histogram, Histograms, Reset, Span},
    message, trim,
};

/// Numbers without a pattern, the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

fn round_trip(samples: &[(i64, u64)]) {
    let mut appender = Appender::default();
    for (time, value) in samples {
        appender.push(*time, *value);
    }
    let chunk = appender.finish();
    assert_eq!(
        (chunk.encoding, usize::from(chunk.count())),
        (Encoding::Xor, samples.len())
    );
    let read: Result<Vec<_>, _> = Samples::of(&chunk.bytes).unwrap().collect();
    assert_eq!(read.unwrap(), samples);
}

#[test]
fn every_bit_comes_back() {
    const STALE: u64 = 0x7ff0_0000_0000_0002;
    round_trip(&[]);
    round_trip(&[(i64::MIN, 0), (i64::MAX, u64::MAX)]);
    round_trip(&[(0, STALE), (15_000, 1), (30_000, 1), (45_001, 1f64.to_bits())]);
    let mut random = Random(1);
    for round in 0..500 {
        let (mut time, mut value) = (random.next().cast_signed() >> 16, random.next());
        let samples: Vec<_> = (0..120)
            .map(|_| {
                // Of all sizes, so that every class has its turn.
                time += (random.next() >> (random.next() % 64)).cast_signed() >> 14;
                time += 1;
                match (round + random.next()) % 4 {
                    0 => value = random.next(),
                    1 => value ^= random.next() >> (random.next() % 64),
                    2 => value ^= random.next() << (random.next() % 64),
                    _ => {}
                }
                (time, value)
            })
            .collect();
        round_trip(&samples);
    }
}

#[test]
fn a_chunk_that_is_cut_or_changed_never_reads_beyond_its_end() {
    let mut random = Random(2);
    let mut appender = Appender::default();
    for time in 0..120 {
        appender.push(time * 15_000, random.next());
    }
    let whole = appender.finish().bytes;
    for length in 0..whole.len() {
        if let Ok(samples) = Samples::of(&whole[..length]) {
            let read: Vec<_> = samples.collect();
            assert!(read.len() <= 120);
            assert!(read.last().is_some_and(Result::is_err), "{length}");
        }
    }
    for _ in 0..2000 {
        let mut changed = whole.clone();
        let at = usize::try_from(random.next()).unwrap_or_default() % changed.len();
        changed[at] ^= 1 << (random.next() % 8);
        if let Ok(samples) = Samples::of(&changed) {
            assert!(samples.count() <= usize::from(u16::MAX));
        }
    }
}

#[test]
fn bits_are_in_the_order_of_their_weight() {
    let mut bits = Writer::default();
    bits.bits(0b101, 3);
    bits.bits(0xffff_ffff_ffff_fffe, 64);
    bits.varint(-65);
    assert_eq!(bits.bytes[0], 0b1011_1111);
    let mut reader = Reader::new(&bits.bytes);
    assert_eq!(reader.bits(3), Ok(0b101));
    assert_eq!(reader.bits(64), Ok(0xffff_ffff_ffff_fffe));
    assert_eq!(reader.varint(), Ok(-65));
}

/// The bits that the format's description comes to, by hand.
#[test]
fn a_histogram_is_laid_out_as_it_is_described() {
    let histogram = Histogram {
        time: 5,
        reset: Reset::Gauge,
        schema: 0,
        zero_threshold: 0.001_953_125_f64.to_bits(),
        sum: 1,
        positive_spans: vec![Span {
            offset: -1,
            length: 2,
        }],
        counts: Counts::Whole {
            count: 3,
            zero: 0,
            positive: vec![1, 1],
            negative: Vec::new(),
        },
        ..Histogram::default()
    };
    let chunk = histogram.chunk();
    let mut bits = Writer::default();
    bits.bits(1, 16);
    bits.bits(0b1100_0000, 8);
    // 2^-9
    bits.bits(235, 8);
    bits.bits(0, 1);
    // One span: length 2, offset -1; no negative ones.
    bits.bits(0b10_001, 5);
    bits.bits(0b10_010, 5);
    bits.bits(0b10_111, 5);
    bits.bits(0, 1);
    // Time 5 is beyond 3 signed bits, the count is within 3 unsigned ones.
    bits.bits(0b110_000101, 9);
    bits.bits(0b10_011, 5);
    bits.bits(0, 1);
    bits.bits(1, 64);
    bits.bits(0b10_001, 5);
    bits.bits(0b10_001, 5);
    assert_eq!((chunk.encoding, chunk.bytes), (Encoding::Histogram, bits.bytes));
}

/// A histogram of whole observations, with what makes use of every field.
fn whole(time: i64, counts: [i64; 4]) -> Histogram {
    Histogram {
        time,
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        sum: (time as f64 * 1.5).to_bits(),
        positive_spans: vec![
            Span {
                offset: -2,
                length: 2,
            },
            Span { offset: 5, length: 1 },
        ],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        counts: Counts::Whole {
            count: counts[0].unsigned_abs().wrapping_mul(10),
            zero: counts[0].unsigned_abs(),
            positive: counts[..3].to_vec(),
            negative: counts[3..].to_vec(),
        },
        ..Histogram::default()
    }
}

fn float(time: i64) -> Histogram {
    let bits = |n: f64| (n * time as f64).to_bits();
    Histogram {
        counts: Counts::Float {
            count: bits(9.5),
            zero: bits(0.25),
            positive: vec![bits(1.0), bits(1.5), bits(2.0)],
            negative: vec![bits(0.125)],
        },
        ..whole(time, [0; 4])
    }
}

fn custom(time: i64) -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS,
        zero_threshold: 0,
        bounds: vec![0.005_f64.to_bits(), (1f64 / 3.0).to_bits(), 2.5_f64.to_bits()],
        negative_spans: Vec::new(),
        counts: Counts::Whole {
            count: 7,
            zero: 0,
            positive: vec![1, 0, 1],
            negative: Vec::new(),
        },
        ..whole(time, [0; 4])
    }
}

#[test]
fn a_histogram_comes_back_from_its_chunk_and_from_its_message() {
    for histogram in [
        whole(1_700_000_000_000, [3, -1, 2, 9]),
        whole(-5, [i64::MAX, i64::MIN, 0, 1]),
        float(77),
        custom(3),
        Histogram {
            reset: Reset::Gauge,
            zero_threshold: 0.001_953_125_f64.to_bits(),
            ..float(1)
        },
        Histogram {
            reset: Reset::Yes,
            ..custom(4)
        },
    ] {
        let chunk = histogram.chunk();
        let read: Result<Vec<_>, _> = Histograms::of(chunk.encoding, &chunk.bytes).unwrap().collect();
        assert_eq!(read.unwrap(), std::slice::from_ref(&histogram));
        assert_eq!(message::parse(&message::write(&histogram)), Ok(histogram));
    }
}

/// A second and a third histogram behind the first one, by the format's description: of times, counts
/// and buckets the change and then the change of the change, of the sum what differs.
#[test]
fn histograms_behind_each_other_are_read() {
    let [mut first, mut second, mut third] = [(100, 5), (115, 7), (131, 9)].map(|(time, n)| Histogram {
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: Vec::new(),
        counts: Counts::Whole {
            count: n + 1,
            zero: 1,
            positive: vec![n.cast_signed(), -1],
            negative: Vec::new(),
        },
        ..whole(time, [0; 4])
    });
    // Four bits that differ, and then the same again.
    first.sum = 0;
    second.sum = 0xf << 20;
    third.sum = second.sum;
    let mut bits = Writer::default();
    bits.bits(3, 16);
    let bytes = first.chunk().bytes;
    let mut reader = Reader::new(&bytes[2..]);
    for _ in 0..chunk_bits(&first) {
        bits.bit(reader.bit().unwrap());
    }
    // Time +15, count +2, zero +0.
    bits.bits(0b110_001111, 9);
    bits.bits(0b10_010, 5);
    bits.bits(0, 1);
    // Sum: 40 bits in front and 20 behind are the same; 31 is the most that can be said.
    bits.bits(0b11, 2);
    bits.bits(31, 5);
    bits.bits(13, 6);
    bits.bits(0xf, 13);
    // The buckets: +2 and the same.
    bits.bits(0b10_010, 5);
    bits.bits(0, 1);
    // Time +16, which is one more than before; counts as before; the same sum; the buckets as before.
    bits.bits(0b10_001, 5);
    bits.bits(0, 2);
    bits.bits(0, 1);
    bits.bits(0, 2);
    let read: Result<Vec<_>, _> = Histograms::of(Encoding::Histogram, &bits.bytes)
        .unwrap()
        .collect();
    second.reset = Reset::No;
    third.reset = Reset::No;
    let expected = [first, second, third];
    assert_eq!(read.unwrap(), expected);

    let kept = trim(Encoding::Histogram, &bits.bytes, 101, 120).unwrap();
    let [only] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((only.first, only.last, only.count()), (115, 115, 1));
    for length in 0..bits.bytes.len() {
        if let Ok(read) = Histograms::of(Encoding::Histogram, &bits.bytes[..length]) {
            assert!(read.last().is_none_or(|last| last.is_err()), "{length}");
        }
    }
}

/// How many bits there are behind the count of a histogram's chunk, without the padding.
fn chunk_bits(histogram: &Histogram) -> usize {
    let bytes = histogram.chunk().bytes;
    let mut reader = Histograms::of(Encoding::Histogram, &bytes).unwrap();
    reader.next().unwrap().unwrap();
    8 * (bytes.len() - 2) - reader.left_bits()
}

#[test]
fn samples_outside_are_cut_off() {
    let mut appender = Appender::default();
    for time in 0..100 {
        appender.push(time * 10, time.cast_unsigned());
    }
    let whole = appender.finish();
    for (start, end, expected) in [
        (15, 40, Some((20, 40, 3))),
        (0, 990, Some((0, 990, 100))),
        (991, 2000, None),
        (41, 49, None),
    ] {
        let kept = trim(Encoding::Xor, &whole.bytes, start, end).unwrap();
        let kept = kept.first().map(|kept| (kept.first, kept.last, kept.count()));
        assert_eq!(kept, expected);
    }
    assert!(trim(Encoding::Xor, &whole.bytes[..20], 0, 1).is_err());
}
