//! The control plane as it is, what is wrong with it, and the plans.

use maud::{Markup, html};
use witgate_plugins::recovery::{Evidence, Finding, Member, Seen, Severity};
use witgate_recovery::{Observation, Rehearsal, Standing};

use super::{link, moment, progress};
use crate::recovery::{Diagnosis, PlanStatus, Recovery, RepairError, Status};

/// Snapshots that are listed: older ones are in the bundle.
const SNAPSHOTS: usize = 5;

pub(super) fn content(
    recovery: &Recovery,
    status: &Result<Status, RepairError>,
    diagnoses: &[Diagnosis],
    plans: &[PlanStatus],
) -> Markup {
    html! {
        @match status {
            Ok(status) => (members(recovery, status)),
            Err(error) => section aria-labelledby="members" {
                h1 id="members" { "Control plane" }
                p role="alert" class="bad" { (error) }
            },
        }
        (findings(diagnoses))
        (list(plans))
        @if let Ok(status) = status { (snapshots(status)) }
        section aria-labelledby="record" {
            h2 id="record" { "For the record" }
            p { "The incident bundle has all that is known: what is seen and found now, the plans, approvals, the list of snapshots, and the whole journal, which " code { "witgate recovery verify incident.json" } " checks without this gateway. There is no secret in it." }
            p class="act" {
                a class="button" href="/recovery/bundle" download="incident.json" { "Download the incident bundle" }
                a href="/recovery/journal" { "Read the journal" }
            }
            p { a href="/" { "Back" } }
        }
    }
}

fn members(recovery: &Recovery, status: &Status) -> Markup {
    let seen = &status.observation;
    let class = if status.tolerance > 0 {
        "good wrap"
    } else {
        "bad wrap"
    };
    html! {
        section aria-labelledby="members" {
            h1 id="members" { "Control plane" }
            p {
                strong class=(class) { (status.alive) " of " (status.voters) " voters are alive" }
                ", " (status.quorum) " are needed; "
                @if status.tolerance < 0 { "nothing can be written" } @else { (status.tolerance) " more may fail" }
                "."
            }
            @if !seen.survey.confirmed { p class="bad" { "No quorum confirmed this list of members." } }
            table {
                caption class="hidden" { "Members of etcd, and who sees them" }
                thead { tr {
                    th scope="col" { "Member" } th scope="col" { "Role" } th scope="col" { "Is" }
                    th scope="col" { "Seen from" }
                } }
                tbody { @for member in &seen.survey.members { (row(recovery, seen, member)) } }
            }
            @for alarm in &seen.survey.alarms { p role="alert" class="bad" { "Alarm: " (alarm) } }
            p class="quiet" {
                @match &seen.kubernetes {
                    Some(seen) => {
                        (seen.nodes.iter().filter(|node| node.ready).count()) " of " (seen.nodes.len()) " Nodes are ready. "
                    },
                    None => { "No apiserver answers, or none is configured. " },
                }
                "Looked at " (moment(seen.at)) "."
            }
        }
    }
}

fn row(recovery: &Recovery, seen: &Observation, member: &Member) -> Markup {
    let silence = recovery.policy().silence;
    let standing = seen.standing(member, u64::try_from(silence.as_millis()).unwrap_or(u64::MAX));
    let class = match standing {
        Standing::Alive => "good",
        Standing::Dead => "bad",
        Standing::Unknown => "",
    };
    let sightings = seen.survey.sightings.iter();
    let sightings = sightings.filter(|sighting| sighting.member == member.id);
    html! {
        tr {
            th scope="row" {
                @if member.name.is_empty() { "(never started)" } @else { (member.name) }
                br; code class="quiet" { (member.id) }
            }
            td data-label="Role" {
                @if seen.leader() == Some(member.id) { "leader" }
                @else if member.learner { "learner" }
                @else { "voter" }
            }
            td data-label="Is" {
                span {
                    span class=(class) { (standing.word()) }
                    @if let Some(since) = member.silent_since { br; span class="quiet" { "silent since " (moment(since)) } }
                }
            }
            td data-label="Seen from" {
                ul class="plain" {
                    @for sighting in sightings {
                        li {
                            (sighting.vantage) ": "
                            span class=(match sighting.seen { Seen::Answers => "good", Seen::Silent => "bad", Seen::Unknown => "quiet" }) { (sighting.seen.word()) }
                            @if sighting.seen != Seen::Answers { br; code class="quiet" { (sighting.raw) } }
                        }
                    }
                }
            }
        }
    }
}

