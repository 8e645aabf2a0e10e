//! What a node joins with, made where the plan is applied: the gateway gets nothing that opens it.

use std::path::Path;

use anyhow::{Context, bail};
use secrecy::SecretString;
use serde_json::Value;
use witgate_recovery::{Escrow, Invitation};

use super::{Desk, shown};

/// Opens the escrow for a plan that still has to let a node join; none for another one.
pub(super) async fn invite(
    desk: &Desk,
    dossier: &Value,
    identity: Option<&Path>,
) -> anyhow::Result<Option<Invitation>> {
    let next = dossier.get("next").and_then(Value::as_u64).unwrap_or(0);
    let mut left = (0_u64..)
        .zip(shown::steps(dossier))
        .skip_while(|(number, _)| *number < next);
    let Some((step, _)) = left.find(|(_, step)| step.pointer("/action/mintJoinMaterial").is_some()) else {
        return Ok(None);
    };
    let Some(identity) = identity else {
        bail!(
            "step {} lets a node join: name the file with your age secret key with --identity, to open the escrow",
            step + 1
        );
    };
    let escrow: Escrow =
        serde_json::from_value(desk.get("/escrow").await?).context("the escrow can't be read")?;
    let file = || identity.display().to_string();
    let key: SecretString = std::fs::read_to_string(identity)
        .with_context(|| format!("{}: can't be read", file()))?
        .into();
    let files = escrow.open(&key).with_context(file)?;
    Ok(Some(Invitation::new(&files)?))
}
