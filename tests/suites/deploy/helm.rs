//! helm, untouched by the developer's own configuration.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use witgate_lab::Component;

pub(crate) struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// For a cluster, or for none.
    pub(crate) fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self {
            program: Component::Helm.find("helm").unwrap(),
            home: tempfile::tempdir().unwrap(),
            kubeconfig,
        }
    }

    /// What it prints, or why it fails. The chart comes after `args`, and then the values.
    pub(crate) async fn run(&self, args: &[&str], values: &Value, more: &[&str]) -> Result<String, String> {
        let file = self.home.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg(chart())
            .arg("--values")
            .arg(file)
            .args(more);
        command.env("HOME", self.home.path()).kill_on_drop(true);
        let nowhere = PathBuf::from("/dev/null");
        command.env("KUBECONFIG", self.kubeconfig.as_ref().unwrap_or(&nowhere));
        let output = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout);
        if output.status.success() {
            Ok(said)
        } else {
            Err(said + &text(&output.stderr))
        }
    }

    /// The objects that these values make.
    pub(crate) async fn objects(&self, values: &Value) -> Result<Vec<Value>, String> {
        let printed = self.run(&["template", "witgate"], values, &[]).await?;
        let documents = printed.split("\n---").map(|text| text.trim_start_matches("---"));
        let objects = documents.map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        Ok(objects.filter(|object| !object.is_null()).collect())
    }
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/chart/witgate")
}

/// The one object of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next();
    assert!(found.next().is_none(), "there are several of {kind}");
    first
}
