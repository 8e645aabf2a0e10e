//! Writes a batch, and finds out what of it the endpoint did not take.

use witgate_remote::piece::{Piece, pieces, rejections, requests};
use witgate_remote::{compress, v1, v2};
use witgate_sdk::http::Client;
use witgate_sdk::storage::{Batch, Failure, Family, Receipt, Rejection};

use crate::endpoint::{Endpoint, failure, failure_saying, said};
use crate::names::Names;
use crate::{Remote, Version};

/// About how many bytes go into one request: Prometheus itself sends far less, and receivers take at
/// least 32 MiB.
const BODY: usize = 8 << 20;

/// Writes a batch.
pub(crate) fn write<C: Client>(
    remote: &Remote<C>,
    url: &str,
    headers: &[(String, String)],
    batch: &Batch,
) -> Result<Receipt, Failure> {
    let mut writer = Writer {
        endpoint: &remote.endpoint,
        version: remote.version,
        url,
        headers,
        batch,
        rejected: Vec::new(),
        probed: false,
    };
    let mut pieces = pieces(batch);
    if !remote.utf8_names {
        let mut names = Names::new(batch);
        pieces.retain(|piece| match names.fault(&batch.labels[piece.labels.clone()]) {
            Some(fault) => {
                writer.rejected.extend(piece.reject(fault));
                false
            }
            None => true,
        });
    }
    // In 1.0 families are by themselves; in 2.0 they go with their series.
    let mut families = batch.families.as_slice();
    for request in requests(batch, &pieces, BODY) {
        writer.send(request, families)?;
        if remote.version == Version::V1 {
            families = &[];
        }
    }
    if pieces.is_empty() && !families.is_empty() && remote.version == Version::V1 {
        writer.send(&[], families)?;
    }
    Ok(Receipt {
        rejected: writer.rejected,
    })
}

/// Whether one may write: a request with nothing in it.
pub(crate) fn probe<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
    version: Version,
) -> Result<(), Failure> {
    let empty = match version {
        Version::V1 => Vec::new(),
        // Its one symbol, the empty one.
        Version::V2 => vec![0x22, 0],
    };
    let response = endpoint.post(url, version.headers(), headers, &compress(&empty))?;
    match response.status {
        200..300 if version == Version::V2 && v2::written(&response).is_none() => Err(no_receiver_of_2(url)),
        200..300 => Ok(()),
        _ => Err(failure(url, response)),
    }
}

struct Writer<'a, C> {
    endpoint: &'a Endpoint<C>,
    version: Version,
    url: &'a str,
    headers: &'a [(String, String)],
    batch: &'a Batch,
    rejected: Vec<Rejection>,
    /// Whether the endpoint takes a request with nothing in it.
    probed: bool,
}

