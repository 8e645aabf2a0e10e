//! How much a plugin may use: as the operator writes it, and with the defaults filled in.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Kind, Size};

/// The most memory that `limits.memory` may allow: what an instance's slot can grow to.
pub(crate) const MAX_MEMORY: Size = Size(1 << 30);

/// The most instances that all plugins may have together: what the engine has slots for.
pub(crate) const MAX_INSTANCES: u32 = 256;

/// The least memory that is worth a try: a component built by Rust starts with a little over
/// 1 MiB, most of it stack.
const MIN_MEMORY: Size = Size(2 << 20);

/// The instances of a plugin. For a storage plugin that is also how many calls and open queries
/// can be under way at the same time.
const INSTANCES: u16 = 16;

/// How much a plugin may use. What is left out has the default that fits the plugin's kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Memory of one instance. Default: `64MiB` for claims and recovery, `256MiB` for storage.
    pub memory: Option<Size>,
    /// Processor time of one call. Default: `1s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub cpu: Option<Duration>,
    /// Time of one call, waiting for an instance and for the backend included. Default: `5s` for
    /// claims, `10s` for storage, `60s` for recovery.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub time: Option<Duration>,
    /// Instances at the same time, which is also calls at the same time. Default: 16, and 2 for
    /// recovery.
    pub instances: Option<u16>,
    /// HTTP requests at the same time, over all instances. Default: 64.
    pub http_requests: Option<u16>,
    /// The body of one HTTP response. Default: `256MiB`.
    pub http_response: Option<Size>,
}

/// A limit that can't be kept.
#[derive(Debug, thiserror::Error)]
#[error("limits.{field} is {value}: {expected}")]
pub struct LimitError {
    field: &'static str,
    value: String,
    expected: String,
}

/// The limits of a plugin, with nothing left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) memory: Size,
    pub(crate) cpu: Duration,
    pub(crate) time: Duration,
    pub(crate) instances: u16,
    pub(crate) http_requests: u16,
    pub(crate) http_response: Size,
    /// What may cross from the plugin to the gateway in one call of either.
    pub(crate) transfer: Size,
}

impl Limits {
    /// Fills in what is left out, and refuses what can't be kept.
    pub(crate) fn bounds(&self, kind: Kind) -> Result<Bounds, LimitError> {
        let (memory, time, transfer) = match kind {
            // An identity is at most a few KiB, but a claims plugin may be granted a key-value
            // space, and one commit to that may be 16 MiB.
            Kind::Claims => (Size(64 << 20), Duration::from_secs(5), Size(20 << 20)),
            Kind::Storage => (Size(256 << 20), Duration::from_secs(10), Size(64 << 20)),
            // Looking at members that don't answer takes as long as the gateway waits for them.
            Kind::Recovery => (Size(64 << 20), Duration::from_secs(60), Size(20 << 20)),
        };
        let bounds = Bounds {
            memory: self.memory.unwrap_or(memory),
            cpu: self.cpu.unwrap_or(Duration::from_secs(1)),
            time: self.time.unwrap_or(time),
            instances: self.instances.unwrap_or(match kind {
                Kind::Recovery => 2,
                Kind::Claims | Kind::Storage => INSTANCES,
            }),
            http_requests: self.http_requests.unwrap_or(64),
            http_response: self.http_response.unwrap_or(Size(256 << 20)),
            transfer,
        };
        let refuse = |field, value: String, expected: String| {
            Err(LimitError {
                field,
                value,
                expected,
            })
        };
        if bounds.memory < MIN_MEMORY || bounds.memory > MAX_MEMORY {
            let expected = format!("give it between {MIN_MEMORY} and {MAX_MEMORY}");
            return refuse("memory", bounds.memory.to_string(), expected);
        }
        if bounds.cpu.is_zero() || bounds.time.is_zero() {
            let field = if bounds.cpu.is_zero() { "cpu" } else { "time" };
            return refuse(
                field,
                "0s".into(),
                "no call could ever succeed; `1s` is usual".into(),
            );
        }
        if bounds.instances == 0 || u32::from(bounds.instances) > MAX_INSTANCES {
            let expected = format!("give it between 1 and {MAX_INSTANCES}");
            return refuse("instances", bounds.instances.to_string(), expected);
        }
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn defaults_depend_on_the_kind() {
        let claims = Limits::default().bounds(Kind::Claims).unwrap();
        let storage = Limits::default().bounds(Kind::Storage).unwrap();
        assert_eq!(
            (claims.memory, claims.time),
            (Size(64 << 20), Duration::from_secs(5))
        );
        assert_eq!(
            (storage.memory, storage.time),
            (Size(256 << 20), Duration::from_secs(10))
        );
    }

    #[test]
    fn limits_that_cannot_be_kept_are_refused_with_the_field() {
        for (text, says) in [
            (r#"{"memory": "8GiB"}"#, "limits.memory is 8GiB"),
            (r#"{"memory": "64KiB"}"#, "between 2MiB and 1GiB"),
            (r#"{"cpu": "0s"}"#, "limits.cpu is 0s"),
            (r#"{"time": "0s"}"#, "limits.time is 0s"),
            (r#"{"instances": 0}"#, "between 1 and 256"),
        ] {
            let error = limits(text).bounds(Kind::Claims).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