fn findings(diagnoses: &[Diagnosis]) -> Markup {
    let count: usize = diagnoses.iter().map(|diagnosis| diagnosis.findings.len()).sum();
    let troubled = diagnoses.iter().any(|diagnosis| diagnosis.trouble.is_some());
    html! {
        section aria-labelledby="findings" {
            h2 id="findings" { "What is wrong" }
            @if count == 0 && !troubled { p class="good wrap" { "Nothing that the plugins look for." } }
            @for diagnosis in diagnoses {
                @if let Some(trouble) = &diagnosis.trouble {
                    p role="alert" class="bad" { (diagnosis.plugin) " can't tell: " (trouble) }
                }
                @for finding in &diagnosis.findings { (self::finding(&diagnosis.plugin, finding)) }
            }
        }
    }
}

fn finding(plugin: &str, finding: &Finding) -> Markup {
    let (class, word) = severity(finding.severity);
    html! {
        article {
            h3 { span class={ "here " (class) } { (word) } " " (finding.class) ": " (finding.subject) }
            p { (finding.summary) }
            (evidence(&finding.evidence))
            form method="post" action="/recovery/plans" class="act" {
                input type="hidden" name="class" value=(finding.class);
                input type="hidden" name="subject" value=(finding.subject);
                button type="submit" aria-label={ "Ask for a plan for " (finding.class) " of " (finding.subject) } { "Ask for a plan" }
                span class="quiet" { "found by " (plugin) "; nothing is changed by asking" }
            }
        }
    }
}

pub(super) fn severity(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Notice => ("quiet", "notice"),
        Severity::Degraded => ("bad", "degraded"),
        Severity::Critical => ("bad", "critical"),
    }
}

pub(super) fn evidence(evidence: &[Evidence]) -> Markup {
    html! {
        details {
            summary { "Evidence: " (evidence.len()) " observations" }
            table {
                thead { tr {
                    th scope="col" { "Observed" } th scope="col" { "From" } th scope="col" { "At" }
                    th scope="col" { "As it was" }
                } }
                tbody {
                    @for evidence in evidence {
                        tr {
                            td data-label="Observed" { (evidence.what) }
                            td data-label="From" { (evidence.vantage) }
                            td data-label="At" { (moment(evidence.at)) }
                            td data-label="As it was" { code { (evidence.raw) } }
                        }
                    }
                }
            }
        }
    }
}

fn list(plans: &[PlanStatus]) -> Markup {
    html! {
        section aria-labelledby="plans" {
            h2 id="plans" { "Plans" }
            @if plans.is_empty() { p class="quiet" { "There are none." } } @else {
                table {
                    thead { tr {
                        th scope="col" { "Plan" } th scope="col" { "What it does" } th scope="col" { "Asked for by" }
                        th scope="col" { "State" } th scope="col" class="number" { "Steps done" }
                    } }
                    tbody {
                        @for plan in plans.iter().rev() {
                            tr {
                                td data-label="Plan" { (link(&plan.id)) }
                                td data-label="What it does" { (plan.summary) }
                                td data-label="Asked for by" { (plan.requester) }
                                td data-label="State" { (progress(plan.progress)) }
                                td data-label="Steps done" class="number" { (plan.done) " of " (plan.steps) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn snapshots(status: &Status) -> Markup {
    let seen = &status.observation;
    let newest = status.newest_snapshot.as_ref();
    html! {
        section aria-labelledby="snapshots" {
            h2 id="snapshots" { "Newest snapshots" }
            @match newest.and_then(|newest| newest.rehearsal.as_ref()) {
                Some(Rehearsal::Restored { at, keys, .. }) => p class="good wrap" {
                    "The newest was restored on trial: " (keys) " keys, " (moment(*at)) "."
                },
                Some(Rehearsal::Failed { at, reason }) => p role="alert" class="bad" {
                    "The newest can't be restored: " (reason) ", " (moment(*at)) "."
                },
                None if newest.is_some() => p class="quiet" { "The newest was not restored on trial." },
                None => {},
            }
            @if seen.snapshots.is_empty() { p class="bad" { "There is none: what can't be undone has nothing behind it." } } @else {
                table {
                    thead { tr {
                        th scope="col" { "Taken" } th scope="col" { "File" } th scope="col" class="number" { "Revision" }
                        th scope="col" { "Digest" }
                    } }
                    tbody {
                        @for snapshot in seen.snapshots.iter().rev().take(SNAPSHOTS) {
                            tr {
                                td data-label="Taken" { (moment(snapshot.at)) }
                                td data-label="File" { code { (snapshot.file) } }
                                td data-label="Revision" class="number" { (snapshot.revision) }
                                td data-label="Digest" {
                                    @if snapshot.verified { span class="good" { "verified" } } @else { span class="bad" { "not verified" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
