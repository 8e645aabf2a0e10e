//! What the API says, as text. What a newer gateway adds is left out, and nothing is demanded.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use witgate_plugins::recovery::Action;

/// `status`.
pub(super) fn status(status: &Value) -> String {
    let mut text = String::new();
    let number = |name: &str| status.get(name).and_then(Value::as_i64).unwrap_or(0);
    let left = match number("tolerance") {
        ..0 => "nothing can be written".to_owned(),
        left => format!("{left} more may fail"),
    };
    let _ = writeln!(
        text,
        "{} of {} voters are alive, {} are needed; {left}",
        number("alive"),
        number("voters"),
        number("quorum")
    );
    for member in list(status, "members") {
        let flag = |name: &str| member.get(name).and_then(Value::as_bool).unwrap_or(false);
        let role = match (flag("leads"), flag("learner")) {
            (true, _) => "leader",
            (_, true) => "learner",
            _ => "voter",
        };
        let (id, name, standing) = (
            field(member, "id"),
            field(member, "name"),
            field(member, "standing"),
        );
        let _ = writeln!(text, "  {id:16}  {name:20}  {role:7}  {standing}");
    }
    if let Some(snapshot) = status.get("newestSnapshot").filter(|found| !found.is_null()) {
        let (file, at) = (field(snapshot, "file"), time(snapshot, "at"));
        let _ = writeln!(text, "newest snapshot: {file} of {at}, {}", rehearsal(snapshot));
    }
    match status.get("escrow").filter(|found| !found.is_null()) {
        Some(escrow) => {
            let recipients = list(escrow, "recipients").iter().filter_map(Value::as_str);
            let recipients: Vec<_> = recipients.collect();
            let (node, at) = (field(escrow, "node"), time(escrow, "at"));
            let _ = writeln!(text, "escrow: of {node}, {at}, for {}", recipients.join(", "));
        }
        None => text.push_str("escrow: none, so no plan can let a node join: witgate recovery escrow\n"),
    }
    for plan in list(status, "plans") {
        let count = |name: &str| plan.get(name).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(
            text,
            "plan {:.16}  {:9}  {}/{}  {}",
            field(plan, "id"),
            field(plan, "progress"),
            count("done"),
            count("steps"),
            field(plan, "summary")
        );
    }
    text
}

fn rehearsal(snapshot: &Value) -> String {
    let at = |outcome| snapshot.pointer(&format!("/rehearsal/{outcome}"));
    match (at("restored"), at("failed")) {
        (Some(restored), _) => {
            let keys = restored.get("keys").and_then(Value::as_u64).unwrap_or(0);
            format!("restored on trial at {}: {keys} keys", time(restored, "at"))
        }
        (_, Some(failed)) => format!("CAN'T BE RESTORED: {}", field(failed, "reason")),
        _ => "not restored on trial".to_owned(),
    }
}

/// `diagnose`.
pub(super) fn diagnoses(diagnoses: &Value) -> String {
    let mut text = String::new();
    for diagnosis in diagnoses.as_array().into_iter().flatten() {
        let plugin = field(diagnosis, "plugin");
        if let Some(trouble) = diagnosis.get("trouble").and_then(Value::as_str) {
            let _ = writeln!(text, "{plugin} can't tell: {trouble}");
        }
        for finding in list(diagnosis, "findings") {
            let (class, severity) = (field(finding, "class"), field(finding, "severity"));
            let _ = writeln!(
                text,
                "{class}  {severity}  {}  ({plugin})",
                field(finding, "subject")
            );
            let _ = writeln!(text, "  {}", field(finding, "summary"));
            for evidence in list(finding, "evidence") {
                let (what, vantage) = (field(evidence, "what"), field(evidence, "vantage"));
                let _ = writeln!(text, "  - {what}, from {vantage}: {}", field(evidence, "raw"));
            }
        }
    }
    if text.is_empty() {
        text.push_str("nothing is wrong\n");
    }
    text
}

/// A plan and what has become of it.
pub(super) fn plan(dossier: &Value) -> String {
    let mut text = String::new();
    let (id, progress) = (field(dossier, "id"), field(dossier, "progress"));
    let proposal = dossier.pointer("/plan/proposal").unwrap_or(&Value::Null);
    let _ = writeln!(text, "plan {id}\n{}", field(proposal, "summary"));
    let plan = dossier.get("plan").unwrap_or(&Value::Null);
    let _ = writeln!(
        text,
        "asked for by {} at {}; {progress}",
        field(plan, "requester"),
        time(plan, "made")
    );
    for approval in list(dossier, "approvals") {
        let _ = writeln!(
            text,
            "approved by {}, until {}",
            field(approval, "by"),
            time(approval, "expires")
        );
    }
    let next = dossier.get("next").and_then(Value::as_u64).unwrap_or(0);
    for (number, step) in (0_u64..).zip(list(proposal, "steps")) {
        let mark = if number < next { "done" } else { "" };
        let action = action(step.get("action").unwrap_or(&Value::Null));
        let _ = writeln!(text, "{:4}. {mark:4}  {action}", number + 1);
        let _ = writeln!(text, "            {}", field(step, "reason"));
    }
    text
}

/// The steps of a dossier's plan.
pub(super) fn steps(dossier: &Value) -> &[Value] {
    dossier
        .pointer("/plan/proposal")
        .map_or(&[], |proposal| list(proposal, "steps"))
}

/// The entries of a dossier.
pub(super) fn entries(dossier: &Value) -> &[Value] {
    list(dossier, "entries")
}

/// One entry, in a line.
pub(super) fn entry(entry: &Value) -> String {
    let event = entry.get("event").unwrap_or(&Value::Null);
    let what = match event.as_object().and_then(|event| event.iter().next()) {
        Some((name, event)) => {
            let step = event.get("step").and_then(Value::as_u64).map(|step| step + 1);
            let step = step.map_or(String::new(), |step| format!(" step {step}"));
            let says = match name.as_str() {
                "intended" => action(event.get("action").unwrap_or(&Value::Null)),
                "done" => field(event, "detail").to_owned(),
                "stopped" => field(event, "reason").to_owned(),
                "started" => format!("by {}", field(event, "executor")),
                _ => String::new(),
            };
            format!("{name}{step}  {says}")
        }
        None => event.as_str().unwrap_or_default().to_owned(),
    };
    format!("{}  {}", time(entry, "at"), what.trim_end())
}

fn action(action: &Value) -> String {
    match serde_json::from_value::<Action>(action.clone()) {
        Ok(action) => action.to_string(),
        Err(_) => action.to_string(),
    }
}

fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn time(object: &Value, name: &str) -> String {
    let millis = object.get(name).and_then(Value::as_u64).unwrap_or(0);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}
