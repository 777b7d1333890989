//! What is told of a group that is due, and to whom.
//!
//! Guarantees: the order of the original: what is inhibited, then times, then silences, then what was told before.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use mainstay_core::Span;

use super::{
    ANSWER_GRACE, Delivery, DeliveryId, Effect, Machine, Message, RETRY_FIRST, Record, TRY_AT_LEAST,
};
use crate::{
    alert::Alert,
    config::Integration,
    dispatch::{Fate, Flush, GroupId},
    labels::Fingerprint,
    log::{Entry, News},
    moment,
    route::Manner,
};

/// What there is to tell of a group.
struct Telling<'a> {
    group: &'a GroupId,
    key: String,
    manner: &'a Manner,
    /// Those that nothing keeps from being told.
    alerts: &'a [Arc<Alert>],
    firing: BTreeSet<Fingerprint>,
    resolved: BTreeSet<Fingerprint>,
}

/// What one channel has to do with it.
enum Part {
    /// It is told these.
    Told(Vec<Arc<Alert>>),
    /// It does not hear of it, and that is noted as told.
    Noted,
    /// Nothing is new to it.
    Known,
}

impl Machine {
    /// Sends what is to be told of a group.
    pub(super) fn tell(&mut self, flush: &Flush, now: Timestamp, effects: &mut Vec<Effect>) {
        let manner = self.settings.tree.get(flush.group.route).manner.clone();
        let alerts = self.worth_telling(flush, &manner, now, effects);
        let (resolved, firing): (Vec<_>, Vec<_>) =
            alerts.iter().partition(|it| it.is_resolved(now));
        let prints = |of: Vec<&Arc<Alert>>| of.into_iter().map(|it| it.fingerprint()).collect();
        let telling = Telling {
            group: &flush.group,
            key: self.dispatch.key(&flush.group),
            manner: &manner,
            firing: prints(firing),
            resolved: prints(resolved),
            alerts: &alerts,
        };
        let integrations = match self.settings.receiver(&manner.receiver) {
            Some(receiver) if !alerts.is_empty() => receiver.integrations.clone(),
            Some(_) | None => Vec::new(),
        };
        let under_way = integrations
            .iter()
            .filter(|integration| self.tell_one(&telling, integration, now, effects))
            .count();
        if under_way == 0 {
            self.quiet(&telling, integrations.is_empty(), effects);
            self.dispatch.finished(&flush.group, true);
        } else {
            self.telling.insert(flush.group.clone(), (under_way, true));
        }
    }

