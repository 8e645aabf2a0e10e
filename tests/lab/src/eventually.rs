//! Defines how a test waits: by looking again until a deadline.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use crate::error::Error;

/// Between two looks: short against any deadline, long against the look itself.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at `condition` until it is `Ok`, and gives what it found.
///
/// A look that takes longer than the deadline is cut off by it.
///
/// # Errors
/// [`Error::Never`], with the last look's complaint, once `within` has passed.
pub async fn eventually<T, E: Display>(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Error> {
    let deadline = Instant::now() + within;
    let mut last = String::from("the first look did not end");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(problem)) => last = problem.to_string(),
            Err(_) => {}
        }
        // Not only when a look is cut off: one that never waits is not, however late it is.
        if Instant::now() >= deadline {
            return Err(Error::Never {
                what: what.to_owned(),
                seconds: within.as_secs(),
                last,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_condition_that_never_waits_fails_at_the_deadline() {
        let mut looks = 0;
        let never = eventually("rain", SHORT, async || {
            looks += 1;
            Err::<(), _>("dry")
        });
        let error = never.await.unwrap_err();
        assert_eq!(error.to_string(), "not within 0 s: rain; at last: dry");
        assert!(looks > 1);
    }

    #[tokio::test]
    async fn a_look_that_does_not_end_is_cut_off() {
        let never = eventually("rain", SHORT, async || {
            std::future::pending::<Result<(), String>>().await
        });
        let error = never.await.unwrap_err();
        assert!(error.to_string().ends_with("the first look did not end"));
    }
}
