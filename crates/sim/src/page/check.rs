//! What must hold of every incident, worked out from what is written and from what channels got, never from the
//! machine's own state.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    ChangeId, Entry, Name, Span, Time, change::change_stream, escalation::Severity,
};
use mainstay_oncall::{
    escalation::{Recipient, outbox::Due},
    incident::{AT_P0, EVENT, Event, Plan, audit::audit},
};
use mainstay_runtime::leader_stream;

use super::{FAULTY_MS, PageScene, people::is};
use crate::{
    driver::{SKEW_MS, Sim},
    report::Invariant,
};

/// How late a step may be while leaders die, answers are lost and clocks jump.
const LATE_FAULTY_MS: i64 = 60_000;
/// How late it may be otherwise: a few ticks of the world.
const LATE_MS: i64 = 8_000;
/// How long after an acknowledgement a leader that knows of it may still tell what it had gathered.
const AFTER_MS: i64 = 3_000;
/// The same for one that was replaced and hears of nothing.
const AFTER_STALE_MS: i64 = 14_000;
/// Where nobody is meant in any step, they begin anew after a minute.
const NOBODY_MS: i64 = 60_000;

/// A page, as the world sees it.
struct Told {
    attempts: u32,
    /// Leaders there had been when it was begun.
    epoch: u64,
    /// How often a channel got it, by the leader that sent it.
    received: BTreeMap<u64, u64>,
}

impl Told {
    fn all(&self) -> u64 {
        self.received.values().sum()
    }
}

/// An incident, as the world sees it.
pub(crate) struct Watched {
    plan: Plan,
    opened_ms: i64,
    /// The step that begins next, and when.
    due: Option<(Option<u32>, i64)>,
    /// Somebody was meant since the first step.
    was_anybody: bool,
    /// As many as have to have acknowledged, or it is over.
    quiet_since: Option<i64>,
    over_since: Option<i64>,
    acknowledged: BTreeSet<String>,
    severity: Severity,
    summons_due: Option<i64>,
    pages: BTreeMap<String, Told>,
    channels: BTreeMap<(u32, u32, Name), (Vec<Name>, usize)>,
    /// By when somebody has to be told by another channel.
    next_by: BTreeMap<(u32, u32, Name), i64>,
    of_page: BTreeMap<String, (u32, u32, Name)>,
    events: Vec<Event>,
    opened_at: Option<Time>,
}

impl Watched {
    pub(super) fn new(plan: Plan, now: i64) -> Self {
        let severity = plan.severity;
        Self {
            plan,
            opened_ms: now,
            due: Some((Some(0), now)),
            was_anybody: false,
            quiet_since: None,
            over_since: None,
            acknowledged: BTreeSet::new(),
            severity,
            summons_due: (severity == Severity::P0).then_some(now),
            pages: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_by: BTreeMap::new(),
            of_page: BTreeMap::new(),
            events: Vec::new(),
            opened_at: None,
        }
    }

    fn wait_ms(&self, step: u32) -> i64 {
        let step = self.plan.policy.steps.get(step as usize);
        step.map_or(NOBODY_MS, |it| it.wait.millis() as i64)
    }

    fn is_quiet(&self) -> bool {
        self.quiet_since.is_some()
    }

    fn quiet(&mut self, now: i64) {
        self.quiet_since.get_or_insert(now);
        self.due = None;
        self.next_by.retain(|(_, step, _), _| *step == AT_P0);
        self.channels.retain(|(_, step, _), _| *step == AT_P0);
    }

    /// The next step is due now.
    fn hurry(&mut self, now: i64) {
        if let Some((_, due)) = &mut self.due {
            *due = now.min(*due);
            return;
        }
        self.quiet_since = None;
        self.acknowledged.clear();
        self.was_anybody = false;
        self.due = Some((None, now));
    }

    fn began(&mut self, now: i64, step: u32, people: &[Recipient]) {
        let wait = self.wait_ms(step);
        self.was_anybody |= !people.is_empty();
        let is_last = step as usize + 1 >= self.plan.policy.steps.len();
        self.due = Some(if is_last {
            let wait = if self.was_anybody {
                wait
            } else {
                wait.max(NOBODY_MS)
            };
            self.was_anybody = false;
            (Some(0), now + wait)
        } else if people.is_empty() {
            (Some(step + 1), now)
        } else {
            (Some(step + 1), now + wait)
        });
    }

    /// Somebody's page failed: the next channel is due, if there is one.
    fn failed(&mut self, now: i64, key: &str) {
        let Some(of) = self.of_page.get(key) else {
            return;
        };
        let has_acknowledged = self.acknowledged.contains(of.2.as_str());
        let is_awaited = of.1 == AT_P0 || !(self.is_quiet() || has_acknowledged);
        let has_more = self
            .channels
            .get(of)
            .is_some_and(|(all, used)| *used < all.len());
        if is_awaited && has_more {
            self.next_by.insert(of.clone(), now);
        }
    }
}

