//! Writes a batch, and finds out which samples InfluxDB did not take.

use std::collections::BTreeMap;
use std::ops::Range;

use witgate_remote::{compress, piece, v1};
use witgate_sdk::http::Client;
use witgate_sdk::storage::{Batch, Failure, Receipt, Rejection};

use crate::lines::{BODY, Encoder, Piece, in_range, rejection};
use crate::native::{self, Fit};
use crate::server::{Answer, Place, Refusal, Server};

/// How many requests more than needed a batch may cost to find out which of its series InfluxDB
/// does not take: it says only how many points it dropped. Enough to find 10 in 1,000.
const SEARCHES: usize = 128;

/// Writes a batch as lines, and by remote write what they have no way to write.
pub(crate) fn write<C: Client>(server: &Server<C>, place: &Place, batch: &Batch) -> Result<Receipt, Failure> {
    let mut encoder = Encoder::new(batch);
    let mut rejected = Vec::new();
    let mut searches = SEARCHES;
    while let Some(lines) = encoder.next(BODY) {
        let mut writer = Writer {
            post: &|pieces: &[Piece]| {
                let start = pieces.first().map_or(0, |piece| piece.bytes.start);
                let end = pieces.last().map_or(start, |piece| piece.bytes.end);
                server.write(place, &lines.body[start..end])
            },
            batch,
            searches,
            rejected,
        };
        writer.send(&lines.pieces)?;
        (rejected, searches) = (writer.rejected, writer.searches);
    }
    rejected.append(&mut encoder.rejected);
    if !encoder.unfit.is_empty() {
        rejected.append(&mut write_fit(
            server,
            place,
            native::of_unfit(batch, &encoder.unfit),
            searches,
        )?);
    }
    Ok(Receipt { rejected })
}

/// Writes a batch by remote write.
pub(crate) fn write_native<C: Client>(
    server: &Server<C>,
    place: &Place,
    batch: &Batch,
) -> Result<Receipt, Failure> {
    let rejected = write_fit(server, place, native::of_all(batch), SEARCHES)?;
    Ok(Receipt { rejected })
}

/// Writes what is fit for remote write, and says what of it and besides it was not taken.
fn write_fit<C: Client>(
    server: &Server<C>,
    place: &Place,
    fit: Fit,
    searches: usize,
) -> Result<Vec<Rejection>, Failure> {
    let mut writer = Writer {
        post: &|pieces: &[piece::Piece]| {
            server.write_native(place, &compress(&v1::encode(&fit.batch, pieces, &[])))
        },
        batch: &fit.batch,
        searches,
        rejected: Vec::new(),
    };
    for pieces in piece::requests(&fit.batch, &piece::pieces(&fit.batch), BODY) {
        writer.send(pieces)?;
    }
    let mut rejected = fit.rejected;
    rejected.extend(writer.rejected.into_iter().map(|one| {
        let place = fit.series.get(one.series as usize).copied().unwrap_or_default();
        rejection(place, one.count as usize, &one.reason)
    }));
    Ok(rejected)
}

/// Samples of one series that are sent together.
trait Part {
    /// The series' place in the batch.
    fn series(&self) -> usize;
    /// The samples, as places in the batch's columns.
    fn samples(&self) -> Range<usize>;
}

impl Part for Piece {
    fn series(&self) -> usize {
        self.series
    }

    fn samples(&self) -> Range<usize> {
        self.samples.clone()
    }
}

impl Part for piece::Piece {
    fn series(&self) -> usize {
        self.series
    }

    fn samples(&self) -> Range<usize> {
        self.samples.clone()
    }
}

struct Writer<'a, P> {
    post: &'a dyn Fn(&[P]) -> Result<Answer, Failure>,
    batch: &'a Batch,
    searches: usize,
    rejected: Vec<Rejection>,
}

impl<P: Part> Writer<'_, P> {
    /// Sends some pieces. InfluxDB stores what it can of a request, and storing the same point again
    /// changes nothing, so halves can be sent again.
    fn send(&mut self, pieces: &[P]) -> Result<(), Failure> {
        if pieces.is_empty() {
            return Ok(());
        }
        match (self.post)(pieces)? {
            Answer::Taken => Ok(()),
            Answer::TooLarge => match pieces {
                [piece] => {
                    let count = self.sent(piece).count();
                    self.reject(piece, count, "InfluxDB's max-body-size is less than it takes");
                    Ok(())
                }
                _ => self.halves(pieces),
            },
            Answer::Refused(refusal) => self.narrow(pieces, &refusal),
        }
    }

    fn halves(&mut self, pieces: &[P]) -> Result<(), Failure> {
        let (first, second) = pieces.split_at(pieces.len() / 2);
        self.send(first)?;
        self.send(second)
    }

    /// Finds out whose points were refused.
    fn narrow(&mut self, pieces: &[P], refusal: &Refusal) -> Result<(), Failure> {
        let sent: usize = pieces.iter().map(|piece| self.sent(piece).count()).sum();
        let refused = refusal.points.min(sent);
        let reason = format!("InfluxDB: {}", refusal.message);
        if refused == sent {
            for piece in pieces {
                self.reject(piece, self.sent(piece).count(), &reason);
            }
        } else if let [piece] = pieces {
            self.reject(piece, refused, &reason);
        } else if refusal.message.contains("points beyond retention policy") {
            self.reject_oldest(pieces, refused, &reason);
        } else if self.searches >= 2 {
            self.searches -= 2;
            self.halves(pieces)?;
        } else {
            self.reject_some(pieces, refused, &reason);
        }
        Ok(())
    }

    /// What a retention policy refuses is what is oldest.
    fn reject_oldest(&mut self, pieces: &[P], refused: usize, reason: &str) {
        let samples = pieces
            .iter()
            .flat_map(|piece| self.sent(piece).map(|timestamp| (timestamp, piece.series())));
        let mut samples: Vec<_> = samples.collect();
        samples.sort_unstable();
        let mut counts = BTreeMap::<usize, usize>::new();
        for (_, series) in samples.into_iter().take(refused) {
            *counts.entry(series).or_default() += 1;
        }
        for (series, count) in counts {
            self.rejected.push(rejection(series, count, reason));
        }
    }

    /// The number is what InfluxDB said; whose they are is not known any more.
    fn reject_some(&mut self, pieces: &[P], mut refused: usize, reason: &str) {
        let reason = format!("this or another of {} series: {reason}", pieces.len());
        for piece in pieces {
            let count = self.sent(piece).count().min(refused);
            refused -= count;
            if count > 0 {
                self.reject(piece, count, &reason);
            }
        }
    }

    /// The timestamps of the samples that were sent.
    fn sent(&self, piece: &P) -> impl Iterator<Item = i64> + use<'_, P> {
        self.batch.timestamps[piece.samples()]
            .iter()
            .copied()
            .filter(|&timestamp| in_range(timestamp))
    }

    fn reject(&mut self, piece: &P, samples: usize, reason: &str) {
        self.rejected.push(rejection(piece.series(), samples, reason));
    }
}

#[cfg(test)]
mod tests;
