//! The whole of it as a machine: alerts and silences in, messages to send and entries to keep out.
//!
//! Guarantees: every alert that is taken is told to each channel of each receiver that its routes name, or it is
//! recorded why not ([`Fate`]); a message is tried again until its group is told the next time; what was told is told
//! again only when something is new or `repeat_interval` has passed. Never reads a clock, never waits, never sends.

mod decide;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use mainstay_core::Span;
use serde::{Deserialize, Serialize};

use crate::{
    alert::{Alert, AlertError, Alerts, Posted},
    config::{Integration, Settings},
    dispatch::{Dispatch, Fate, GroupId},
    inhibit::Inhibitor,
    labels::Fingerprint,
    log::{Entry, Log},
    moment,
    silence::{self, Silence, SilenceError, Silences},
};

/// The first wait before a message is tried again; each wait is half as long again as the one before.
pub const RETRY_FIRST: Span = Span::from_millis(500);
/// The longest of these waits.
pub const RETRY_LONGEST: Span = Span::from_secs(60);
/// For so long a message is tried at least, however short the group's interval.
pub const TRY_AT_LEAST: Span = Span::from_secs(10);
/// So long after its end whoever sends a message has to have answered.
pub const ANSWER_GRACE: Span = Span::from_secs(5);

/// One message to one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(u64);

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it is known by; also whoever sends it answers with this.
    pub id: DeliveryId,
    /// To whom, and how.
    pub integration: Arc<Integration>,
    /// The group's key.
    pub group_key: String,
    /// What the group's alerts share by which they are grouped.
    pub group_labels: crate::labels::Labels,
    /// In order.
    pub alerts: Vec<Arc<Alert>>,
    /// As of when they fire or are over.
    pub at: Timestamp,
    /// Until when it may be tried.
    pub until: Timestamp,
    /// How many times it was tried before.
    pub attempts: u32,
}

/// What has to outlive the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// An alert as it now is.
    Alert(Alert),
    /// A silence as it now is.
    Silence(Silence),
    /// What was told.
    Told(Entry),
}

/// What follows from an input.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send this, and answer with [`Machine::sent`] or [`Machine::failed`].
    Send(Box<Message>),
    /// Keep this.
    Keep(Box<Record>),
    /// Something else became of an alert than before.
    Note(Note),
}

/// What became of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// In which group.
    pub group: String,
    /// Of which alert.
    pub alert: Fingerprint,
    /// What.
    pub fate: Fate,
}

/// How a message did not get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub why: String,
    /// Whether it may get there later.
    pub again: bool,
}

#[derive(Debug)]
struct Delivery {
    message: Message,
    group: GroupId,
    firing: BTreeSet<Fingerprint>,
    resolved: BTreeSet<Fingerprint>,
    repeat: Span,
    /// Under which settings it began: groups of others have nothing to do with it.
    epoch: u64,
    /// When it is looked at next: to try again, or because nobody answered.
    next: Timestamp,
    waits: bool,
    wait: Span,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    settings: Arc<Settings>,
    retention: Span,
    alerts: Alerts,
    inhibitor: Inhibitor,
    silences: Silences,
    log: Log,
    dispatch: Dispatch,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    delivery_due: BTreeSet<(Timestamp, DeliveryId)>,
    /// For groups that are being told: how many messages are under way, and whether all got there so far.
    telling: BTreeMap<GroupId, (usize, bool)>,
    next_id: u64,
    /// How often settings were changed.
    epoch: u64,
}

impl Machine {
    /// One that knows of nothing yet. What was told is kept for `retention`, as are silences after their end.
    pub fn new(
        settings: Arc<Settings>,
        retention: Span,
        longest_silence: Option<Span>,
        now: Timestamp,
    ) -> Self {
        Self {
            retention,
            alerts: Alerts::default(),
            inhibitor: Inhibitor::new(Arc::clone(&settings.inhibit)),
            silences: Silences::at_most(longest_silence),
            log: Log::default(),
            dispatch: Dispatch::new(Arc::new(settings.tree.clone()), now),
            deliveries: BTreeMap::new(),
            delivery_due: BTreeSet::new(),
            telling: BTreeMap::new(),
            next_id: 1,
            epoch: 0,
            settings,
        }
    }

