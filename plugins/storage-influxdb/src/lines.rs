//! A batch as line protocol: `up,__name__=up,job=a value=1 1700000000000`.
//!
//! Each symbol is escaped once, and stands in one arena as `,ESCAPED=` followed by padding. A
//! series is then a row of copies of fixed width out of it, which is what makes this fast.

use std::fmt;
use std::ops::Range;

use witgate_sdk::storage::{Batch, Datum, Rejection};

/// InfluxDB's timestamps are nanoseconds in 64 bits; these are the milliseconds that fit.
pub const MAX_TIMESTAMP: i64 = i64::MAX / 1_000_000;

/// Why a sample at another time is refused.
pub(crate) const OUTSIDE: &str = "the timestamp is not in the years 1677 to 2262 that InfluxDB has";

/// How much is copied at once. Symbols of metrics are seldom longer.
const STRIDE: usize = 16;

/// How much is encoded at once: far below the 25 MB that InfluxDB takes by default, and little
/// enough memory for one instance.
pub const BODY: usize = 8 << 20;

/// Encodes a batch, body by body.
pub struct Encoder<'a> {
    batch: &'a Batch,
    symbols: Symbols,
    series: usize,
    label: usize,
    sample: usize,
    /// Series that line protocol can't hold and InfluxDB can: with a line break in a label, or a
    /// name that begins with `#`. They are in no body.
    pub unfit: Vec<usize>,
    /// What InfluxDB can't hold at all.
    pub rejected: Vec<Rejection>,
}

/// Lines to be sent at once.
#[derive(Debug)]
pub struct Lines {
    /// The lines.
    pub body: Vec<u8>,
    /// Whose they are, in their order.
    pub pieces: Vec<Piece>,
}

/// The lines of one series, or of a part of its samples.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The series' place in the batch.
    pub series: usize,
    /// The samples, as places in the batch's columns. Those out of InfluxDB's range of time have no
    /// line.
    pub samples: Range<usize>,
    /// Where the lines are in the body.
    pub bytes: Range<usize>,
}

/// A symbol in the arena: `start` is where its comma is, `len` how long it is, escaped.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    len: u32,
}

/// The escaped symbols of a batch.
pub(crate) struct Symbols {
    arena: Vec<u8>,
    places: Vec<Place>,
    /// What is odd about each symbol; empty where nothing is about any.
    odd: Vec<u8>,
    name: Option<u32>,
}

/// The symbol can't stand in a line: it has a line break.
const UNFIT: u8 = 1;
/// The symbol can't stand in a line as a measurement: it would be a comment.
const UNFIT_MEASUREMENT: u8 = 2;
/// The symbol has an `=`, which is escaped in a tag and not in a measurement.
const EQUALS: u8 = 4;
/// The symbol is `time`.
const TIME: u8 = 8;
/// The symbol has a backslash at its end. In InfluxDB's own keys it escapes the separator that
/// follows, so that one label becomes part of the next, by whichever way it was written.
const TRAILING_BACKSLASH: u8 = 16;
/// The symbol has a backslash. InfluxDB confuses measurements that have one.
const BACKSLASH: u8 = 32;

/// A buffer that is longer than what was written to it, so that copies may run over.
struct Output {
    buffer: Vec<u8>,
    len: usize,
    /// The last timestamp and its text: samples of one scrape have the same.
    timestamp: (i64, [u8; 20], usize),
}

