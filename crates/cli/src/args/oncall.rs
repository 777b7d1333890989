//! What `oncall` and `schedule` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mainstay_core::{ChangeId, Name, Time};

/// As `--role` may be written.
const ROLES: [&str; 5] = ["primary", "secondary", "lead", "manager", "shadow"];

#[derive(Debug, Args)]
pub(crate) struct Oncall {
    /// Only of this schedule: then one word, who it is.
    pub(crate) schedule: Option<Name>,
    /// At this time, RFC 3339, and not now.
    #[arg(long)]
    pub(crate) at: Option<Time>,
    /// Only this role; of a schedule that is named, the primary.
    #[arg(long, value_parser = ROLES)]
    pub(crate) role: Option<String>,
    /// By which contacts they are reached for this severity, such as p0.
    #[arg(long)]
    pub(crate) severity: Option<Name>,
}

/// A stretch of time.
#[derive(Debug, Args)]
pub(crate) struct Window {
    /// From when, RFC 3339; from now where unset.
    #[arg(long)]
    pub(crate) from: Option<Time>,
    /// Until when, RFC 3339.
    #[arg(long, alias = "until")]
    pub(crate) to: Option<Time>,
}

/// From when to when somebody stands in, and why.
#[derive(Debug, Args)]
pub(crate) struct StandIn {
    /// From when, RFC 3339; from now where unset.
    #[arg(long)]
    pub(crate) from: Option<Time>,
    /// Until when, RFC 3339.
    #[arg(long, alias = "to")]
    pub(crate) until: Time,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Every shift of a schedule, with the gaps between them, by its own clock.
    #[command(
        after_help = "Examples:\n  mainstay schedule show feed\n  mainstay schedule show feed --from 2026-03-23T00:00:00Z --to 2026-04-06T00:00:00Z"
    )]
    Show {
        /// The schedule.
        name: Name,
        #[command(flatten)]
        window: Window,
        /// Only this role.
        #[arg(long, value_parser = ROLES)]
        role: Option<String>,
    },
    /// When nobody would answer: nobody is on call, or nobody could reach them; a month ahead.
    #[command(
        after_help = "Examples:\n  mainstay schedule gaps\n  mainstay schedule gaps feed --to 2027-01-01T00:00:00Z\n\n\
                      Exit codes: 0 none, 1 there are some, 2 error."
    )]
    Gaps {
        /// Only of this schedule.
        name: Option<Name>,
        #[command(flatten)]
        window: Window,
    },
    /// Let somebody hold a role for a while, whoever's turn it is.
    #[command(
        after_help = "Examples:\n  mainstay schedule override feed --person bob --until 2026-11-06T09:00:00+01:00 --reason 'alice is ill'"
    )]
    Override {
        /// The schedule.
        name: Name,
        /// Who.
        #[arg(long)]
        person: Name,
        /// The role.
        #[arg(long, value_parser = ROLES, default_value = "primary")]
        role: String,
        #[command(flatten)]
        when: StandIn,
    },
    /// Let two people exchange their shifts for a while.
    #[command(
        after_help = "Examples:\n  mainstay schedule swap feed --person alice --with bob --from 2026-12-21T09:00:00+01:00 --until 2027-01-04T09:00:00+01:00"
    )]
    Swap {
        /// The schedule.
        name: Name,
        /// One.
        #[arg(long)]
        person: Name,
        /// The other.
        #[arg(long)]
        with: Name,
        /// Only in this role; in all where unset.
        #[arg(long, value_parser = ROLES)]
        role: Option<String>,
        #[command(flatten)]
        when: StandIn,
    },
    /// Take over the shift that is under way, to its end.
    #[command(
        after_help = "Examples:\n  mainstay schedule take feed\n  mainstay schedule take feed --person bob --role secondary"
    )]
    Take {
        /// The schedule.
        name: Name,
        /// Who; whoever asks, where they are a responder.
        #[arg(long)]
        person: Option<Name>,
        /// The role.
        #[arg(long, value_parser = ROLES, default_value = "primary")]
        role: String,
        /// The shift that is under way at this time, from then on; now where unset.
        #[arg(long)]
        at: Option<Time>,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Read overrides out of an iCalendar file: each event of the next year, named after who is on call.
    #[command(
        after_help = "Examples:\n  mainstay schedule import feed holidays.ics\n  curl -s https://calendar.example.com/feed.ics | mainstay schedule import feed -"
    )]
    Import {
        /// The schedule.
        name: Name,
        /// The file; `-` is standard input.
        file: PathBuf,
        /// The role.
        #[arg(long, value_parser = ROLES, default_value = "primary")]
        role: String,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take back who stands in by a change, from now on.
    #[command(after_help = "Examples:\n  mainstay schedule withdraw feed chg-abcdefgh23")]
    Withdraw {
        /// The schedule.
        name: Name,
        /// The change that entered it.
        change: ChangeId,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Print the calendar of a schedule or of a person, as iCalendar.
    #[command(
        after_help = "Examples:\n  mainstay schedule ical feed # prints it; `> feed.ics` keeps it\n  mainstay schedule ical --person alice\n\n\
                      Calendars subscribe to it at /api/v1/oncall/schedules/NAME.ics and /api/v1/oncall/people/NAME.ics."
    )]
    Ical {
        /// The schedule.
        #[arg(required_unless_present = "person")]
        name: Option<Name>,
        /// Of this person, in all schedules.
        #[arg(long, conflicts_with = "name")]
        person: Option<Name>,
        #[command(flatten)]
        window: Window,
        /// Only this role.
        #[arg(long, value_parser = ROLES)]
        role: Option<String>,
    },
}
