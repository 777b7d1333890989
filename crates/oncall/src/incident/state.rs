//! Where an incident stands; folded from its events alone.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{ChangeId, Name, Time, escalation::Severity};
use serde::Serialize;

use super::{
    message::{AlertBrief, Role, Which},
    page::{AT_P0, Ask, Page, PageStatus},
    plan::Plan,
};

/// Where it stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nobody has acknowledged.
    Triggered,
    /// Somebody looks after it.
    Acknowledged,
    /// It is over, and may be opened again.
    Resolved,
    /// It is over for good.
    Closed,
}

impl Status {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Triggered => "triggered",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
}

/// The step that begins next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Of which round: each time that the steps begin anew it is another.
    pub cycle: u32,
    /// Which step.
    pub step: u32,
    /// When.
    pub at: Time,
    /// Whether anybody was told since the first step.
    pub(super) reached: bool,
}

/// Those who are told of every P0 are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summons {
    /// Which time, from 1.
    pub number: u32,
    /// Since when.
    pub at: Time,
}

/// How far a person was tried in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) cycle: u32,
    pub(super) step: u32,
    pub(super) person: Name,
    pub(super) channels: Vec<Name>,
    /// How many of those were begun.
    pub(super) tried: usize,
    /// The page that was begun last.
    pub(super) key: String,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its number.
    pub id: u32,
    /// What.
    pub text: String,
    /// By whom; empty where nobody is named.
    pub assignee: String,
    /// When it was found.
    pub added: Time,
    /// When it was done.
    pub done: Option<Time>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct State {
    /// What it was opened with.
    pub plan: Plan,
    /// When.
    pub opened_at: Time,
    /// How bad it is.
    pub severity: Severity,
    /// Since when deadlines count.
    pub since: Time,
    /// The step that begins next; none while somebody looks after it, or it is over.
    pub escalation: Option<Next>,
    /// Those who are told of every P0 have to be.
    pub summons: Option<Summons>,
    /// Who acknowledged, in this demand.
    pub acknowledged_by: BTreeMap<String, Time>,
    /// When as many had as the policy wants; for the first time since it opened, or opened again.
    pub acknowledged_at: Option<Time>,
    /// When it was over.
    pub resolved_at: Option<Time>,
    /// Whether nothing more happens.
    pub closed_at: Option<Time>,
    /// Deadlines that passed, of those that count now.
    pub breached: BTreeSet<Which>,
    /// All deadlines that ever passed.
    pub breaches: u32,
    /// Alerts that fire or are over.
    pub alerts: BTreeMap<String, (AlertBrief, bool)>,
    /// Whether there are more than are listed.
    pub is_crowded: bool,
    /// Who plays which part.
    pub roles: BTreeMap<Role, String>,
    /// What is to be done.
    pub tasks: Vec<Task>,
    /// Other incidents.
    pub related: Vec<ChangeId>,
    /// Notes that were taken.
    pub notes: u32,
    /// Pages of this demand and the one before.
    pub pages: BTreeMap<String, Page>,
    pub(super) reach: Vec<Reach>,
    /// How often people were asked anew, after somebody had acknowledged or it was over.
    pub demand: u32,
    /// The highest number of a round of steps.
    pub(super) cycle: u32,
    /// The last step that began.
    pub(super) last_step: Option<u32>,
    pub(super) summoned: u32,
    pub(super) updated_at: Time,
}

impl State {
    pub(super) fn open(plan: Plan, opened_at: Time) -> Self {
        let severity = plan.severity;
        let mut state = Self {
            opened_at,
            severity,
            since: opened_at,
            escalation: Some(Next {
                cycle: 0,
                step: 0,
                at: opened_at,
                reached: false,
            }),
            summons: None,
            acknowledged_by: BTreeMap::new(),
            acknowledged_at: None,
            resolved_at: None,
            closed_at: None,
            breached: BTreeSet::new(),
            breaches: 0,
            alerts: BTreeMap::new(),
            is_crowded: false,
            roles: BTreeMap::new(),
            tasks: Vec::new(),
            related: Vec::new(),
            notes: 0,
            pages: BTreeMap::new(),
            reach: Vec::new(),
            demand: 0,
            cycle: 0,
            last_step: None,
            summoned: 0,
            updated_at: opened_at,
            plan,
        };
        if severity == Severity::P0 {
            state.summon(opened_at);
        }
        state
    }

    /// Those who are told of every P0 are to be told.
    pub(super) fn summon(&mut self, at: Time) {
        if !self.plan.policy.at_p0.is_empty() {
            self.summoned += 1;
            self.summons = Some(Summons {
                number: self.summoned,
                at,
            });
        }
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        if self.closed_at.is_some() {
            Status::Closed
        } else if self.resolved_at.is_some() {
            Status::Resolved
        } else if self.acknowledged_at.is_some() {
            Status::Acknowledged
        } else {
            Status::Triggered
        }
    }

    /// Whether it is neither over nor closed.
    pub fn is_open(&self) -> bool {
        self.resolved_at.is_none() && self.closed_at.is_none()
    }

    /// When something last happened.
    pub fn updated_at(&self) -> Time {
        self.updated_at
    }

    /// Whether an alert fires.
    pub fn has_firing(&self) -> bool {
        self.is_crowded || self.alerts.values().any(|(_, fires)| *fires)
    }

    /// When a deadline that counts and has not passed is due; none where there is none.
    pub fn deadline(&self, which: Which) -> Option<Time> {
        let done = match which {
            Which::Acknowledge => self.acknowledged_at.is_some() || !self.is_open(),
            Which::Resolve => !self.is_open(),
        };
        if done || self.breached.contains(&which) {
            return None;
        }
        let within = self.plan.policy.deadlines.get(&self.severity)?;
        Some(match which {
            Which::Acknowledge => self.since + within.acknowledge,
            Which::Resolve => self.since + within.resolve,
        })
    }

    /// Pages that are to be sent now.
    pub(super) fn sending(&self) -> impl Iterator<Item = Ask> {
        let sending = self
            .pages
            .iter()
            .filter(|(_, page)| page.status == PageStatus::Sending);
        sending.map(|(key, page)| Ask {
            key: key.clone(),
            attempt: page.attempt,
            demand: self.demand,
            cycle: page.cycle,
            step: page.step,
            person: page.person.clone(),
            channel: page.channel.clone(),
            severity: self.severity,
            title: self.plan.title.clone(),
            held: page.was_held,
        })
    }

    /// Whether somebody who is told of a step still has to act.
    pub(super) fn awaits(&self, reach: &Reach) -> bool {
        let told = self.acknowledged_by.contains_key(reach.person.as_str());
        reach.step != AT_P0 && self.escalation.is_some() && !told
    }

    /// Why it stands where it stands.
    pub(super) fn because(&self) -> String {
        let by = || {
            let names: Vec<&str> = self.acknowledged_by.keys().map(String::as_str).collect();
            names.join(", ")
        };
        match self.status() {
            Status::Triggered => format!("{}, nobody has acknowledged", self.severity),
            Status::Acknowledged if self.escalation.is_some() => {
                format!("{}, escalated again", self.severity)
            }
            Status::Acknowledged => format!("{}, acknowledged by {}", self.severity, by()),
            Status::Resolved => "resolved".to_owned(),
            Status::Closed => "closed after it was resolved".to_owned(),
        }
    }
}