impl<'a> Encoder<'a> {
    /// Escapes the symbols of a batch.
    pub fn new(batch: &'a Batch) -> Self {
        let symbols = Symbols::new(batch);
        Encoder {
            batch,
            symbols,
            series: 0,
            label: 0,
            sample: 0,
            unfit: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Encodes up to about so many bytes, or none at the end of the batch.
    pub fn next(&mut self, limit: usize) -> Option<Lines> {
        let batch = self.batch;
        let mut pieces = Vec::with_capacity(batch.series_count() - self.series);
        // Most lines of Prometheus's own metrics are shorter than this.
        let left = batch.sample_count() - self.sample;
        let mut out = Output::new(limit.min(left.saturating_mul(384)));
        while self.series < batch.series_count() && out.len < limit {
            let label_end = batch.label_ends[self.series] as usize;
            let sample_end = batch.sample_ends[self.series] as usize;
            let labels = &batch.labels[self.label..label_end];
            let mut samples = self.sample..sample_end;
            match self.symbols.fitness(labels) {
                Fitness::Fits(measurement) => {
                    let before = out.len;
                    let timestamps = &batch.timestamps[samples.clone()];
                    let values = &batch.values[samples.clone()];
                    let (taken, outside) =
                        out.series(&self.symbols, measurement, labels, timestamps, values, limit);
                    samples.end = samples.start + taken;
                    if outside > 0 {
                        self.reject(outside, OUTSIDE);
                    }
                    if out.len > before {
                        pieces.push(Piece {
                            series: self.series,
                            samples: samples.clone(),
                            bytes: before..out.len,
                        });
                    }
                }
                Fitness::Unfit => self.unfit.push(self.series),
                Fitness::Impossible(reason) => self.reject(samples.len(), reason),
            }
            self.sample = samples.end;
            if samples.end == sample_end {
                self.label = label_end;
                self.series += 1;
            }
        }
        (out.len > 0).then(|| Lines {
            body: out.finish(),
            pieces,
        })
    }

    fn reject(&mut self, samples: usize, reason: &str) {
        self.rejected.push(rejection(self.series, samples, reason));
    }
}

/// A rejection of some samples of a series.
pub(crate) fn rejection(series: usize, samples: usize, reason: &str) -> Rejection {
    Rejection {
        series: short(series),
        kind: Datum::Sample,
        count: short(samples),
        reason: reason.to_owned(),
    }
}

/// Whether InfluxDB has such a time.
pub(crate) fn in_range(timestamp: i64) -> bool {
    (-MAX_TIMESTAMP..=MAX_TIMESTAMP).contains(&timestamp)
}

/// How InfluxDB can have a series.
pub(crate) enum Fitness {
    /// As lines of this measurement.
    Fits(u32),
    /// Only by its remote write.
    Unfit,
    /// Not at all.
    Impossible(&'static str),
}

impl Symbols {
    pub(crate) fn new(batch: &Batch) -> Self {
        let count = batch.symbol_ends.len();
        let mut symbols = Symbols {
            arena: Vec::with_capacity(batch.symbol_bytes.len() * 5 / 4 + count * 2 + STRIDE),
            places: Vec::with_capacity(count),
            odd: Vec::new(),
            name: None,
        };
        let mut start = 0;
        for (index, &end) in (0u32..).zip(&batch.symbol_ends) {
            let symbol = &batch.symbol_bytes[start..end as usize];
            start = end as usize;
            symbols.push(index, symbol, count);
        }
        // Copies of the last symbol may run over.
        symbols.arena.extend([0; STRIDE]);
        symbols
    }

    fn push(&mut self, index: u32, symbol: &[u8], count: usize) {
        let start = self.arena.len();
        self.arena.push(b',');
        let mut odd = 0;
        if symbol
            .iter()
            .any(|&byte| matches!(byte, b',' | b' ' | b'=' | b'\n'))
        {
            for &byte in symbol {
                match byte {
                    b',' | b' ' => self.arena.push(b'\\'),
                    b'=' => {
                        self.arena.push(b'\\');
                        odd |= EQUALS;
                    }
                    b'\n' => odd |= UNFIT,
                    _ => {}
                }
                self.arena.push(byte);
            }
        } else {
            self.arena.extend_from_slice(symbol);
        }
        let len = self.arena.len() - start - 1;
        self.arena.push(b'=');
        self.places.push(Place {
            start: short(start),
            len: short(len),
        });
        match symbol {
            b"time" => odd |= TIME,
            b"__name__" => self.name = Some(index),
            [b'#', ..] => odd |= UNFIT_MEASUREMENT,
            _ => {}
        }
        if memchr::memchr(b'\\', symbol).is_some() {
            odd |= BACKSLASH;
            if symbol.ends_with(b"\\") {
                odd |= TRAILING_BACKSLASH;
            }
        }
        if odd != 0 {
            self.odd.resize(count, 0);
            self.odd[index as usize] = odd;
        }
    }

    /// Whether a series with these labels can be written, and as which measurement.
    pub(crate) fn fitness(&self, labels: &[u32]) -> Fitness {
        let measurement = labels
            .chunks_exact(2)
            .find(|pair| Some(pair[0]) == self.name)
            .map(|pair| pair[1]);
        let Some(measurement) = measurement else {
            return Fitness::Impossible("the series has no metric name");
        };
        if self.odd.is_empty() {
            return Fitness::Fits(measurement);
        }
        if labels
            .iter()
            .step_by(2)
            .any(|&name| self.odd[name as usize] & TIME != 0)
        {
            return Fitness::Impossible("the label `time` is reserved in InfluxDB");
        }
        let odd = labels
            .iter()
            .fold(0, |odd, &symbol| odd | self.odd[symbol as usize]);
        let measurement_odd = self.odd[measurement as usize];
        if odd & TRAILING_BACKSLASH != 0 {
            return Fitness::Impossible("InfluxDB can't hold a label that ends with a backslash");
        }
        if measurement_odd & BACKSLASH != 0 {
            return Fitness::Impossible("InfluxDB can't hold a metric name with a backslash");
        }
        if odd & UNFIT != 0 || measurement_odd & UNFIT_MEASUREMENT != 0 {
            return Fitness::Unfit;
        }
        Fitness::Fits(measurement)
    }
}

impl Output {
    fn new(capacity: usize) -> Self {
        let mut zero = [0; 20];
        zero[0] = b'0';
        Output {
            buffer: vec![0; capacity + STRIDE],
            len: 0,
            timestamp: (0, zero, 1),
        }
    }

    /// Writes a line for each sample until there is enough. Returns for how many, and how many of
    /// these have a time that InfluxDB has not.
    fn series(
        &mut self,
        symbols: &Symbols,
        measurement: u32,
        labels: &[u32],
        timestamps: &[i64],
        values: &[u64],
        limit: usize,
    ) -> (usize, usize) {
        let key_start = self.len;
        self.measurement(symbols, measurement);
        for pair in labels.chunks_exact(2) {
            let name = symbols.places[pair[0] as usize];
            self.copy(&symbols.arena, name.start as usize, name.len as usize + 2);
            let value = symbols.places[pair[1] as usize];
            self.copy(&symbols.arena, value.start as usize + 1, value.len as usize);
        }
        let key_len = self.len - key_start;
        // The first line has its key already; the others get a copy.
        let (mut taken, mut outside, mut lines) = (0, 0, 0);
        for (&timestamp, &bits) in timestamps.iter().zip(values) {
            if lines > 0 && self.len >= limit {
                break;
            }
            taken += 1;
            if !in_range(timestamp) {
                outside += 1;
                continue;
            }
            if lines > 0 {
                self.reserve(key_len);
                self.buffer.copy_within(key_start..key_start + key_len, self.len);
                self.len += key_len;
            }
            lines += 1;
            self.sample(timestamp, bits);
        }
        if lines == 0 {
            self.len = key_start;
        }
        (taken, outside)
    }

    fn measurement(&mut self, symbols: &Symbols, symbol: u32) {
        let Place { start, len } = symbols.places[symbol as usize];
        let (start, len) = (start as usize + 1, len as usize);
        let has_equals = symbols
            .odd
            .get(symbol as usize)
            .is_some_and(|odd| odd & EQUALS != 0);
        if !has_equals {
            self.copy(&symbols.arena, start, len);
            return;
        }
        let escaped = &symbols.arena[start..start + len];
        for (at, &byte) in escaped.iter().enumerate() {
            if !(byte == b'\\' && escaped.get(at + 1) == Some(&b'=')) {
                self.push(&[byte]);
            }
        }
    }

    fn sample(&mut self, timestamp: i64, bits: u64) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            self.push(b" value=");
            // Most values are counts. -0 is not one: it would lose its sign.
            let whole = value as i64;
            if whole as f64 == value && whole.unsigned_abs() < 1 << 53 && bits != (-0.0f64).to_bits() {
                self.push(itoa::Buffer::new().format(whole).as_bytes());
            } else {
                self.push(zmij::Buffer::new().format_finite(value).as_bytes());
            }
        } else {
            self.push(b" vb=");
            self.push(itoa::Buffer::new().format(bits.cast_signed()).as_bytes());
            self.push(b"i");
        }
        self.push(b" ");
        if timestamp != self.timestamp.0 {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(timestamp).as_bytes();
            self.timestamp.1[..digits.len()].copy_from_slice(digits);
            (self.timestamp.0, self.timestamp.2) = (timestamp, digits.len());
        }
        let (_, text, len) = self.timestamp;
        self.push(&text[..len]);
        self.push(b"\n");
    }

    /// Copies from the arena in strides. What runs over is overwritten by what comes next.
    #[inline]
    fn copy(&mut self, arena: &[u8], start: usize, len: usize) {
        self.reserve(len);
        let mut done = 0;
        while done < len {
            let from = &arena[start + done..start + done + STRIDE];
            self.buffer[self.len + done..self.len + done + STRIDE].copy_from_slice(from);
            done += STRIDE;
        }
        self.len += len;
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Makes room for this much and a stride more.
    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.len + more + STRIDE > self.buffer.len() {
            let doubled = self.buffer.len() * 2;
            self.buffer.resize(doubled.max(self.len + more + STRIDE), 0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.buffer.truncate(self.len);
        self.buffer
    }
}

/// A place in memory, of which a component has at most 4 GiB.
fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("series", &self.series)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
