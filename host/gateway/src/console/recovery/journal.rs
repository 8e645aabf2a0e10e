//! The journal, as people read it.

use maud::{Markup, html};
use witgate_recovery::{Completion, Entry, Event};

use super::{link, moment};

/// Entries of the page. The bundle has all of them.
const NEWEST: usize = 500;

pub(super) fn content(entries: &[Entry]) -> Markup {
    let skipped = entries.len().saturating_sub(NEWEST);
    html! {
        section aria-labelledby="journal" {
            h1 id="journal" { "Journal" }
            p { span class="good wrap" { "All " (entries.len()) " entries follow one another" } ": each holds the digest of the one before." }
            @if skipped > 0 { p class="quiet" { "The newest " (NEWEST) " are shown; the incident bundle has all of them." } }
            @if let Some(shown) = entries.get(skipped..) { (table(shown, true)) }
            p { a href="/recovery" { "To the control plane" } }
        }
    }
}

/// Entries, oldest first.
pub(super) fn table(entries: &[Entry], of_all: bool) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" class="number" { "No." } th scope="col" { "When" }
                @if of_all { th scope="col" { "Plan" } }
                th scope="col" { "What" }
            } }
            tbody {
                @for entry in entries {
                    tr {
                        td data-label="No." class="number" { (entry.number) }
                        td data-label="When" { (moment(entry.at)) }
                        @if of_all { td data-label="Plan" { (link(&entry.plan)) } }
                        td data-label="What" { (said(&entry.event)) }
                    }
                }
            }
        }
    }
}

/// What happened, in words.
fn said(event: &Event) -> String {
    match event {
        Event::Planned { plan } => format!("{} asked for it: {}", plan.requester, plan.proposal.summary),
        Event::Approved { approval } => format!("{} approved it", approval.by),
        Event::Started { executor, .. } => format!("{executor} has it carried out"),
        Event::Intended { step, action, .. } => format!("step {} begins: {action}", step + 1),
        Event::Confirmed { step, by } => format!("{by} says that step {} is done", step + 1),
        Event::Done {
            step, how, detail, ..
        } => {
            let how = match how {
                Completion::Taken => "is done",
                Completion::FoundDone => "was done already",
            };
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!(": {detail}")
            };
            format!("step {} {how}{detail}", step + 1)
        }
        Event::Stopped { step, reason, .. } => format!("stopped at step {}: {reason}", step + 1),
        Event::Finished => "all steps are done".to_owned(),
        Event::Abandoned { by, reason } => format!("{by} gave it up: {reason}"),
    }
}
