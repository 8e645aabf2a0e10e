//! `witgate plugin inspect`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::Path,
};

use anyhow::{Context, anyhow};
use witgate_plugins::{Import, Inspection, Owner, Spoken};

use super::name;

pub(super) async fn run(file: &Path, json: bool) -> anyhow::Result<()> {
    let found = Inspection::read(file)
        .await
        .map_err(|problem| anyhow!("{}: {problem}", file.display()))?;
    if json {
        println!("{:#}", serde_json::to_value(&found)?);
    } else {
        print!("{}", shown(file, &found).context("it can't be shown")?);
    }
    Ok(())
}

/// What a component speaks: `a claims plugin (witgate:claims 0.1.0)`.
pub(super) struct Speaks<'a>(pub(super) Option<&'a Spoken>);

impl fmt::Display for Speaks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spoken) = self.0 else {
            return write!(f, "no plugin: plugins export {}", Inspection::contracts());
        };
        let kind = spoken.kind;
        let version = spoken.version.as_deref().unwrap_or("without a version");
        write!(f, "a {kind} plugin (witgate:{kind} {version})")?;
        if spoken.offered {
            return Ok(());
        }
        write!(
            f,
            "; this gateway does not speak that version: it speaks {}",
            Inspection::contracts()
        )
    }
}

fn shown(file: &Path, found: &Inspection) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{}: {}", file.display(), Speaks(found.contract.as_ref()))?;
    writeln!(out, "  built with  {}", found.built_with())?;
    if found.sdk.is_some() {
        writeln!(out, "  tools       {}", found.tools())?;
    }
    writeln!(out, "  size        {} bytes", found.size)?;
    writeln!(out, "  sha256      {}", found.sha256)?;
    for (owner, title) in [
        (Owner::Witgate, "wants of the gateway"),
        (Owner::Wasi, "wants of WASI"),
        (Owner::Other, "wants of nobody here"),
    ] {
        let imports = found.imports.iter().filter(|import| import.owner == owner);
        let lines = by_package(imports);
        if !lines.is_empty() {
            writeln!(out, "  {title}")?;
        }
        for line in lines {
            writeln!(out, "    {line}")?;
        }
    }
    writeln!(out, "  exports")?;
    for export in &found.exports {
        writeln!(out, "    {export}")?;
    }
    if let Some(contract) = &found.contract {
        write!(out, "\n{}", configuration(file, found, contract)?)?;
    }
    Ok(out)
}

/// One line for each import that there is something to say about, and one for what else is of a package.
fn by_package<'a>(imports: impl Iterator<Item = &'a Import>) -> Vec<String> {
    let (mut lines, mut plain) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
    for Import {
        name, missing, grant, ..
    } in imports
    {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = interface.split_once('/').unwrap_or((interface, ""));
        match missing {
            Some(reason) => lines.push(format!("{name}  ({reason})")),
            None if !grant.is_empty() => lines.push(format!("{name}  (has to be granted)")),
            None => plain.entry((package, version)).or_default().push(interface),
        }
    }
    let plain = plain.into_iter();
    lines.extend(
        plain.map(|((package, version), interfaces)| {
            format!("{package}@{version}: {}", interfaces.join(", "))
        }),
    );
    lines
}

/// The plugin's section of a configuration. What it wants to be granted stands there as comments: that
/// is for its operator to decide.
fn configuration(file: &Path, found: &Inspection, contract: &Spoken) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(out, "# To use it, put this into the gateway's configuration:")?;
    writeln!(out, "plugins:\n  {}:", name(file))?;
    writeln!(out, "    kind: {}", contract.kind)?;
    writeln!(out, "    file: {:?}", file.display().to_string())?;
    writeln!(out, "    sha256: {}", found.sha256)?;
    let wanted: Vec<_> = { found.imports.iter() }
        .filter(|import| !import.grant.is_empty())
        .collect();
    if wanted.is_empty() {
        return Ok(out);
    }
    writeln!(
        out,
        "    # It is loaded only with these, which are yours to decide on."
    )?;
    writeln!(out, "    # grants:")?;
    for import in wanted {
        writeln!(out, "    #   # for {}", import.name)?;
        for line in import.grant {
            writeln!(out, "    #   {line}")?;
        }
    }
    Ok(out)
}
