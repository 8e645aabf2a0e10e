//! Writes a batch, and finds out which samples InfluxDB did not take.

use std::collections::BTreeMap;

use witgate_sdk::http::Client;
use witgate_sdk::storage::{Batch, Failure, Receipt, Rejection};

use crate::lines::{BODY, Encoder, Lines, Piece, in_range, rejection};
use crate::native;
use crate::server::{Answer, Place, Refusal, Server};

/// How many requests more than needed a batch may cost to find out which of its series InfluxDB
/// does not take: it says only how many points it dropped. Enough to find 10 in 1,000.
const SEARCHES: usize = 128;

/// Writes a batch.
pub(crate) fn write<C: Client>(server: &Server<C>, place: &Place, batch: &Batch) -> Result<Receipt, Failure> {
    let mut encoder = Encoder::new(batch);
    let mut writer = Writer {
        server,
        place,
        batch,
        searches: SEARCHES,
        rejected: Vec::new(),
    };
    while let Some(lines) = encoder.next(BODY) {
        writer.send(&lines, &lines.pieces, 0)?;
    }
    writer.rejected.append(&mut encoder.rejected);
    if !encoder.unfit.is_empty() {
        writer.send_native(&encoder.unfit)?;
    }
    Ok(Receipt {
        rejected: writer.rejected,
    })
}

struct Writer<'a, C> {
    server: &'a Server<C>,
    place: &'a Place,
    batch: &'a Batch,
    searches: usize,
    rejected: Vec<Rejection>,
}

impl<C: Client> Writer<'_, C> {
    /// Sends the lines of these pieces, which begin at `start`. InfluxDB stores what it can of a
    /// request, and storing the same point again changes nothing, so halves can be sent again.
    fn send(&mut self, lines: &Lines, pieces: &[Piece], start: usize) -> Result<(), Failure> {
        let Some(last) = pieces.last() else { return Ok(()) };
        match self.server.write(self.place, &lines.body[start..last.end])? {
            Answer::Taken => Ok(()),
            Answer::TooLarge => match pieces {
                [piece] => {
                    self.reject(
                        piece.series,
                        piece.samples.len(),
                        "InfluxDB's max-body-size is less than its lines",
                    );
                    Ok(())
                }
                _ => self.halves(lines, pieces, start),
            },
            Answer::Refused(refusal) => self.narrow(lines, pieces, start, &refusal),
        }
    }

    fn halves(&mut self, lines: &Lines, pieces: &[Piece], start: usize) -> Result<(), Failure> {
        let (first, second) = pieces.split_at(pieces.len() / 2);
        self.send(lines, first, start)?;
        self.send(lines, second, first.last().map_or(start, |piece| piece.end))
    }

    /// Finds out whose points were refused.
    fn narrow(
        &mut self,
        lines: &Lines,
        pieces: &[Piece],
        start: usize,
        refusal: &Refusal,
    ) -> Result<(), Failure> {
        let sent: usize = pieces.iter().map(|piece| self.sent(piece).count()).sum();
        let refused = refusal.points.min(sent);
        let reason = format!("InfluxDB: {}", refusal.message);
        if refused == sent {
            for piece in pieces {
                self.reject(piece.series, self.sent(piece).count(), &reason);
            }
        } else if let [piece] = pieces {
            self.reject(piece.series, refused, &reason);
        } else if refusal.message.contains("points beyond retention policy") {
            self.reject_oldest(pieces, refused, &reason);
        } else if self.searches >= 2 {
            self.searches -= 2;
            self.halves(lines, pieces, start)?;
        } else {
            self.reject_some(pieces, refused, &reason);
        }
        Ok(())
    }

    /// What a retention policy refuses is what is oldest.
    fn reject_oldest(&mut self, pieces: &[Piece], refused: usize, reason: &str) {
        let samples = pieces
            .iter()
            .flat_map(|piece| self.sent(piece).map(|timestamp| (timestamp, piece.series)));
        let mut samples: Vec<_> = samples.collect();
        samples.sort_unstable();
        let mut counts = BTreeMap::<usize, usize>::new();
        for (_, series) in samples.into_iter().take(refused) {
            *counts.entry(series).or_default() += 1;
        }
        for (series, count) in counts {
            self.reject(series, count, reason);
        }
    }

    /// The number is what InfluxDB said; whose they are is not known any more.
    fn reject_some(&mut self, pieces: &[Piece], mut refused: usize, reason: &str) {
        let reason = format!("this or another of {} series: {reason}", pieces.len());
        for piece in pieces {
            let count = self.sent(piece).count().min(refused);
            refused -= count;
            if count > 0 {
                self.reject(piece.series, count, &reason);
            }
        }
    }

    /// The timestamps of the samples that have a line.
    fn sent(&self, piece: &Piece) -> impl Iterator<Item = i64> {
        self.batch.timestamps[piece.samples.clone()]
            .iter()
            .copied()
            .filter(|&timestamp| in_range(timestamp))
    }

    fn send_native(&mut self, series: &[usize]) -> Result<(), Failure> {
        let native = native::encode(self.batch, series);
        for &(series, samples) in &native.left {
            let reason = "InfluxDB can't hold a value that is not finite in a series with a line break in a label, \
                or with a name that begins with #";
            self.reject(series, samples, reason);
        }
        if native.sent.is_empty() {
            return Ok(());
        }
        let reason = match self.server.write_native(self.place, &native.body)? {
            Answer::Taken => return Ok(()),
            Answer::TooLarge => "InfluxDB's max-body-size is too small for it".to_owned(),
            Answer::Refused(refusal) => format!("InfluxDB: {}", refusal.message),
        };
        for (series, samples) in native.sent {
            self.reject(series, samples, &reason);
        }
        Ok(())
    }

    fn reject(&mut self, series: usize, samples: usize, reason: &str) {
        self.rejected.push(rejection(series, samples, reason));
    }
}

#[cfg(test)]
mod tests;