impl Sim<PageScene> {
    /// An entry was written, by whomever.
    pub(super) fn happened(&mut self, entry: &Entry) {
        let Some(id) = entry.stream.as_str().strip_prefix("change/") else {
            return;
        };
        let Ok(id) = ChangeId::new(id) else { return };
        let now = self.true_ms;
        let epoch = self.ledger.version(&leader_stream());
        let early_ms = if self.clean { 1 } else { 2 * SKEW_MS + 1_000 };
        let Some(watched) = self.scene.watched.get_mut(&id) else {
            return;
        };
        if entry.kind != EVENT {
            watched.opened_at.get_or_insert(entry.at);
            return;
        }
        let event: Event = match serde_json::from_str(&entry.body) {
            Ok(event) => event,
            Err(error) => return self.violated(Invariant::Ledger, error.to_string()),
        };
        let wrong = watched.take(now, epoch, early_ms, &event);
        watched.events.push(event);
        if let Some(what) = wrong {
            self.violated(Invariant::Page, format!("{id}: {what}"));
        }
    }

    /// A channel got a message.
    pub(super) fn received(&mut self, epoch: u64, due: &Due) {
        let now = self.true_ms;
        let newest = self.ledger.version(&leader_stream());
        let (id, ask) = (&due.incident, &due.ask);
        self.note(&format!("{id} told {} by {}", ask.person, ask.channel));
        let slack = if epoch < newest {
            AFTER_STALE_MS
        } else {
            AFTER_MS
        };
        let Some(watched) = self.scene.watched.get_mut(id) else {
            return;
        };
        let quiet = if ask.step == AT_P0 {
            watched.over_since
        } else {
            watched.quiet_since
        };
        let mut wrong = None;
        if quiet.is_some_and(|since| now > since + slack) {
            wrong = Some(format!("{} was told after somebody had acted", ask.person));
        }
        match watched.pages.get_mut(&ask.key) {
            None => {
                let what = format!("{id}: {} was told without an entry", ask.person);
                return self.violated(Invariant::Ledger, what);
            }
            Some(told) => {
                let by_this = told.received.entry(epoch).or_default();
                *by_this += 1;
                // Each leader sends a try once. Who may have sent it: whoever led since it was begun, and one that
                // was replaced before, lives on and has not heard of it.
                let (times, attempts) = (*by_this, u64::from(told.attempts));
                let leaders = newest - told.epoch + 2;
                let (all, senders) = (told.all(), told.received.len() as u64);
                if times > attempts || all > attempts + leaders - 1 || senders > leaders {
                    wrong = Some(format!(
                        "{} was told {all} times by one page of {attempts} tries, {times} times by leader {epoch}",
                        ask.person
                    ));
                }
            }
        }
        if let Some(what) = wrong {
            let what = format!("{id}: {what}");
            return self.violated(Invariant::Page, what);
        }
        if !is(&ask.person, "carol") {
            self.was_told(id, &ask.person);
        }
    }

    /// Whatever is due has begun.
    pub(super) fn check_times(&mut self) {
        let now = self.true_ms;
        let settled =
            !self.faulty && (self.clean || self.elapsed_ms() > FAULTY_MS + LATE_FAULTY_MS);
        let late = if settled { LATE_MS } else { LATE_FAULTY_MS };
        let mut wrong = Vec::new();
        for (id, watched) in &self.scene.watched {
            if let Some((step, due)) = watched.due
                && now > due + late
            {
                let step =
                    step.map_or_else(|| "a step".to_owned(), |it| format!("step {}", it + 1));
                wrong.push(format!("{id}: {step} is {} ms late", now - due));
            }
            if watched.summons_due.is_some_and(|due| now > due + late) {
                wrong.push(format!("{id}: nobody was told of P0"));
            }
            let untold = watched.next_by.iter().find(|(_, due)| now > **due + late);
            if let Some(((_, _, person), _)) = untold {
                wrong.push(format!("{id}: {person} was not told by the next channel"));
            }
        }
        for what in wrong {
            self.violated(Invariant::Page, what);
        }
    }

    /// The auditor misses nothing where nothing is missing.
    pub(super) fn audits(&mut self) {
        let now = self.now();
        let slack = Span::from_secs(150);
        let mut wrong = Vec::new();
        for (id, it) in &self.scene.watched {
            let Some(opened_at) = it.opened_at else {
                continue;
            };
            let missing = audit(&it.plan, opened_at, &it.events, now, slack);
            wrong.extend(
                missing
                    .first()
                    .map(|it| format!("{id}: the auditor says: {}", it.what)),
            );
        }
        for what in wrong {
            self.violated(Invariant::Page, what);
        }
    }

