//! The frames of a streamed answer (`storage/remote/chunked.go`), written as they are sent: each is
//! one `ChunkedReadResponse` with chunks of one series, behind its length and its checksum.

use bytes::{BufMut, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// Bytes of chunks in one frame, as Prometheus has it.
const FRAME: usize = 1 << 20;

/// Frames that were not sent yet, and the one that is being made.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) done: BytesMut,
    query: u64,
    /// The fields of the series that is being written.
    labels: Vec<u8>,
    chunks: Vec<u8>,
    is_open: bool,
}

impl Frames {
    /// What follows answers this query.
    pub(super) fn query(&mut self, index: u64) {
        self.end();
        self.query = index;
    }

    /// Begins a series. It has a frame even without a chunk.
    pub(super) fn series<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        self.end();
        self.is_open = true;
        self.labels.clear();
        for (name, value) in labels {
            let length = text_length(name) + text_length(value);
            encode_key(1, WireType::LengthDelimited, &mut self.labels);
            encode_varint(length as u64, &mut self.labels);
            text(1, name, &mut self.labels);
            text(2, value, &mut self.labels);
        }
    }

    /// Adds a chunk to the series that was begun last.
    pub(super) fn chunk(&mut self, encoding: u8, first: i64, last: i64, data: &[u8]) {
        let numbers = [
            (1, first.cast_unsigned()),
            (2, last.cast_unsigned()),
            (3, encoding.into()),
        ];
        let length: usize = { numbers.iter() }
            .map(|(_, number)| 1 + encoded_len_varint(*number))
            .sum();
        let length = length + 1 + encoded_len_varint(data.len() as u64) + data.len();
        let out = &mut self.chunks;
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        for (field, number) in numbers {
            encode_key(field, WireType::Varint, out);
            encode_varint(number, out);
        }
        encode_key(4, WireType::LengthDelimited, out);
        encode_varint(data.len() as u64, out);
        out.extend_from_slice(data);
        if out.len() >= FRAME {
            self.frame();
            // It goes on in another frame only if there is more.
            self.is_open = false;
        }
    }

    /// Ends the series that was begun last.
    pub(super) fn end(&mut self) {
        if self.is_open || !self.chunks.is_empty() {
            self.frame();
        }
        self.is_open = false;
    }

    fn frame(&mut self) {
        let series = self.labels.len() + self.chunks.len();
        let mut head = Vec::with_capacity(16);
        encode_key(1, WireType::LengthDelimited, &mut head);
        encode_varint(series as u64, &mut head);
        let mut tail = Vec::with_capacity(16);
        if self.query > 0 {
            encode_key(2, WireType::Varint, &mut tail);
            encode_varint(self.query, &mut tail);
        }
        let parts = [&head, &self.labels, &self.chunks, &tail];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let checksum = { parts.iter() }.fold(0, |checksum, part| crc32c::crc32c_append(checksum, part));
        self.done.reserve(length + 14);
        encode_varint(length as u64, &mut self.done);
        self.done.put_u32(checksum);
        for part in parts {
            self.done.put_slice(part);
        }
        self.chunks.clear();
    }
}

fn text_length(text: &str) -> usize {
    1 + encoded_len_varint(text.len() as u64) + text.len()
}

fn text(field: u32, text: &str, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::{Chunk, ChunkedReadResponse, ChunkedSeries, Label};

    #[test]
    fn a_frame_is_what_the_message_encodes_to() {
        let chunk = |first, data: &[u8]| Chunk {
            min_time_ms: first,
            max_time_ms: first + 1,
            r#type: 1,
            data: data.to_vec(),
        };
        let label = |name: &str, value: &str| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let long = "x".repeat(300);
        let message = ChunkedReadResponse {
            chunked_series: vec![ChunkedSeries {
                labels: vec![label("__name__", "up"), label("job", &long)],
                chunks: vec![chunk(-7, &[1, 2, 3]), chunk(1_700_000_000_000, &[7; 1000])],
            }],
            query_index: 3,
        };
        let mut frames = Frames::default();
        frames.query(3);
        frames.series([("__name__", "up"), ("job", long.as_str())].into_iter());
        for chunk in &message.chunked_series[0].chunks {
            frames.chunk(1, chunk.min_time_ms, chunk.max_time_ms, &chunk.data);
        }
        frames.end();
        let message = message.encode_to_vec();
        let mut expected = BytesMut::new();
        encode_varint(message.len() as u64, &mut expected);
        expected.put_u32(crc32c::crc32c(&message));
        expected.put_slice(&message);
        assert_eq!(frames.done, expected);
    }
}
