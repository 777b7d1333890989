//! Schedules as the ledger holds them: what is declared, who was entered as standing in, and the orders about it.
//!
//! Guarantees: an answer is of what was committed when it was asked; an order is a change of its own, with actor and
//! reason, done in the append that opens it. Never rewrites who was on call before an order came.

mod answers;
mod orders;
mod rows;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use mainstay_core::{
    ChangeId, Name, Time,
    flaw::SpecFlaw,
    oncall::{ResponderSpec, Role, ScheduleSpec},
    ports::{Clock, Declined, Ledger, No, Tables},
};

use super::{EXPAND_DAYS_MAX, Schedule, flaws, plan::stamp};

pub use answers::{Answer, Held, Now, OnCall, Shown, Troubles};
pub use orders::{Ordered, VERBS};

/// How far ahead shifts are shown where nobody says.
const AHEAD: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How far ahead gaps are looked for where nobody says.
const GAPS_AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far back and ahead a calendar goes where nobody says.
const CALENDAR_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);
const CALENDAR_AHEAD: SignedDuration = SignedDuration::from_hours(180 * 24);

/// What is asked besides the thing itself.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// At which instant; now where unset.
    pub at: Option<Time>,
    /// From when.
    pub from: Option<Time>,
    /// Until when.
    pub until: Option<Time>,
    /// Only of this schedule.
    pub schedule: Option<Name>,
    /// Only of this role.
    pub role: Option<Role>,
    /// Of how severe an incident.
    pub severity: Option<Name>,
}

/// Answers about schedules, and takes orders.
#[derive(Clone)]
pub struct Desk {
    /// Where orders are written.
    pub ledger: Arc<dyn Ledger>,
    /// Where what is declared and entered is read.
    pub tables: Arc<dyn Tables>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes the id of the next change.
    pub next_change_id: Arc<dyn Fn() -> ChangeId + Send + Sync>,
}

/// What is wrong with a schedule that is declared, each with its field below `spec`; whom its calendars name must be
/// among `responders`.
pub fn schedule_flaws(
    name: &Name,
    spec: &ScheduleSpec,
    is_known: impl Fn(&Name) -> bool,
) -> Vec<SpecFlaw> {
    match Schedule::build(name.clone(), spec) {
        Ok(_) => super::plan::strangers(spec, is_known),
        Err(found) => found,
    }
}

/// What is wrong with a responder that is declared, each with its field below `spec`.
pub fn responder_flaws(spec: &ResponderSpec) -> Vec<SpecFlaw> {
    flaws::of_responder(spec)
}

/// How a name ends that asks for a calendar.
const CALENDAR_ENDING: &str = ".ics";

/// A stretch of time that was asked for.
#[derive(Debug, Clone, Copy)]
struct Within {
    from: Timestamp,
    until: Timestamp,
}

impl Desk {
    fn now(&self) -> Timestamp {
        stamp(self.clock.now())
    }

    fn within(
        &self,
        query: &Query,
        back: SignedDuration,
        ahead: SignedDuration,
    ) -> Result<Within, Declined> {
        let from = query.from.map_or_else(
            || self.now().saturating_sub(back).unwrap_or(Timestamp::MIN),
            stamp,
        );
        let until = query.until.map_or_else(
            || from.saturating_add(back + ahead).unwrap_or(Timestamp::MAX),
            stamp,
        );
        let most = SignedDuration::from_hours(EXPAND_DAYS_MAX * 24);
        if until <= from {
            let what = format!("`until` is {until}, not after `from`, which is {from}");
            return Err(invalid(
                "bad-window",
                what,
                "ask for an end after the beginning",
            ));
        }
        if until.duration_since(from) > most {
            let what = format!("more than {EXPAND_DAYS_MAX} days at once");
            return Err(invalid("bad-window", what, "ask for less at once"));
        }
        Ok(Within { from, until })
    }

    /// Every schedule as it stands from now on, and every responder, for whoever asks them often.
    pub async fn standing(
        &self,
    ) -> Result<(Vec<Schedule>, BTreeMap<Name, ResponderSpec>), Declined> {
        let found = self.schedules(self.now(), None).await?;
        let schedules = found.into_iter().map(|it| it.schedule).collect();
        Ok((schedules, self.responders().await?))
    }

    /// The gaps of each schedule and role ahead, for whoever measures them: those of nobody, and of whom nobody could
    /// reach. A role without any is there with none; nobody relies on a shadow.
    pub async fn ahead(
        &self,
        ahead: SignedDuration,
    ) -> Result<BTreeMap<(Name, Role), Vec<super::Trouble>>, Declined> {
        let from = self.now();
        let until = from.saturating_add(ahead).unwrap_or(Timestamp::MAX);
        let responders = self.responders().await?;
        let mut all = BTreeMap::new();
        for known in self.schedules(from, None).await? {
            let name = known.schedule.name();
            let relied_on = known.schedule.roles().into_iter();
            for role in relied_on.filter(|role| *role != Role::Shadow) {
                all.insert((name.clone(), role), Vec::new());
            }
            let troubles = known
                .schedule
                .troubles(&responders, from, until)
                .into_iter();
            for trouble in troubles.filter(|it| it.role != Role::Shadow) {
                let key = (name.clone(), trouble.role);
                all.entry(key).or_insert_with(Vec::new).push(trouble);
            }
        }
        Ok(all)
    }
}

fn invalid(code: &'static str, what: impl Into<String>, remedy: &str) -> Declined {
    Declined::new(No::Invalid, code, what, remedy)
}
