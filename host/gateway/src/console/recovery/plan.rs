//! A plan: what it repairs, what each step changes, who agreed, and how far it is.

use std::time::UNIX_EPOCH;

use maud::{Markup, html};
use witgate_identity::Principal;
use witgate_plugins::recovery::{Action, Step};
use witgate_recovery::{Dossier, Event, Outlook, Progress};

use super::{journal, moment, overview, progress};
use crate::recovery::Recovery;

pub(super) fn content(recovery: &Recovery, dossier: &Dossier, principal: &Principal) -> Markup {
    let plan = &dossier.plan;
    let (class, severity) = overview::severity(plan.finding.severity);
    html! {
        section aria-labelledby="plan" {
            h1 id="plan" { (plan.proposal.summary) }
            table class="facts" {
                tr { th scope="row" { "State" } td role="status" {
                    (progress(dossier.progress)) ", " (dossier.next) " of " (plan.proposal.steps.len()) " steps done"
                    @if dossier.progress == Progress::Running { span class="quiet" { "; this page comes again every 3 seconds meanwhile" } }
                    @if let Some(reason) = stopped(dossier) { br; span role="alert" class="bad wrap" { (reason) } }
                } }
                tr { th scope="row" { "Repairs" } td {
                    span class={ "here " (class) } { (severity) } " " (plan.finding.class) ": " (plan.finding.subject)
                    br; (plan.finding.summary)
                    (overview::evidence(&plan.finding.evidence))
                } }
                tr { th scope="row" { "Asked for by" } td { (plan.requester) ", " (moment(plan.made)) } }
                tr { th scope="row" { "Proposed by" } td { (plan.planner.plugin) " " span class="quiet" { "of digest " code { (plan.planner.sha256.get(..16).unwrap_or_default()) "…" } } } }
                tr { th scope="row" { "Id" } td { code { (dossier.id) } } }
            }
            p { a href="/recovery" { "To the control plane" } }
        }
        (people(recovery, dossier, principal))
        (steps(recovery, dossier))
        section aria-labelledby="journal" {
            h2 id="journal" { "What happened" }
            (journal::table(&dossier.entries, false))
        }
    }
}

/// Why it stopped, while it is.
fn stopped(dossier: &Dossier) -> Option<String> {
    let last = dossier.entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Stopped { step, reason, .. } => Some(format!("Step {}: {reason}", step + 1)),
        _ => None,
    });
    last.filter(|_| dossier.progress == Progress::Stopped)
}

fn people(recovery: &Recovery, dossier: &Dossier, principal: &Principal) -> Markup {
    let (plan, policy) = (&dossier.plan, recovery.policy());
    let needed = plan.approvals_needed(policy);
    let may_approve = plan.may_be_approved_by(&principal.user, policy);
    html! {
        section aria-labelledby="people" {
            h2 id="people" { "Who agrees" }
            @if dossier.approvals.is_empty() { p { "Nobody yet." } } @else {
                table {
                    thead { tr { th scope="col" { "Who" } th scope="col" { "When" } th scope="col" { "Until" } } }
                    tbody {
                        @for approval in &dossier.approvals {
                            tr {
                                td data-label="Who" { (approval.by) }
                                td data-label="When" { (moment(approval.at)) }
                                td data-label="Until" { (moment(approval.expires)) }
                            }
                        }
                    }
                }
            }
            @if !dossier.is_over() {
                p class="quiet" {
                    "It takes " (needed) @if needed == 1 { " approval" } @else { " approvals" }
                    " of exactly this plan"
                    @if !policy.requester_approves { ", and " (plan.requester) "'s does not count" }
                    ". The control plane is compared with what the plan expects then, and before each step."
                }
                div class="act" {
                    @match may_approve {
                        Ok(()) => form method="post" action={ "/recovery/plans/" (dossier.id) "/approve" } { button type="submit" { "Approve this plan" } },
                        Err(violation) => span { "You can't approve it: " (violation.says) "." },
                    }
                }
                (carry_out(recovery, dossier))
            }
        }
    }
}

