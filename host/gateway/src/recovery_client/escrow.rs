//! `witgate recovery escrow`: a control-plane node's authorities, sealed for operators.

use std::{
    io::Read as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde_json::json;
use witgate_recovery::{Escrow, Files};

use super::Desk;
use crate::cli::recovery::EscrowArgs;

/// More is no escrow.
const LARGE: u64 = 1 << 20;

const HOSTNAME: &str = "/proc/sys/kernel/hostname";

pub(super) async fn run(args: &EscrowArgs) -> anyhow::Result<()> {
    if let (Some(node), Some(image)) = (&args.job, &args.image) {
        print!("{}", job(args, node, image)?);
        return Ok(());
    }
    let escrow = match &args.from {
        Some(file) => {
            let text = read(file).with_context(|| format!("{}: can't be read", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{}: is no escrow", file.display()))?
        }
        None => seal(args)?,
    };
    if args.print {
        println!("{}", serde_json::to_string(&escrow)?);
        return Ok(());
    }
    let gateway = args.gateway.as_ref();
    let gateway =
        gateway.context("nothing says which gateway keeps it: name one with --server, or --print it")?;
    Desk::at(gateway).await?.put("/escrow", &escrow).await?;
    println!(
        "the authorities of {} are in escrow at {}; they are opened by who has the secret key of {}",
        escrow.node,
        gateway.server,
        escrow.recipients.join(", ")
    );
    Ok(())
}

fn seal(args: &EscrowArgs) -> anyhow::Result<Escrow> {
    let node = match &args.node {
        Some(node) => node.clone(),
        None => {
            let name =
                std::fs::read_to_string(HOSTNAME).with_context(|| format!("{HOSTNAME}: can't be read"))?;
            // As kubelet does.
            name.trim().to_lowercase()
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let files = Files::read(&args.pki)?;
    Ok(Escrow::seal(
        &files,
        &node,
        u64::try_from(now)?,
        &args.recipients,
    )?)
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let input: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file)?)
    };
    input.take(LARGE).read_to_string(&mut text)?;
    Ok(text)
}

/// A Job that reads the files of one node and prints them sealed. It has no credential and no right: what
/// it prints may be read by everybody who may read its log.
fn job(args: &EscrowArgs, node: &str, image: &str) -> anyhow::Result<String> {
    let mut command = vec![
        "witgate", "recovery", "escrow", "--print", "--pki", "/pki", "--node", node,
    ];
    command.extend(
        args.recipients
            .iter()
            .flat_map(|recipient| ["--recipient", recipient]),
    );
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "witgate-escrow", "namespace": "kube-system"},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 300,
            "ttlSecondsAfterFinished": 600,
            "template": {"spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "nodeSelector": {"kubernetes.io/hostname": node},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "escrow",
                    "image": image,
                    "command": command,
                    // The keys are root's alone; nothing else of root's is needed.
                    "securityContext": {
                        "runAsUser": 0,
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "resources": {"limits": {"memory": "64Mi"}},
                    "volumeMounts": [{"name": "pki", "mountPath": "/pki", "readOnly": true}],
                }],
                "volumes": [{"name": "pki", "hostPath": {"path": args.pki, "type": "Directory"}}],
            }},
        },
    });
    serde_saphyr::to_string(&job).context("the Job can't be written")
}