    /// Those alerts that nothing keeps from being told; what keeps the others is noted.
    fn worth_telling(
        &mut self,
        flush: &Flush,
        manner: &Manner,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Vec<Arc<Alert>> {
        let muted = self.muted(manner, now);
        let mut worth = Vec::with_capacity(flush.alerts.len());
        for alert in &flush.alerts {
            let by = self.inhibiting(&alert.labels, now);
            let fate = if by.is_empty() {
                muted.clone().or_else(|| {
                    let by = self.silences.silencing(&alert.labels, now);
                    (!by.is_empty()).then_some(Fate::Silenced(by))
                })
            } else {
                Some(Fate::Inhibited(by))
            };
            match fate {
                Some(fate) => self.note(&flush.group, alert.fingerprint(), fate, effects),
                None => worth.push(Arc::clone(alert)),
            }
        }
        worth
    }

    /// Why a route is silent now, if it is.
    fn muted(&self, manner: &Manner, now: Timestamp) -> Option<Fate> {
        let contains = |name: &&String| {
            let intervals = self.settings.intervals.get(*name);
            intervals.is_some_and(|all| all.iter().any(|it| it.contains(now)))
        };
        let muting: Vec<String> = manner.mute.iter().filter(contains).cloned().collect();
        let is_active = manner.active.is_empty() || manner.active.iter().any(|it| contains(&it));
        if !is_active {
            return Some(Fate::Muted(manner.active.clone()));
        }
        (!muting.is_empty()).then_some(Fate::Muted(muting))
    }

    /// Tells one channel its part; says whether a message is under way.
    fn tell_one(
        &mut self,
        telling: &Telling<'_>,
        integration: &Arc<Integration>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let (alerts, is_sent) = match self.part(telling, integration, now) {
            Part::Known => return false,
            Part::Noted => (Vec::new(), false),
            Part::Told(alerts) => (alerts, true),
        };
        let id = DeliveryId(self.next_id);
        self.next_id += 1;
        let until = moment::after(now, telling.manner.group_interval.max(TRY_AT_LEAST));
        let delivery = Delivery {
            message: Message {
                id,
                integration: Arc::clone(integration),
                group_key: telling.key.clone(),
                group_labels: telling.group.labels.clone(),
                alerts,
                at: now,
                until,
                attempts: 0,
            },
            group: telling.group.clone(),
            firing: telling.firing.clone(),
            resolved: telling.resolved.clone(),
            repeat: telling.manner.repeat_interval,
            epoch: self.epoch,
            next: moment::after(until, ANSWER_GRACE),
            waits: false,
            wait: RETRY_FIRST,
        };
        if !is_sent {
            self.told(&delivery, now, effects);
            return false;
        }
        for alert in &delivery.message.alerts {
            self.note(telling.group, alert.fingerprint(), Fate::Sending, effects);
        }
        effects.push(Effect::Send(Box::new(delivery.message.clone())));
        self.delivery_due.insert((delivery.next, id));
        self.deliveries.insert(id, delivery);
        true
    }

    fn part(&self, telling: &Telling<'_>, integration: &Integration, now: Timestamp) -> Part {
        let news = News {
            firing: &telling.firing,
            resolved: &telling.resolved,
            send_resolved: integration.send_resolved,
            repeat: telling.manner.repeat_interval,
        };
        let why = self.log.why(&telling.key, &integration.key(), news, now);
        if why.is_none() {
            return Part::Known;
        }
        if integration.send_resolved {
            return Part::Told(telling.alerts.to_vec());
        }
        let firing = telling.alerts.iter().filter(|it| !it.is_resolved(now));
        let firing: Vec<_> = firing.cloned().collect();
        if firing.is_empty() {
            Part::Noted
        } else {
            Part::Told(firing)
        }
    }

    /// What became of alerts of which nobody is told anything now.
    fn quiet(&mut self, telling: &Telling<'_>, no_channel: bool, effects: &mut Vec<Effect>) {
        for alert in telling.alerts {
            let print = alert.fingerprint();
            let was_told = self
                .settings
                .receiver(&telling.manner.receiver)
                .is_some_and(|receiver| {
                    let entries = receiver.integrations.iter();
                    let mut entries =
                        entries.filter_map(|it| self.log.get(&telling.key, &it.key()));
                    entries.any(|it| it.firing.contains(&print) || it.resolved.contains(&print))
                });
            let fate = match (no_channel, was_told) {
                (true, _) => Fate::NoChannel,
                (false, true) => Fate::Known,
                (false, false) => Fate::NeverTold,
            };
            self.note(telling.group, print, fate, effects);
        }
    }

    /// Keeps what a channel now knows.
    pub(super) fn told(&mut self, delivery: &Delivery, now: Timestamp, effects: &mut Vec<Effect>) {
        let twice = Span::from_millis(delivery.repeat.millis().saturating_mul(2));
        let entry = Entry {
            group: delivery.message.group_key.clone(),
            channel: delivery.message.integration.key(),
            firing: delivery.firing.clone(),
            resolved: delivery.resolved.clone(),
            at: now,
            expires: moment::after(now, twice.min(self.retention)),
        };
        self.log.put(entry.clone());
        effects.push(Effect::Keep(Box::new(Record::Told(entry))));
    }
}
