//! Cutting what is too early or too late off a chunk.

use crate::{Appender, Chunk, Damaged, Encoding, Samples, histogram::Histograms};

/// What of a chunk is between two times, both included, in chunks. None where there is nothing.
pub fn trim(encoding: Encoding, chunk: &[u8], start: i64, end: i64) -> Result<Vec<Chunk>, Damaged> {
    let range = start..=end;
    if encoding == Encoding::Xor {
        let mut kept = Appender::default();
        for sample in Samples::of(chunk)? {
            let (time, value) = sample?;
            if range.contains(&time) {
                kept.push(time, value);
            }
        }
        return Ok(if kept.count() > 0 {
            vec![kept.finish()]
        } else {
            Vec::new()
        });
    }
    let mut kept = Vec::new();
    for histogram in Histograms::of(encoding, chunk)? {
        let histogram = histogram?;
        if range.contains(&histogram.time) {
            kept.push(histogram.chunk());
        }
    }
    Ok(kept)
}
