//! VictoriaMetrics' answer: a line of JSON for each series, read as it comes.

use witgate_sdk::http::Body;
use witgate_sdk::storage::{BatchBuilder, Cursor, Failure, Piece, Sample};

use crate::holds::STALE;
use crate::json::{Reader, broken};

/// The most samples of one series. A line has all its values before the first time, so that they
/// have to be kept: these are 32 MiB of them, and two years of one each 15 seconds.
const MAX_SAMPLES: usize = 4 << 20;

/// The most labels of one series, which is the most that VictoriaMetrics can be set to.
const MAX_LABELS: usize = 65_535;

/// The most bytes of all labels of one series.
const MAX_LABEL_BYTES: usize = 8 << 20;

/// The lines of an answer.
#[derive(Debug)]
pub struct Lines {
    reader: Reader,
    only_series: bool,
    open: Option<Open>,
    token: Vec<u8>,
}

/// A series of which the times are being read.
#[derive(Debug)]
struct Open {
    labels: Vec<(String, String)>,
    values: std::vec::IntoIter<u64>,
    /// The last sample. Another one at the same time may follow.
    last: Option<Sample>,
    /// Whether any of its samples was returned.
    begun: bool,
}

impl Lines {
    pub(crate) fn new(body: Body, only_series: bool) -> Self {
        Lines {
            reader: Reader::new(Some(body)),
            only_series,
            open: None,
            token: Vec::new(),
        }
    }

    /// An answer without series.
    pub(crate) fn none() -> Self {
        Lines {
            reader: Reader::new(None),
            only_series: false,
            open: None,
            token: Vec::new(),
        }
    }

    /// Begins the next line. None at the end.
    fn begin(&mut self) -> Result<Option<Open>, Failure> {
        while self.reader.take(b'\n')? {}
        match self.reader.peek()? {
            None => return Ok(None),
            Some(b'{') => {}
            // What goes wrong once it has begun to answer it writes where the next line would be.
            Some(_) => {
                let said = self.reader.rest(300);
                return Err(Failure::unavailable(format!(
                    "VictoriaMetrics did not answer to the end: {said}"
                )));
            }
        }
        self.reader.expect(b"{\"metric\":{")?;
        let mut labels = Vec::new();
        let mut size = 0;
        if !self.reader.take(b'}')? {
            loop {
                let name = self.reader.text()?;
                self.reader.expect(b":")?;
                let value = self.reader.text()?;
                size += name.len() + value.len();
                labels.push((name, value));
                if labels.len() > MAX_LABELS || size > MAX_LABEL_BYTES {
                    return Err(broken("a series has too many labels"));
                }
                if !self.reader.take(b',')? {
                    break;
                }
            }
            self.reader.expect(b"}")?;
        }
        self.reader.expect(b",\"values\":[")?;
        let mut values = Vec::new();
        while !self.reader.take(b']')? {
            values.push(self.value()?);
            if values.len() > MAX_SAMPLES {
                return Err(Failure::unavailable(format!(
                    "a series has over {MAX_SAMPLES} samples in that time: ask for less time"
                )));
            }
            self.reader.take(b',')?;
        }
        self.reader.expect(b",\"timestamps\":[")?;
        Ok(Some(Open {
            labels,
            values: values.into_iter(),
            last: None,
            begun: false,
        }))
    }

    fn value(&mut self) -> Result<u64, Failure> {
        let token = self.reader.until([b',', b']'], &mut self.token)?;
        match token {
            // VictoriaMetrics keeps no other NaN than the stale marker.
            b"null" => Ok(STALE),
            b"\"Infinity\"" => Ok(f64::INFINITY.to_bits()),
            b"\"-Infinity\"" => Ok(f64::NEG_INFINITY.to_bits()),
            number => {
                let number: Option<f64> = std::str::from_utf8(number)
                    .ok()
                    .filter(|text| text.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
                    .and_then(|text| text.parse().ok());
                let number = number.ok_or_else(|| broken("a value is not a number"))?;
                Ok(number.to_bits())
            }
        }
    }

    /// Adds samples of the open series until there are enough. True at its end.
    fn samples(
        &mut self,
        open: &mut Open,
        builder: &mut BatchBuilder,
        enough: usize,
    ) -> Result<bool, Failure> {
        let labels = open.labels.iter();
        builder.series(labels.map(|(name, value)| (name.as_str(), value.as_str())));
        while !self.reader.take(b']')? {
            let token = self.reader.until([b',', b']'], &mut self.token)?;
            let timestamp = std::str::from_utf8(token).ok().and_then(|text| text.parse().ok());
            let timestamp = timestamp.ok_or_else(|| broken("a time is not a number"))?;
            let bits = open
                .values
                .next()
                .ok_or_else(|| broken("there are more times than values"))?;
            self.reader.take(b',')?;
            let sample = Sample { timestamp, bits };
            match &mut open.last {
                Some(last) if last.timestamp == timestamp => last.bits = better(last.bits, bits),
                last => {
                    if let Some(complete) = last.replace(sample)
                        && !(self.only_series && open.begun)
                    {
                        open.begun = true;
                        builder.sample(complete);
                        // Of a series that is only wanted as such the rest of the line is skipped.
                        if builder.sample_count() >= enough && !self.only_series {
                            return Ok(false);
                        }
                    }
                }
            }
        }
        if open.values.next().is_some() {
            return Err(broken("there are more values than times"));
        }
        self.reader.expect(b"}")?;
        if let Some(last) = open.last.take()
            && !(self.only_series && open.begun)
        {
            builder.sample(last);
        }
        Ok(true)
    }
}

impl Cursor for Lines {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let enough = samples.max(1) as usize;
        let mut builder = BatchBuilder::default();
        while builder.sample_count() < enough {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.begin()? {
                    Some(open) => open,
                    None => break,
                },
            };
            if !self.samples(&mut open, &mut builder, enough)? {
                self.open = Some(open);
            }
        }
        Ok((builder.sample_count() > 0).then(|| builder.finish().into()))
    }
}