    /// Every incident was told to somebody, or somebody acted before.
    pub(super) fn check_end(&mut self) {
        let mut wrong = Vec::new();
        for (id, it) in &self.scene.watched {
            let received: u64 = it.pages.values().map(Told::all).sum();
            if received == 0 && !it.is_quiet() && self.true_ms > it.opened_ms + LATE_FAULTY_MS {
                wrong.push(format!("{id}: nobody was told, and nobody acted"));
            }
            let written = self.ledger.stream(&change_stream(id)).len();
            if written == 0 {
                wrong.push(format!("{id}: what was opened is not in the ledger"));
            }
        }
        for what in wrong {
            self.violated(Invariant::Page, what);
        }
    }
}

impl Watched {
    /// Takes an event in; what is wrong with it, if anything is.
    fn take(&mut self, now: i64, epoch: u64, early_ms: i64, event: &Event) -> Option<String> {
        match event {
            Event::Began {
                cycle,
                step,
                people,
                ..
            } => {
                for it in people {
                    let of = (*cycle, *step, it.person.clone());
                    self.channels.insert(of, (it.channels.clone(), 0));
                }
                if *step == AT_P0 {
                    self.summons_due = None;
                    return None;
                }
                let due = self.due;
                self.began(now, *step, people);
                match due {
                    None => return Some(format!("step {} began though somebody acts", step + 1)),
                    Some((Some(wanted), _)) if wanted != *step => {
                        return Some(format!("step {} began, not step {}", step + 1, wanted + 1));
                    }
                    Some((_, due)) if now + early_ms < due => {
                        return Some(format!("step {} began {} ms early", step + 1, due - now));
                    }
                    Some(_) => {}
                }
            }
            Event::Also {
                cycle,
                step,
                people,
            } => {
                for it in people {
                    let of = (*cycle, *step, it.person.clone());
                    self.channels.insert(of, (it.channels.clone(), 0));
                }
            }
            Event::Paging {
                key,
                cycle,
                step,
                person,
                attempt,
                ..
            } => {
                let of = (*cycle, *step, person.clone());
                self.next_by.remove(&of);
                if *attempt == 1
                    && !self.pages.contains_key(key)
                    && let Some((_, used)) = self.channels.get_mut(&of)
                {
                    *used += 1;
                }
                self.of_page.insert(key.clone(), of);
                let told = self.pages.entry(key.clone()).or_insert(Told {
                    attempts: 0,
                    epoch,
                    received: BTreeMap::new(),
                });
                told.attempts = told.attempts.max(*attempt);
            }
            Event::Accepted { key, .. } => {
                if self.pages.get(key).is_none_or(|it| it.received.is_empty()) {
                    return Some("a page counts as taken that no channel got".to_owned());
                }
            }
            Event::Failed { key, .. } => self.failed(now, key),
            Event::Unreached { step, .. } => {
                if let Some((Some(next), due)) = &mut self.due
                    && *next == step + 1
                {
                    *due = now.min(*due);
                }
            }
            Event::Acknowledged { by, .. } => {
                self.acknowledged.insert(by.clone());
                self.next_by
                    .retain(|(_, step, person), _| *step == AT_P0 || person.as_str() != by);
                if self.acknowledged.len() as u64 >= u64::from(self.plan.policy.acknowledge_by) {
                    self.quiet(now);
                }
            }
            Event::Escalated { .. } | Event::Breached { .. } => self.hurry(now),
            Event::Severity { to, .. } => {
                let is_p0_now = *to == Severity::P0 && self.severity != Severity::P0;
                self.severity = *to;
                if is_p0_now {
                    self.summons_due = Some(now);
                }
            }
            Event::Resolved { .. } => {
                self.quiet(now);
                self.next_by.clear();
                self.channels.clear();
                self.summons_due = None;
                self.over_since = Some(now);
            }
            Event::Reopened { .. } => {
                self.quiet_since = None;
                self.over_since = None;
                self.acknowledged.clear();
                self.was_anybody = false;
                self.due = Some((Some(0), now));
                self.summons_due = (self.severity == Severity::P0).then_some(now);
            }
            Event::Closed { .. }
            | Event::Held { .. }
            | Event::Retrying { .. }
            | Event::Delivered { .. }
            | Event::Alerted { .. }
            | Event::Cleared { .. }
            | Event::Crowded { .. }
            | Event::Role { .. }
            | Event::Task { .. }
            | Event::Finished { .. }
            | Event::Noted { .. }
            | Event::Related { .. }
            | Event::Differs { .. } => {}
        }
        None
    }
}
