//! `witgate recovery`: what is wrong with a control plane, and the plans that repair it, for people.

mod bundle;
mod escrow;
mod joining;
mod shown;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderValue, header};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::{
        GatewayArgs,
        recovery::{ApplyArgs, PlanArgs, RecoveryArgs, RecoveryCommand},
    },
    remote_client::{Connection, Credential, Reply},
};

/// How often is looked how far a plan has come.
const LOOK: Duration = Duration::from_secs(1);

const BASE: &str = "/gateway/v1/recovery";

/// A gateway that repairs a control plane.
struct Desk {
    connection: Connection,
    credential: Credential,
    json: bool,
}

/// Runs one of the commands.
pub(crate) async fn run(command: &RecoveryCommand) -> anyhow::Result<()> {
    match command {
        RecoveryCommand::Status(args) => {
            let desk = Desk::new(args).await?;
            desk.show(&desk.get("").await?, shown::status)
        }
        RecoveryCommand::Diagnose(args) => {
            let desk = Desk::new(args).await?;
            desk.show(&desk.post("/diagnose", &json!({})).await?, shown::diagnoses)
        }
        RecoveryCommand::Plan { args, class, subject } => {
            let desk = Desk::new(args).await?;
            let asked = json!({"class": class, "subject": subject});
            desk.show(&desk.post("/plans", &asked).await?, shown::plan)
        }
        RecoveryCommand::Show(plan) => {
            let desk = Desk::new(&plan.args).await?;
            desk.show(&desk.get(&path(plan, "")?).await?, shown::plan)
        }
        RecoveryCommand::Approve(plan) => act(plan, "/approve", &json!({})).await,
        RecoveryCommand::Apply(args) | RecoveryCommand::Resume(args) => carry_out(args).await,
        RecoveryCommand::Confirm { plan, step } => {
            let step = step.checked_sub(1).context("steps are counted from 1")?;
            act(plan, "/confirm", &json!({"step": step})).await
        }
        RecoveryCommand::Abandon { plan, reason } => act(plan, "/abandon", &json!({"reason": reason})).await,
        RecoveryCommand::Escrow(args) => escrow::run(args).await,
        RecoveryCommand::Journal(args) => {
            let entries = Desk::new(args).await?.get("/journal").await?;
            for entry in entries.as_array().into_iter().flatten() {
                println!("{entry}");
            }
            Ok(())
        }
        RecoveryCommand::Bundle(args) => bundle::print(&Desk::new(args).await?).await,
        RecoveryCommand::Verify { file } => bundle::verify(file),
    }
}

async fn act(plan: &PlanArgs, action: &str, body: &Value) -> anyhow::Result<()> {
    let desk = Desk::new(&plan.args).await?;
    desk.show(&desk.post(&path(plan, action)?, body).await?, shown::plan)
}

/// Has a plan carried out and prints what happens, until it ends or stops.
async fn carry_out(ApplyArgs { plan, identity }: &ApplyArgs) -> anyhow::Result<()> {
    let desk = Desk::new(&plan.args).await?;
    let before = desk.get(&path(plan, "")?).await?;
    let mut printed = shown::entries(&before).len();
    let invitation = joining::invite(&desk, &before, identity.as_deref()).await?;
    let with = match &invitation {
        Some(invitation) => json!({"join": invitation.admission()}),
        None => json!({}),
    };
    let mut dossier = desk.post(&path(plan, "/apply")?, &with).await?;
    loop {
        let entries = shown::entries(&dossier);
        for entry in entries.iter().skip(printed) {
            let line = shown::entry(entry);
            let told = invitation
                .as_ref()
                .and_then(|invitation| invitation.write_into(&line));
            println!(
                "{}",
                told.as_ref().map_or(line.as_str(), ExposeSecret::expose_secret)
            );
        }
        printed = entries.len();
        match dossier.get("progress").and_then(Value::as_str) {
            Some("finished") => return Ok(()),
            Some("running") => {}
            _ => bail!(
                "the plan has stopped. When that is put right: witgate recovery resume {}",
                plan.id
            ),
        }
        tokio::time::sleep(LOOK).await;
        dossier = desk.get(&path(plan, "")?).await?;
    }
}

fn path(plan: &PlanArgs, action: &str) -> anyhow::Result<String> {
    let digits = plan.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(
        digits && !plan.id.is_empty(),
        "{:?} is no plan's id: it has hexadecimal digits",
        plan.id
    );
    Ok(format!("/plans/{}{action}", plan.id))
}

impl Desk {
    async fn new(args: &RecoveryArgs) -> anyhow::Result<Self> {
        Ok(Self {
            json: args.json,
            ..Self::at(&args.gateway).await?
        })
    }

    async fn at(gateway: &GatewayArgs) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::new(gateway)?,
            credential: Credential::of(gateway).await?,
            json: false,
        })
    }

    fn show(&self, answer: &Value, text: fn(&Value) -> String) -> anyhow::Result<()> {
        if self.json {
            println!("{answer:#}");
        } else {
            print!("{}", text(answer));
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let path = format!("{BASE}{path}");
        let reply = self
            .connection
            .get(&path, &self.credential, HeaderMap::new())
            .await?;
        answered(&reply)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("{BASE}{path}");
        let (headers, body) = json_body(body)?;
        let reply = self
            .connection
            .post(&path, &self.credential, headers, body)
            .await?;
        answered(&reply)
    }

    async fn put(&self, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        let path = format!("{BASE}{path}");
        let (headers, body) = json_body(body)?;
        let reply = self
            .connection
            .put(&path, &self.credential, headers, body)
            .await?;
        done(&reply)
    }
}

fn json_body(body: &impl Serialize) -> anyhow::Result<(HeaderMap, Vec<u8>)> {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((HeaderMap::from_iter([kind]), serde_json::to_vec(body)?))
}

fn answered(reply: &Reply) -> anyhow::Result<Value> {
    done(reply)?;
    serde_json::from_slice(&reply.body).context("the gateway's answer can't be read")
}

fn done(reply: &Reply) -> anyhow::Result<()> {
    ensure!(reply.status.is_success(), "{}: {}", reply.status, reply.line());
    Ok(())
}
