//! `witgate recovery`.

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
    Apply(PlanArgs),
    /// Go on with a plan that stopped, or whose gateway was restarted.
    Resume(PlanArgs),
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

/// Which gateway, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which plan.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) args: RecoveryArgs,
    /// Its id, or the beginning of it.
    pub(crate) id: String,
}
