//! What findings rest on.

use witgate_sdk::recovery::{Evidence, Sighting, Status};

/// What a vantage point saw of a member.
pub(crate) fn sighting(sighting: &Sighting, subject: &str) -> Evidence {
    Evidence {
        what: format!("whether {subject} answers"),
        vantage: sighting.vantage.clone(),
        at: sighting.at,
        raw: sighting.raw.clone(),
    }
}

/// What a member said of itself.
pub(crate) fn said(status: &Status, subject: &str, what: &str, raw: String) -> Evidence {
    Evidence {
        what: format!("{what} of {subject}"),
        vantage: "gateway".to_owned(),
        at: status.at,
        raw,
    }
}
