//! How bodies are compressed. The length that a body claims is looked at before anything is allocated.

use std::io::Read;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Snappy's block format, as the protocols say.
    #[default]
    Snappy,
    /// Zstandard, which VictoriaMetrics' vmagent tries first.
    Zstd,
}

/// Why a body can't be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// It is not snappy's block format.
    #[error("the body is not in snappy's block format (the framed format is another one): {0}")]
    NotSnappy(String),
    /// It is not zstd.
    #[error("the body is not in zstd's format: {0}")]
    NotZstd(String),
    /// It would be too large.
    #[error("the body is over {limit} bytes large decompressed (prometheus.limits.decoded)")]
    TooLarge {
        /// What is accepted.
        limit: u64,
    },
}

/// The largest window of a zstd body as a power of two, and so what its decoder may take: 8 MiB, which
/// every level up to 19 keeps to.
const WINDOW: u32 = 23;

impl Compression {
    /// Puts the decompressed body into `out`, in the place of what is there.
    pub(crate) fn decompress(
        self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        match self {
            Self::Snappy => snappy(body, limit, out),
            Self::Zstd => zstd(body, limit, out),
        }
    }
}

fn snappy(body: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let not_snappy = |error: snap::Error| CompressionError::NotSnappy(error.to_string());
    let size = snap::raw::decompress_len(body).map_err(not_snappy)?;
    if u64::try_from(size).is_ok_and(|size| size > limit) {
        return Err(CompressionError::TooLarge { limit });
    }
    out.resize(size, 0);
    snap::raw::Decoder::new()
        .decompress(body, out)
        .map_err(not_snappy)?;
    Ok(())
}

fn zstd(body: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let not_zstd = |error: std::io::Error| CompressionError::NotZstd(error.to_string());
    out.clear();
    let mut decoder = zstd::Decoder::with_buffer(body).map_err(not_zstd)?;
    decoder.window_log_max(WINDOW).map_err(not_zstd)?;
    // What a frame says of its size is not to be believed; what comes out of it is counted.
    let read = decoder
        .take(limit.saturating_add(1))
        .read_to_end(out)
        .map_err(not_zstd)?;
    match read as u64 > limit {
        true => Err(CompressionError::TooLarge { limit }),
        false => Ok(()),
    }
}