    /// Takes what was kept, in the order in which it was; before anything else.
    pub fn restore(&mut self, record: Record) {
        match record {
            Record::Alert(alert) => self.alerts.restore(alert),
            Record::Silence(silence) => self.silences.restore(silence),
            Record::Told(entry) => self.log.put(entry),
        }
    }

    /// All that was kept is restored. Alerts whose end passed while nobody listened are not called over: who sends
    /// them has the resolve timeout to repeat them.
    pub fn resume(&mut self, now: Timestamp) {
        let until = moment::after(now, self.settings.resolve_timeout);
        self.alerts.extend_unheard(now, until);
        self.forget_old(now);
        self.enlist(now);
    }

    /// Puts all alerts into their groups.
    fn enlist(&mut self, now: Timestamp) {
        for (_, alert) in self.alerts.iter() {
            self.inhibitor.note(alert);
            self.dispatch.insert(&Arc::new(alert.clone()), now);
        }
    }

    /// Everything that has to outlive the process, as it is now.
    pub fn records(&self) -> Vec<Record> {
        let alerts = self.alerts.iter().map(|(_, it)| Record::Alert(it.clone()));
        let silences = self.silences.iter().cloned().map(Record::Silence);
        let told = self.log.iter().cloned().map(Record::Told);
        alerts.chain(silences).chain(told).collect()
    }

    /// From now on other settings hold. What is under way goes on; groups begin anew.
    pub fn reload(&mut self, settings: Arc<Settings>, now: Timestamp) {
        self.inhibitor = Inhibitor::new(Arc::clone(&settings.inhibit));
        self.dispatch = Dispatch::new(Arc::new(settings.tree.clone()), now);
        self.telling.clear();
        self.epoch += 1;
        self.enlist(now);
        self.settings = settings;
    }

    /// Takes alerts; those that are none are told of, the others are taken all the same.
    pub fn accept(
        &mut self,
        posted: Vec<Posted>,
        now: Timestamp,
    ) -> (Vec<Effect>, Vec<AlertError>) {
        let (mut effects, mut refused) = (Vec::new(), Vec::new());
        for posted in posted {
            match posted.taken(now, self.settings.resolve_timeout) {
                Ok(alert) => {
                    let alert = Arc::new(self.alerts.put(alert, now).clone());
                    self.inhibitor.note(&alert);
                    self.dispatch.insert(&alert, now);
                    effects.push(Effect::Keep(Box::new(Record::Alert((*alert).clone()))));
                }
                Err(error) => refused.push(error),
            }
        }
        (effects, refused)
    }

    /// Makes or changes a silence.
    pub fn silence(
        &mut self,
        wanted: Silence,
        new_id: String,
        now: Timestamp,
    ) -> Result<(String, Vec<Effect>), SilenceError> {
        let silence::Set { id, changed } = self.silences.set(wanted, new_id, now)?;
        let kept = changed
            .into_iter()
            .map(|it| Effect::Keep(Box::new(Record::Silence(it))));
        Ok((id, kept.collect()))
    }

    /// Ends a silence.
    pub fn expire(&mut self, id: &str, now: Timestamp) -> Result<Vec<Effect>, SilenceError> {
        let ended = self.silences.expire(id, now)?;
        Ok(vec![Effect::Keep(Box::new(Record::Silence(ended)))])
    }

    /// What is due now.
    pub fn due(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.due_deliveries(now, &mut effects);
        while let Some(flush) = self.dispatch.take_due(now) {
            self.tell(&flush, now, &mut effects);
        }
        self.dispatch.sweep(now);
        effects
    }

