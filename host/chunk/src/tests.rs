use crate::{
    Appender, Encoding, Samples,
    bits::{Reader, Writer},
    histogram::{Counts, Histogram, Reset, Span},
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
