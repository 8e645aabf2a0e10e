//! `witgate recovery`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::GatewayArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Show the control plane's members, who of them is alive, and the plans.
    Status(RecoveryArgs),
    /// Have the plugins look for what is wrong.
    Diagnose(RecoveryArgs),
    /// Have a plan made for something that `diagnose` finds. Nothing is changed.
    Plan {
        #[command(flatten)]
        args: RecoveryArgs,
        /// The finding's class, as `diagnose` prints it: dead-member
        class: String,
        /// What it is about, if there are several of the class.
        #[arg(long)]
        subject: Option<String>,
    },
    /// Show a plan, its approvals, and how far it has come.
    Show(PlanArgs),
    /// Agree to a plan as it is.
    Approve(PlanArgs),
    /// Have an approved plan carried out, and watch it. It goes on if you stop watching.
    Apply(ApplyArgs),
    /// Go on with a plan that stopped, or whose gateway was restarted.
    Resume(ApplyArgs),
    /// Say that the next step, which is done by hand, was done.
    Confirm {
        #[command(flatten)]
        plan: PlanArgs,
        /// The number of the step, as it is shown.
        step: usize,
    },
    /// Give a plan up. What was done stays done.
    Abandon {
        #[command(flatten)]
        plan: PlanArgs,
        /// Why, for those who look at it later.
        #[arg(long)]
        reason: String,
    },
    /// Put the authorities' keys of a control-plane node aside, sealed for operators with age keys.
    ///
    /// Run on a control-plane node, before it is needed, and again when an authority is replaced. The
    /// gateway keeps what it can't open. `apply --identity` opens it, when a node has to join in place of
    /// one that is gone.
    #[command(after_long_help = ESCROW_EXAMPLES)]
    Escrow(EscrowArgs),
    /// Check the whole journal and print it: one entry a line, as JSON, for the record of an incident.
    Journal(RecoveryArgs),
    /// Print all that is known of an incident as one JSON document: what is seen and found now, the plans,
    /// approvals, snapshots, and the journal. There is no secret in it.
    Bundle(RecoveryArgs),
    /// Check a bundle's journal and plans, without a gateway.
    Verify {
        /// What `bundle` has printed.
        file: std::path::PathBuf,
    },
}

const ESCROW_EXAMPLES: &str = "\
Examples:
  On a control-plane node:
    witgate recovery escrow --server https://gateway.example.com --recipient age1...

  Without a shell there, by a Job that only prints what it has sealed:
    witgate recovery escrow --recipient age1... --job cp-1 --image registry.example.com/witgate:0.1 \\
        | kubectl create -f -
    kubectl -n kube-system wait --for=condition=complete job/witgate-escrow
    kubectl -n kube-system logs job/witgate-escrow \\
        | witgate recovery escrow --server https://gateway.example.com --from -";

/// Of which node, for whom, and where to.
#[derive(Debug, Args)]
#[command(mut_arg("server", |server| server.required(false)))]
pub(crate) struct EscrowArgs {
    #[command(flatten)]
    pub(crate) gateway: Option<GatewayArgs>,
    /// An age public key, as `age-keygen -y` prints it, of somebody who may open it. May be given more
    /// than once.
    #[arg(long = "recipient", value_name = "AGE", required_unless_present = "from")]
    pub(crate) recipients: Vec<String>,
    /// Where the node has its certificates and keys.
    #[arg(long, value_name = "DIR", default_value = "/etc/kubernetes/pki")]
    pub(crate) pki: PathBuf,
    /// The node's name. Default: the machine's.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Print it instead of giving it to the gateway.
    #[arg(long)]
    pub(crate) print: bool,
    /// Give the gateway what --print has printed: a file, or - for the standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipients", "print", "job"])]
    pub(crate) from: Option<PathBuf>,
    /// Print a Job that does --print on this node.
    #[arg(long, value_name = "NODE", requires = "image", conflicts_with_all = ["print", "node"])]
    pub(crate) job: Option<String>,
    /// The image of the Job, with `witgate` in its path.
    #[arg(long, value_name = "IMAGE", requires = "job")]
    pub(crate) image: Option<String>,
}

/// Which gateway, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which plan, and what opens the escrow.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// A file with your age secret key, as `age-keygen` writes it, for a plan that lets a node join: it
    /// opens the escrow, here and not at the gateway.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

/// Which plan.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) args: RecoveryArgs,
    /// Its id, or the beginning of it.
    pub(crate) id: String,
}
