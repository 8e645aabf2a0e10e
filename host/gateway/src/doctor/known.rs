//! What the gateway knows before a sample is written: the tenant, its limits, the storage.

use std::time::{Duration, Instant};

use witgate_prometheus::{Bounds, Choice, Holds, Standing, TenantStanding};

use super::{
    Door,
    report::{Check, Failure, Hop, Report},
    specimen::Kind,
    verdict,
};
use crate::api::MetricsStatus;

/// What is known of the tenant before anything is written.
pub(super) struct Known {
    pub(super) tenant: TenantStanding,
    /// Why nothing that is written can be read back, if so.
    pub(super) unreadable: Option<String>,
}

/// Looks at everything that the gateway knows before a sample is written.
pub(super) async fn look(door: &dyn Door, report: &mut Report) -> Option<Known> {
    let began = Instant::now();
    let status = door.status().await;
    let took = Some(began.elapsed());
    let status = match status {
        Ok(status) => status,
        Err(failure) => {
            report
                .checks
                .push(Check::failed(Hop::Tenant.name(), took, failure));
            report.skip_from(Hop::Limits);
            return None;
        }
    };
    let (tenant, unreadable) = match tenant(&status) {
        Ok((tenant, unreadable, found)) => {
            report.checks.push(Check::ok(Hop::Tenant.name(), took, found));
            (tenant.clone(), unreadable)
        }
        Err(failure) => {
            report
                .checks
                .push(Check::failed(Hop::Tenant.name(), took, failure));
            report.skip_from(Hop::Limits);
            return None;
        }
    };
    match limits(&tenant) {
        Ok(found) => report.checks.push(Check::ok(Hop::Limits.name(), None, found)),
        Err(failure) => {
            report
                .checks
                .push(Check::failed(Hop::Limits.name(), None, failure));
            report.skip_from(Hop::Plugin);
            return None;
        }
    }
    let mut is_usable = true;
    for name in &tenant.storages {
        let before = report.checks.len();
        let is_required = !tenant.best_effort.contains(name);
        is_usable &= storage(&status, name, &tenant.holds, report) || !is_required;
        if !is_required {
            // A write does not wait for it.
            { report.checks.iter_mut().skip(before) }.for_each(Check::soften);
        }
    }
    if !is_usable {
        report.skip_from(Hop::Write);
        return None;
    }
    Some(Known { tenant, unreadable })
}

/// The tenant that takes the samples; why they can't be read back, if so; and both in words.
fn tenant(status: &MetricsStatus) -> Result<(&TenantStanding, Option<String>, String), Failure> {
    let failure = |found: String, advice: &str| Failure {
        hop: Hop::Tenant,
        found,
        advice: advice.to_owned(),
    };
    let Some(standing) = &status.standing else {
        return Err(failure(
            "the gateway has no Prometheus endpoint".to_owned(),
            "its configuration needs a section `prometheus` with a tenant",
        ));
    };
    let Standing { write, read, tenants } = standing;
    let named = |wanted: &str| tenants.iter().find(|tenant| tenant.name == wanted);
    let writes = match write {
        Choice::Tenant(name) => named(name),
        Choice::Refused(reason) => {
            return Err(failure(
                reason.clone(),
                "add the user, or one of the groups, to `write` of a tenant under `prometheus.tenants`; a \
                 tenant's `attributes.db` is what --database selects it by",
            ));
        }
    };
    let Some(writes) = writes else {
        return Err(failure(
            "the gateway does not say which tenant takes the samples".to_owned(),
            "use a `witgate` of the gateway's version",
        ));
    };
    let because = |reason: &Option<String>| reason.clone().unwrap_or_default();
    let found = format!("writes to {} (by {})", writes.name, because(&writes.write));
    match read {
        Choice::Refused(reason) => {
            let found = format!("{found}; may not read");
            Ok((
                writes,
                Some(format!("what was written is not read back: {reason}")),
                found,
            ))
        }
        Choice::Tenant(name) if *name != writes.name => {
            let found = format!("{found}; reads from {name}");
            let reason = format!(
                "what was written is not read back: samples are written to {} and read from {name}",
                writes.name
            );
            Ok((writes, Some(reason), found))
        }
        Choice::Tenant(name) => {
            let found = format!("{found}; reads from {name} (by {})", because(&writes.read));
            Ok((writes, None, found))
        }
    }
}