    /// When something is due next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let delivery = self.delivery_due.first().map(|(at, _)| *at);
        let times = [self.dispatch.wake_at(), delivery];
        times.into_iter().flatten().min()
    }

    /// A message got there.
    pub fn sent(&mut self, id: DeliveryId, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(delivery) = self.take(id) {
            self.told(&delivery, now, &mut effects);
            self.ended(&delivery, &Fate::Notified, &mut effects);
        }
        effects
    }

    /// A message did not get there.
    pub fn failed(&mut self, id: DeliveryId, failure: Failure, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(mut delivery) = self.take(id) else {
            return effects;
        };
        let next = moment::after(now, delivery.wait);
        if failure.again && next < delivery.message.until {
            delivery.waits = true;
            delivery.next = next;
            let longer = delivery.wait.millis() * 3 / 2;
            delivery.wait = Span::from_millis(longer).min(RETRY_LONGEST);
            delivery.message.attempts += 1;
            self.delivery_due.insert((next, id));
            self.deliveries.insert(id, delivery);
        } else {
            self.ended(&delivery, &Fate::Failed(failure.why), &mut effects);
        }
        effects
    }

    /// Forgets alerts that are over, silences and entries whose retention is.
    pub fn forget(&mut self, now: Timestamp) {
        for alert in self.alerts.forget_resolved(now) {
            self.inhibitor.forget(&alert);
        }
        self.forget_old(now);
    }

    /// Forgets silences and entries whose retention is over.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.silences.forget_expired(now, self.retention);
        self.log.forget_expired(now);
    }

    /// What holds.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// All alerts.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// All silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// All groups.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// Which alerts inhibit a label set now.
    pub fn inhibiting(&self, labels: &crate::labels::Labels, now: Timestamp) -> Vec<Fingerprint> {
        self.inhibitor.inhibiting(labels, &self.alerts, now)
    }

    /// How many messages are under way or wait to be tried again.
    pub fn under_way(&self) -> usize {
        self.deliveries.len()
    }

    fn take(&mut self, id: DeliveryId) -> Option<Delivery> {
        let delivery = self.deliveries.remove(&id)?;
        self.delivery_due.remove(&(delivery.next, id));
        Some(delivery)
    }

    fn due_deliveries(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.delivery_due.first().filter(|(at, _)| *at <= now) {
            let Some(mut delivery) = self.take(id) else {
                self.delivery_due.remove(&(at, id));
                continue;
            };
            if delivery.waits && now < delivery.message.until {
                delivery.waits = false;
                delivery.next = moment::after(delivery.message.until, ANSWER_GRACE);
                self.delivery_due.insert((delivery.next, id));
                effects.push(Effect::Send(Box::new(delivery.message.clone())));
                self.deliveries.insert(id, delivery);
            } else {
                let why = "nobody answered in time".to_owned();
                self.ended(&delivery, &Fate::Failed(why), effects);
            }
        }
    }

    /// A message got there, or will not.
    fn ended(&mut self, delivery: &Delivery, fate: &Fate, effects: &mut Vec<Effect>) {
        if delivery.epoch != self.epoch {
            return;
        }
        for alert in &delivery.message.alerts {
            self.note(&delivery.group, alert.fingerprint(), fate.clone(), effects);
        }
        self.answered(&delivery.group, *fate == Fate::Notified);
    }

    /// One message of a group has its answer; with the last, the group is at its end.
    fn answered(&mut self, group: &GroupId, well: bool) {
        let Some((under_way, all_well)) = self.telling.get_mut(group) else {
            return;
        };
        *under_way -= 1;
        *all_well &= well;
        if *under_way == 0 {
            let well = *all_well;
            self.telling.remove(group);
            self.dispatch.finished(group, well);
        }
    }

    fn note(&mut self, group: &GroupId, alert: Fingerprint, fate: Fate, effects: &mut Vec<Effect>) {
        if self.dispatch.note(group, alert, &fate) {
            let group = self.dispatch.key(group);
            effects.push(Effect::Note(Note { group, alert, fate }));
        }
    }
}

#[cfg(test)]
mod tests;
