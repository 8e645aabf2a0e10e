//! What VictoriaMetrics was started with (`/flags`): whether it drops more than the plugin knows of.

use witgate_sdk::storage::Failure;

use crate::holds::Bounds;
use crate::time::Span;

/// Flags by which VictoriaMetrics drops what it was asked to, and says so to nobody.
const DROPPING: [&str; 7] = [
    "dedup.minScrapeInterval",
    "relabelConfig",
    "storage.maxDailySeries",
    "storage.maxHourlySeries",
    "streamAggr.config",
    "streamAggr.dedupInterval",
    "streamAggr.dropInput",
];

/// Compares the flags with what the plugin was told. A failure says which field to change.
pub(crate) fn compare(text: &str, bounds: &Bounds) -> Result<(), Failure> {
    let flag = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix('-')?.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"'))
    };
    for name in DROPPING {
        if let Some(value) = flag(name) {
            witgate_sdk::log::warn(&format!(
                "VictoriaMetrics runs with -{name}={value}: what that drops is not reported to senders"
            ));
        }
    }
    let spans = [
        ("retention", "retentionPeriod", bounds.retention, 31),
        (
            "retention",
            "maxBackfillAge",
            bounds.retention,
            i64::from(u32::MAX),
        ),
        ("futureRetention", "futureRetention", bounds.future_retention, 2),
    ];
    for (field, name, configured, default) in spans {
        let set = flag(name).filter(|value| *value != "0");
        let actual = match set {
            Some(value) => Span::parse(value),
            None => Some(Span::days(default)),
        };
        if actual.is_some_and(|actual| actual < configured) {
            return Err(differs(field, name, set.unwrap_or("its default")));
        }
    }
    let lengths = [
        ("maxLabels", "maxLabelsPerTimeseries", bounds.labels, 40),
        ("maxLabelName", "maxLabelNameLen", bounds.label_name, 256),
        ("maxLabelValue", "maxLabelValueLen", bounds.label_value, 4096),
    ];
    for (field, name, configured, default) in lengths {
        let set = flag(name);
        let actual = set.and_then(|value| value.parse().ok()).unwrap_or(default);
        // Zero is no limit.
        let unlimited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        if unlimited(actual) < unlimited(configured) {
            return Err(differs(field, name, set.unwrap_or("its default")));
        }
    }
    Ok(())
}

fn differs(field: &str, flag: &str, value: &str) -> Failure {
    Failure::unavailable(format!(
        "VictoriaMetrics runs with -{flag}={value} and would drop samples that the plugin takes for kept: \
         lower the plugin's `{field}`, or raise the flag"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(text: &str) -> Option<String> {
        let bounds = Bounds {
            retention: Span::days(31),
            future_retention: Span::days(2),
            labels: 40,
            label_name: 256,
            label_value: 4096,
        };
        match compare(text, &bounds) {
            Err(Failure::Unavailable(trouble)) => Some(trouble.message),
            _ => None,
        }
    }

    #[test]
    fn a_server_that_drops_more_than_is_known_is_not_healthy() {
        for fine in [
            "",
            "-httpListenAddr=\":8428\"\n",
            "-retentionPeriod=\"1\"\n-futureRetention=\"1y\"\n",
            "-retentionPeriod=\"100y\"\n-maxBackfillAge=\"0\"\n-maxLabelsPerTimeseries=\"0\"\n",
        ] {
            assert_eq!(compared(fine), None, "{fine}");
        }
        for (text, field) in [
            ("-retentionPeriod=\"7d\"\n", "`retention`"),
            ("-retentionPeriod=\"1y\"\n-maxBackfillAge=\"1h\"\n", "`retention`"),
            ("-futureRetention=\"1d\"\n", "`futureRetention`"),
            ("-maxLabelsPerTimeseries=\"30\"\n", "`maxLabels`"),
            ("-maxLabelValueLen=\"1024\"\n", "`maxLabelValue`"),
        ] {
            assert!(
                compared(text).is_some_and(|message| message.contains(field)),
                "{text}"
            );
        }
    }
}
