//! What the verbs of incidents take.

use clap::{Args, Subcommand};
use mainstay_core::{ChangeId, Name, escalation::Severity};

/// What `page` takes.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// What is wrong, in a line.
    pub(crate) title: String,
    /// Whom it concerns: the escalation policy by which people are told.
    #[arg(long)]
    pub(crate) policy: Name,
    /// How bad it is, P0 to P4.
    #[arg(long, default_value_t = Severity::P1)]
    pub(crate) severity: Severity,
    /// More of it; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// One incident, and why.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The incident.
    pub(crate) incident: ChangeId,
    /// Why; kept in its timeline.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Incidents that are not over, the worst first; or those in a state that you name.
    #[command(
        after_help = "Examples:\n  mainstay incident list\n  mainstay incident list --status resolved --severity P0\n  \
                      mainstay incident list --output json"
    )]
    List {
        /// `open`, `triggered`, `acknowledged`, `resolved` or `closed`.
        #[arg(long)]
        status: Option<String>,
        /// Only of this severity.
        #[arg(long)]
        severity: Option<Severity>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One with its deadlines, pages, tasks and its whole timeline.
    #[command(after_help = "Examples:\n  mainstay incident show inc-abcdefgh23\n  \
                      mainstay incident show inc-abcdefgh23 --output json")]
    Show {
        /// The incident.
        incident: ChangeId,
    },
    /// Say that it is worse, or less bad; P0 tells those who are told of every P0.
    #[command(
        after_help = "Examples:\n  mainstay incident severity inc-abcdefgh23 P0 --reason 'nobody can log in'"
    )]
    Severity {
        /// The incident.
        incident: ChangeId,
        /// How bad it is, P0 to P4.
        severity: Severity,
        /// Why; kept in its timeline.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Give somebody a part, or hand it over.
    #[command(
        after_help = "Examples:\n  mainstay incident role inc-abcdefgh23 commander alice\n  \
                      mainstay incident role inc-abcdefgh23 scribe bob --note 'all is in the timeline'"
    )]
    Role {
        /// The incident.
        incident: ChangeId,
        /// The part.
        #[arg(value_parser = ["commander", "communications", "scribe", "operations"])]
        role: String,
        /// Who plays it from now on.
        person: String,
        /// What is handed over.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Note something to be done, or that it is done.
    #[command(
        after_help = "Examples:\n  mainstay incident task inc-abcdefgh23 'raise the limit' --assignee bob\n  \
                      mainstay incident task inc-abcdefgh23 --done 1"
    )]
    Task {
        /// The incident.
        incident: ChangeId,
        /// What is to be done.
        #[arg(required_unless_present = "done", conflicts_with = "done")]
        text: Option<String>,
        /// By whom.
        #[arg(long, default_value = "")]
        assignee: String,
        /// The number of a task that is done.
        #[arg(long)]
        done: Option<u32>,
    },
    /// Write something into its timeline.
    #[command(
        after_help = "Examples:\n  mainstay incident note inc-abcdefgh23 'p99 is 3 s' --kind measurement"
    )]
    Note {
        /// The incident.
        incident: ChangeId,
        /// What.
        text: String,
        /// About what.
        #[arg(long, default_value = "message", value_parser = ["message", "action", "measurement", "change"])]
        kind: String,
    },
    /// Say that another incident has to do with it.
    #[command(after_help = "Examples:\n  mainstay incident relate inc-abcdefgh23 inc-jkmnpqrs45")]
    Relate {
        /// The incident.
        incident: ChangeId,
        /// The other.
        other: ChangeId,
    },
    /// Open it again: people are told from the first step on.
    #[command(
        after_help = "Examples:\n  mainstay incident reopen inc-abcdefgh23 --reason 'it is slow again'"
    )]
    Reopen(Why),
}