/// Which of two values at one time counts, as when VictoriaMetrics itself removes duplicates: a value
/// before a stale marker, and the greater of two.
fn better(a: u64, b: u64) -> u64 {
    match (a == STALE, b == STALE) {
        (true, _) => b,
        (_, true) => a,
        _ if f64::from_bits(a) >= f64::from_bits(b) => a,
        _ => b,
    }
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::Batch;

    use super::*;

    fn piece(lines: &mut Lines, samples: u32) -> Option<Batch> {
        match lines.next(samples).unwrap()? {
            Piece::Samples(batch) => Some(batch),
            Piece::Chunks(_) => panic!("VictoriaMetrics has none"),
        }
    }

    fn lines(pieces: &[&str], only_series: bool) -> Lines {
        struct Script(std::vec::IntoIter<Vec<u8>>);
        impl witgate_sdk::http::Pieces for Script {
            fn next(&mut self) -> Result<Option<Vec<u8>>, witgate_sdk::http::Error> {
                Ok(self.0.next())
            }
        }
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        Lines::new(Body::new(Script(pieces.into_iter())), only_series)
    }

    /// A part of a series: its labels, and the times and bits of its samples.
    type Part = (Vec<(String, String)>, Vec<(i64, u64)>);

    fn parts(batch: &Batch) -> Vec<Part> {
        let parts = batch.series().map(|series| {
            let labels = series
                .labels()
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let samples = series.samples().map(|sample| (sample.timestamp, sample.bits));
            (labels.collect(), samples.collect())
        });
        parts.collect()
    }

    const UP: &str = concat!(
        r#"{"metric":{"__name__":"up","a \"b":"x\n\u00e9\\"},"values":[1.5,null,"Infinity","-Infinity",3,2],"#,
        r#""timestamps":[1,2,3,4,5,5]}"#,
        "\n"
    );
    const DOWN: &str = "{\"metric\":{\"__name__\":\"down\"},\"values\":[7],\"timestamps\":[9]}\n";

    #[test]
    fn values_come_back_whatever_way_the_bytes_come() {
        let whole = [UP, DOWN].concat();
        for cut in 1..whole.len() {
            let Some((head, tail)) = whole.split_at_checked(cut) else {
                continue;
            };
            let mut lines = lines(&[head, tail], false);
            let batch = piece(&mut lines, u32::MAX).unwrap();
            let [(labels, samples), (_, down)] = parts(&batch).try_into().unwrap();
            let expected = [("__name__", "up"), ("a \"b", "x\né\\")];
            assert_eq!(
                labels,
                expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
            );
            let bits = [
                1.5f64.to_bits(),
                STALE,
                f64::INFINITY.to_bits(),
                f64::NEG_INFINITY.to_bits(),
                3f64.to_bits(),
            ];
            assert_eq!(samples, (1..).zip(bits).collect::<Vec<_>>());
            assert_eq!(down, [(9, 7f64.to_bits())]);
            assert!(lines.next(1).unwrap().is_none());
        }
    }

    #[test]
    fn a_series_goes_on_in_the_next_piece() {
        let mut lines = lines(&[UP, DOWN], false);
        let mut seen = Vec::new();
        while let Some(batch) = piece(&mut lines, 2) {
            let names = parts(&batch)
                .into_iter()
                .map(|(labels, samples)| (labels[0].1.clone(), samples.len()));
            seen.push(names.collect::<Vec<_>>());
        }
        let part = |name: &str, samples| (name.to_owned(), samples);
        assert_eq!(
            seen,
            [
                vec![part("up", 2)],
                vec![part("up", 2)],
                vec![part("up", 1), part("down", 1)]
            ]
        );
    }

    #[test]
    fn who_wants_only_series_gets_one_sample_of_each() {
        let batch = piece(&mut lines(&[UP, DOWN], true), u32::MAX).unwrap();
        let counts: Vec<_> = parts(&batch).iter().map(|(_, samples)| samples.len()).collect();
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn an_answer_that_is_cut_or_ends_with_an_error_is_none() {
        let error = format!("{DOWN}remoteAddr: \"x\"; cannot send data to remote client: timeout");
        let more = DOWN.replace("[9]", "[9,10]");
        let fewer = DOWN.replace("[9]", "[]");
        for text in [
            &UP[..UP.len() - 3],
            &UP[..80],
            &error,
            &more,
            &fewer,
            "{\"metric\":{}}",
            "<html>",
        ] {
            let mut lines = lines(&[text], false);
            let mut result = lines.next(u32::MAX);
            if matches!(result, Ok(Some(_))) {
                result = lines.next(u32::MAX);
            }
            let Err(Failure::Unavailable(trouble)) = result else {
                panic!("{text}")
            };
            assert!(
                trouble.message.starts_with("VictoriaMetrics"),
                "{}",
                trouble.message
            );
        }
    }

    #[test]
    fn of_two_samples_at_one_time_the_same_counts_in_any_order() {
        let (one, two) = (1f64.to_bits(), 2f64.to_bits());
        for (a, b, expected) in [(one, two, two), (STALE, one, one), (STALE, STALE, STALE)] {
            assert_eq!((better(a, b), better(b, a)), (expected, expected));
        }
    }
}
