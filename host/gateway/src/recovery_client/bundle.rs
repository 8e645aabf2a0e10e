//! `witgate recovery bundle` and `witgate recovery verify`.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context, ensure};
use http::HeaderMap;

use super::{BASE, Desk};
use crate::recovery::Bundle;

/// Prints the bundle as it came, and then checks it: of one that does not hold people want the text too.
pub(super) async fn print(desk: &Desk) -> anyhow::Result<()> {
    let path = format!("{BASE}/bundle");
    let reply = desk
        .connection
        .get(&path, &desk.credential, HeaderMap::new())
        .await?;
    ensure!(reply.status.is_success(), "{}: {}", reply.status, reply.line());
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&reply.body)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Bundle::check(&reply.body).context("the bundle that was printed does not hold")?;
    Ok(())
}

/// Checks a bundle by itself.
pub(super) fn verify(file: &Path) -> anyhow::Result<()> {
    let text = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    let bundle = Bundle::check(&text).with_context(|| format!("{} does not hold", file.display()))?;
    println!(
        "{} journal entries follow one another, and {} plans are what was approved",
        bundle.journal.entries.len(),
        bundle.plans.len()
    );
    for trouble in &bundle.troubles {
        println!("when it was made: {trouble}");
    }
    Ok(())
}