impl<C: Client> Writer<'_, C> {
    fn send(&mut self, pieces: &[Piece], families: &[Family]) -> Result<(), Failure> {
        let body = match self.version {
            Version::V1 => v1::encode(self.batch, pieces, families),
            Version::V2 => v2::encode(self.batch, pieces, families),
        };
        let mut response =
            self.endpoint
                .post(self.url, self.version.headers(), self.headers, &compress(&body))?;
        let written = match self.version {
            Version::V1 => None,
            Version::V2 => v2::written(&response),
        };
        match response.status {
            200..300 => match (self.version, written) {
                (Version::V1, _) => Ok(()),
                // As the specification has it: a receiver of 1.0 would take it for an empty request.
                (Version::V2, None) => Err(no_receiver_of_2(self.url)),
                (Version::V2, Some(written)) => {
                    let reason = "the endpoint says that it stored less, and not why";
                    self.account(pieces, written, reason);
                    Ok(())
                }
            },
            // Thanos says 409 and Mimir may say 422 where Prometheus says 400.
            400 | 409 | 422 => {
                let reason = self.reason(response.status, &said(&mut response));
                self.is_about_data(&reason)?;
                match written {
                    Some(written) => {
                        self.account(pieces, written, &reason);
                        Ok(())
                    }
                    None => self.narrow(pieces, families, &reason),
                }
            }
            // As Prometheus 2.42 says it where later ones say 400: such a sample would be sent forever.
            500 => {
                let said = said(&mut response);
                match said == "too old sample" {
                    true => self.narrow(pieces, families, &self.reason(500, &said)),
                    false => Err(failure_saying(self.url, &response, &said)),
                }
            }
            413 => {
                let reason = format!("{} answered 413: it takes less in one request", self.url);
                self.narrow(pieces, families, &reason)
            }
            _ => Err(failure(self.url, response)),
        }
    }

    fn reason(&self, status: u16, said: &str) -> String {
        format!("{} answered {status}: {said}", self.url)
    }

    /// A refusal may be about the request as such, a proxy's for instance. Then one of an empty
    /// request is no better, and nobody may drop data for it.
    fn is_about_data(&mut self, reason: &str) -> Result<(), Failure> {
        if self.probed {
            return Ok(());
        }
        probe(self.endpoint, self.url, self.headers, self.version).map_err(|failure| match failure {
            Failure::Unavailable(mut trouble) => {
                trouble.message = format!("{reason}; and of a request without data: {}", trouble.message);
                Failure::Unavailable(trouble)
            }
            other => other,
        })?;
        self.probed = true;
        Ok(())
    }

    /// A receiver that does not count may have stored nothing of a request in which something is
    /// wrong, as Prometheus does, or the rest of it. So halves of it are sent again, until what is
    /// wrong is by itself.
    fn narrow(&mut self, pieces: &[Piece], families: &[Family], reason: &str) -> Result<(), Failure> {
        let (first, second) = match pieces {
            [] => {
                // Only families were in it, and nobody counts these.
                witgate_sdk::log::warn(&format!("metadata was refused: {reason}"));
                return Ok(());
            }
            [piece] => match piece.halves() {
                Some((first, second)) => (vec![first], vec![second]),
                None => {
                    self.rejected.extend(piece.reject(reason));
                    return Ok(());
                }
            },
            several => {
                let (first, second) = several.split_at(several.len() / 2);
                (first.to_vec(), second.to_vec())
            }
        };
        self.send(&first, families)?;
        let families = match self.version {
            Version::V1 => &[],
            Version::V2 => families,
        };
        self.send(&second, families)
    }

    /// Rejects what a receiver that counts did not store. It does not say of which series it was.
    fn account(&mut self, pieces: &[Piece], written: [usize; 3], reason: &str) {
        let sent = pieces
            .iter()
            .fold([0; 3], |sent, piece| sum(sent, piece.counts()));
        let mut missing = difference(sent, written);
        if let [piece] = pieces {
            self.rejected.extend(rejections(piece.series, missing, reason));
            return;
        }
        let reason = format!("this or another of {} series: {reason}", pieces.len());
        for piece in pieces {
            let counts = piece.counts();
            let now: [usize; 3] = std::array::from_fn(|kind| counts[kind].min(missing[kind]));
            missing = difference(missing, now);
            self.rejected.extend(rejections(piece.series, now, &reason));
        }
    }
}

impl Version {
    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Version::V1 => &v1::HEADERS,
            Version::V2 => &v2::HEADERS,
        }
    }
}

fn no_receiver_of_2(url: &str) -> Failure {
    Failure::unavailable(format!(
        "{url} took the request and does not say how much of it is stored, so it is no receiver of Remote Write 2.0: \
         set the plugin's `version` to \"1.0\""
    ))
}

fn sum(a: [usize; 3], b: [usize; 3]) -> [usize; 3] {
    std::array::from_fn(|kind| a[kind] + b[kind])
}

fn difference(a: [usize; 3], b: [usize; 3]) -> [usize; 3] {
    std::array::from_fn(|kind| a[kind].saturating_sub(b[kind]))
}
