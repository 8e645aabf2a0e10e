//! Takes a streamed answer to a read apart, as a client does (`storage/remote/chunked.go`).

use prost::Message;

use crate::proto::ChunkedReadResponse;

/// An answer that is not what it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the streamed answer is damaged: frame {frame} {what}")]
pub struct FrameError {
    /// Which frame, from 0 on.
    pub frame: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The messages of a streamed answer, each checked against its checksum.
pub fn frames(mut answer: &[u8]) -> Result<Vec<ChunkedReadResponse>, FrameError> {
    let mut messages = Vec::new();
    while !answer.is_empty() {
        let frame = messages.len();
        let wrong = |what| FrameError { frame, what };
        let length = prost::encoding::decode_varint(&mut answer).map_err(|_| wrong("has no length"))?;
        let (sum, rest) = answer.split_first_chunk().ok_or_else(|| wrong("ends early"))?;
        let length = usize::try_from(length).map_err(|_| wrong("ends early"))?;
        let (message, rest) = rest.split_at_checked(length).ok_or_else(|| wrong("ends early"))?;
        if crc32c::crc32c(message) != u32::from_be_bytes(*sum) {
            return Err(wrong("has another checksum"));
        }
        let decoded = ChunkedReadResponse::decode(message);
        messages.push(decoded.map_err(|_| wrong("is no prometheus.ChunkedReadResponse"))?);
        answer = rest;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_and_a_lost_end_are_noticed() {
        let message = ChunkedReadResponse {
            chunked_series: Vec::new(),
            query_index: 7,
        }
        .encode_to_vec();
        let mut answer = vec![u8::try_from(message.len()).unwrap()];
        answer.extend(crc32c::crc32c(&message).to_be_bytes());
        answer.extend(&message);
        assert_eq!(frames(&answer).unwrap()[0].query_index, 7);
        let mut flipped = answer.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(frames(&flipped).unwrap_err().what, "has another checksum");
        for end in 1..answer.len() {
            assert!(frames(&answer[..end]).is_err(), "{end}");
        }
    }
}
