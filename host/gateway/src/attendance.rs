//! How long a stream may last: as long as its caller's credential does, and no revocation names it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval, sleep};
use witgate_apiserver::{Attendant, StreamEnd};
use witgate_identity::Principal;

use crate::{
    audit::{Audit, Caller, StreamEnded},
    wiring::Live,
};

/// One stream's attendant.
#[derive(Debug)]
pub(crate) struct Attendance {
    pub(crate) live: Live,
    pub(crate) audit: Audit,
    pub(crate) principal: Arc<Principal>,
    pub(crate) request_id: String,
    pub(crate) peer: SocketAddr,
    pub(crate) path: String,
    pub(crate) began: Instant,
}

impl Attendant for Attendance {
    fn until(&self) -> Pin<Box<dyn Future<Output = String> + Send>> {
        Box::pin(until(Arc::clone(&self.live), Arc::clone(&self.principal)))
    }

    fn ended(&self, end: &StreamEnd) {
        self.audit.stream_ended(&StreamEnded {
            event: "streamEnd",
            time: SystemTime::now(),
            request_id: &self.request_id,
            peer: self.peer,
            path: &self.path,
            caller: Caller::from(&*self.principal),
            target: &end.target,
            impersonated: end.impersonated.as_deref(),
            sent_bytes: end.sent,
            received_bytes: end.received,
            reason: &end.why,
            duration_us: self.began.elapsed(),
        });
    }
}

/// Completes when the credential does not hold any more. Asks the wiring in service each time, so
/// that a changed configuration counts.
async fn until(live: Live, principal: Arc<Principal>) -> String {
    let mut revoked = live.load().identity.on_revocation();
    // One that came between the request's authentication and this.
    if let Err(error) = live.load().identity.check(&principal) {
        return error.to_string();
    }
    let left = principal
        .expires
        .map(|expires| expires.duration_since(SystemTime::now()).unwrap_or_default());
    let expired = async move {
        match left {
            Some(left) => sleep(left).await,
            None => std::future::pending().await,
        }
    };
    let sessions = async {
        if principal.proof.session.is_none() {
            return std::future::pending().await;
        }
        let mut again = interval(live.load().identity.recheck_interval());
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        again.tick().await;
        loop {
            again.tick().await;
            if let Err(error) = live.load_full().identity.recheck(&principal).await {
                return error;
            }
        }
    };
    let revocations = async {
        loop {
            if revoked.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Err(error) = live.load().identity.check(&principal) {
                return error;
            }
        }
    };
    tokio::select! {
        () = expired => "the credential expired".to_owned(),
        error = sessions => error.to_string(),
        error = revocations => error.to_string(),
    }
}
