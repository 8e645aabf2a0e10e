//! What an examination found, for people and for programs.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

/// A step on the way of a sample, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hop {
    /// To the gateway: its name, its port, its certificate.
    Reach,
    /// Who the sender is.
    Credential,
    /// Whose the samples are.
    Tenant,
    /// What the tenant may send.
    Limits,
    /// The storage plugin.
    Plugin,
    /// What the plugin stores samples in.
    Backend,
    /// What became of samples that were written.
    Write,
    /// What came back of them.
    Read,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// The storage can't hold it, and says so.
    Refused,
    /// Not looked at.
    Skipped,
    /// Not as it should be, and in nobody's way.
    Warning,
    /// Not as it should be.
    Failed,
}

/// One line of the findings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// A hop, or a kind of data.
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// Where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_at: Option<Hop>,
    #[serde(
        rename = "micros",
        skip_serializing_if = "Option::is_none",
        serialize_with = "micros"
    )]
    pub(crate) took: Option<Duration>,
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// All findings of one examination.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The gateway's URL.
    pub(crate) server: String,
    /// The value of the label [`super::RUN`] of everything that was written.
    pub(crate) run: String,
    pub(crate) checks: Vec<Check>,
}

/// Something that is not as it should be.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) hop: Hop,
    pub(crate) found: String,
    pub(crate) advice: String,
}

// === impl Hop ===

impl Hop {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Credential => "credential",
            Self::Tenant => "tenant",
            Self::Limits => "limits",
            Self::Plugin => "plugin",
            Self::Backend => "backend",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Its word in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

// === impl Check ===

impl Check {
    /// Something that is as it should be.
    pub(crate) fn ok(name: &'static str, took: Option<Duration>, found: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Ok,
            failed_at: None,
            took,
            found: found.into(),
            advice: None,
        }
    }

    /// Something that was not looked at, and why.
    pub(crate) fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            ..Self::ok(name, None, found)
        }
    }

    /// Something that is not as it should be.
    pub(crate) fn failed(name: &'static str, took: Option<Duration>, failure: Failure) -> Self {
        Self {
            outcome: Outcome::Failed,
            failed_at: Some(failure.hop),
            advice: Some(failure.advice),
            ..Self::ok(name, took, failure.found)
        }
    }

    /// Has a failure be a warning.
    pub(crate) fn soften(&mut self) {
        if self.outcome == Outcome::Failed {
            self.outcome = Outcome::Warning;
            self.failed_at = None;
        }
    }
}

// === impl Report ===

impl Report {
    /// The first thing that is not as it should be, and where.
    pub(crate) fn failure(&self) -> Option<(&Check, Hop)> {
        self.checks
            .iter()
            .find_map(|check| Some((check, check.failed_at?)))
    }

    /// What is not as it should be and in nobody's way, and what to do about it.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = (&Check, &str)> {
        let checks = { self.checks.iter() }.filter(|check| check.outcome == Outcome::Warning);
        checks.map(|check| (check, check.advice.as_deref().unwrap_or_default()))
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut report = serde_json::json!(self);
        if let Some(report) = report.as_object_mut() {
            let failure = self.failure();
            report.insert("ok".to_owned(), failure.is_none().into());
            report.insert(
                "failedAt".to_owned(),
                serde_json::json!(failure.map(|(_, hop)| hop)),
            );
        }
        report
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, outcome: &str, took: &str, found: &str| {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name:<13} {outcome:<8} {took:>9}  {found}");
        };
        row("CHECK", "RESULT", "TIME", "FOUND");
        for check in &self.checks {
            let took = check.took.map(milliseconds).unwrap_or_default();
            row(check.name, check.outcome.name(), &took, &check.found);
        }
        if let Some((check, hop)) = self.failure() {
            let advice = check.advice.as_deref().unwrap_or_default();
            let _ = write!(text, "\nIt fails at: {}\nWhat to do:  {advice}\n", hop.name());
        }
        for (check, advice) in self.warnings() {
            let _ = write!(text, "\nA warning:   {}\nWhat to do:  {advice}\n", check.found);
        }
        text
    }
}

/// `3.1 ms`
pub(crate) fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn micros<S: serde::Serializer>(took: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let took = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    serializer.serialize_some(&took)
}