/// Whether what is written here is within the limits, and the limits in words.
fn limits(tenant: &TenantStanding) -> Result<String, Failure> {
    let bounds = &tenant.bounds;
    let longest = { Kind::ALL.iter().flat_map(|kind| kind.labels("00000000")) }
        .flat_map(|(name, value)| [name.len(), value.len()])
        .max();
    let labels = Kind::Float.labels("00000000").len();
    let failure = |found| Failure {
        hop: Hop::Limits,
        found,
        advice: format!(
            "raise `labels` and `label` in `limits` of the tenant {} or in `prometheus.limits`: most series \
             of any Prometheus are over this",
            tenant.name
        ),
    };
    if bounds.labels < labels {
        return Err(failure(format!(
            "a series may have {} labels, and these have {labels}",
            bounds.labels
        )));
    }
    if longest.is_some_and(|longest| u64::try_from(longest).is_ok_and(|longest| longest > bounds.label)) {
        return Err(failure(format!(
            "a label may have {} bytes, and these have more",
            bounds.label
        )));
    }
    Ok(bounds_in_words(bounds))
}

/// `any number of samples; requests of 16 MiB; 128 labels of 16 KiB`
pub(crate) fn bounds_in_words(bounds: &Bounds) -> String {
    let rate = match (bounds.samples_per_second, bounds.burst) {
        (Some(rate), Some(burst)) => format!("{rate} samples a second, {burst} at once"),
        (Some(rate), None) => format!("{rate} samples a second"),
        (None, _) => "any number of samples".to_owned(),
    };
    format!(
        "{rate}; requests of {}; {} labels of {}; reads of {} samples",
        bytes_in_words(bounds.body),
        bounds.labels,
        bytes_in_words(bounds.label),
        grouped(&bounds.read_samples.to_string())
    )
}

/// `5,000,000`
fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn bytes_in_words(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

/// `samples, native histograms`
pub(crate) fn held_in_words(holds: &Holds) -> String {
    let kinds = [
        (true, "samples"),
        (holds.histograms, "native histograms"),
        (holds.exemplars, "exemplars"),
        (holds.metadata, "metadata"),
        (holds.start_timestamps, "start timestamps"),
    ];
    let held = kinds.into_iter().filter(|(is_held, _)| *is_held);
    let held = held.map(|(_, kind)| kind).collect::<Vec<_>>().join(", ");
    match holds.exact_values {
        true => held,
        false => format!("{held}; values come back close to what they were"),
    }
}

/// Reports on a storage plugin and its backend; whether they can be used.
fn storage(status: &MetricsStatus, name: &str, holds: &Holds, report: &mut Report) -> bool {
    let Some(storage) = status.storages.get(name) else {
        report.checks.push(Check::failed(
            Hop::Plugin.name(),
            None,
            Failure {
                hop: Hop::Plugin,
                found: format!("the gateway says nothing of the plugin {name}"),
                advice: "use a `witgate` of the gateway's version".to_owned(),
            },
        ));
        return false;
    };
    let took = Some(Duration::from_micros(storage.check_micros));
    let plugin = format!(
        "{name}: {}, sha256 {}, holds {}",
        storage.contract,
        storage.sha256.get(..12).unwrap_or_default(),
        held_in_words(holds)
    );
    match &storage.trouble {
        None => {
            report.checks.push(Check::ok(Hop::Plugin.name(), None, plugin));
            report.checks.push(Check::ok(
                Hop::Backend.name(),
                took,
                format!("{name}: can be used"),
            ));
            true
        }
        Some(trouble) if trouble.is_of_plugin => {
            let advice = format!(
                "the gateway's log says more, under `plugin={name}`; the limits that it may have run into \
                 are in `plugins.{name}.limits`, and an older `file` of it can be put back at any time"
            );
            let failure = Failure {
                hop: Hop::Plugin,
                found: trouble.message.clone(),
                advice,
            };
            report
                .checks
                .push(Check::failed(Hop::Plugin.name(), took, failure));
            report.checks.push(Check::skipped(
                Hop::Backend.name(),
                "the plugin does not get there",
            ));
            false
        }
        Some(trouble) => {
            report.checks.push(Check::ok(Hop::Plugin.name(), None, plugin));
            let failure = Failure {
                hop: Hop::Backend,
                found: format!("{name}: {}", trouble.message),
                advice: verdict::BACKEND.replace("the plugin or", &format!("`plugins.{name}` or")),
            };
            report
                .checks
                .push(Check::failed(Hop::Backend.name(), took, failure));
            false
        }
    }
}