/// The buttons that have it carried out, and given up.
fn carry_out(recovery: &Recovery, dossier: &Dossier) -> Markup {
    let now = UNIX_EPOCH
        .elapsed()
        .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let approved = dossier
        .plan
        .is_approved(recovery.policy(), &dossier.approvals, now);
    let steps = &dossier.plan.proposal.steps;
    let mut left = steps.iter().skip(dossier.next);
    let lets_in = left.any(|step| matches!(step.action, Action::MintJoinMaterial(_)));
    let next = steps.get(dossier.next).map(|step| &step.action);
    let word = if dossier.next == 0 {
        "Carry it out"
    } else {
        "Go on with it"
    };
    html! {
        @if let Some(Action::ByHand(_)) = next {
            form method="post" action={ "/recovery/plans/" (dossier.id) "/confirm" } class="act" {
                input type="hidden" name="step" value=(dossier.next);
                button type="submit" class="second" { "Step " (dossier.next + 1) " is done" }
                span class="quiet" { "say so when it is; then go on with the plan" }
            }
        }
        @if let Err(violation) = approved {
            p { "It can be carried out when it is approved: " (violation.says) "." }
        } @else if lets_in {
            p { "It lets a node join, with what only the person who applies it may see. Carry it out on a machine of yours, with the key that opens the escrow:" }
            pre { code { "witgate recovery apply --server URL --identity FILE " (dossier.id.label()) } }
        } @else {
            form method="post" action={ "/recovery/plans/" (dossier.id) "/apply" } class="act" {
                button type="submit" { (word) }
                @if dossier.begun { span class="quiet" { "step " (dossier.next + 1) " was begun; what became of it is looked at first" } }
            }
        }
        form method="post" action={ "/recovery/plans/" (dossier.id) "/abandon" } class="act" {
            label for="reason" { "Give it up, because" }
            input id="reason" name="reason" required autocomplete="off";
            button type="submit" class="second" { "Give it up" }
        }
    }
}

fn steps(recovery: &Recovery, dossier: &Dossier) -> Markup {
    let outlook = dossier.plan.outlook(recovery.policy().silence);
    let steps = dossier.plan.proposal.steps.iter().zip(&outlook).enumerate();
    html! {
        section aria-labelledby="steps" {
            h2 id="steps" { "Steps, and what each changes" }
            ol class="plain" { @for (number, (step, outlook)) in steps { (self::step(dossier, number, step, outlook)) } }
        }
    }
}

fn step(dossier: &Dossier, number: usize, step: &Step, outlook: &Outlook) -> Markup {
    let (class, state) = match number.cmp(&dossier.next) {
        std::cmp::Ordering::Less => ("good", "done"),
        std::cmp::Ordering::Equal if dossier.begun => ("", "begun"),
        std::cmp::Ordering::Equal if !dossier.is_over() => ("", "next"),
        _ => ("quiet", "not yet"),
    };
    html! {
        li class="step" {
            h3 { (number + 1) ". " (step.action) " " span class={ "here " (class) } { (state) } }
            p class="quiet" { (step.reason) }
            @for (when, conditions) in [("Before", &step.before), ("Afterwards", &step.after)] {
                @for condition in conditions { p class="quiet" { (when) " it has to hold that " (condition) "." } }
            }
            @match &step.action {
                Action::ByHand(instruction) => {
                    p { "What comes of it can't be foretold. On " strong { (instruction.machine) } ":" }
                    @if !instruction.commands.is_empty() { pre { code { @for command in &instruction.commands { (command) "\n" } } } }
                },
                _ if outlook.gone.is_empty() && outlook.come.is_empty() => p class="quiet" { "Nothing that is looked at is different afterwards." },
                _ => ul class="plain diff" aria-label="What is different afterwards" {
                    @for line in &outlook.gone { li { del { span aria-hidden="true" { "− " } span class="hidden" { "gone: " } (line) } } }
                    @for line in &outlook.come { li { ins { span aria-hidden="true" { "+ " } span class="hidden" { "new: " } (line) } } }
                },
            }
        }
    }
}
