//! Groups of alerts, and when each is told.
//!
//! Guarantees: a new group waits its `group_wait`, but not for an alert that is older than that; it is told every
//! `group_interval` from then on, and never while it is being told; what is over leaves it once all were told so. What
//! became of each alert is kept with it. Never reads a clock, never decides who hears of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use mainstay_core::Span;

use crate::{
    alert::Alert,
    labels::{Fingerprint, Labels},
    moment,
    route::{RouteId, Tree},
};

/// How often groups that nothing is in any more are removed.
pub const SWEEP_EVERY: Span = Span::from_secs(30);

/// What a group is known by: its route, and the labels that its alerts share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Its route.
    pub route: RouteId,
    /// What its alerts share.
    pub labels: Labels,
}

/// What became of an alert in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It waits for its group to be told.
    Waiting,
    /// It was told.
    Notified,
    /// It was told before, and nothing is new.
    Known,
    /// It is being told.
    Sending,
    /// It could not be told; it is tried again with its group.
    Failed(String),
    /// Others make it not worth telling.
    Inhibited(Vec<Fingerprint>),
    /// Somebody does not want to hear of it.
    Silenced(Vec<String>),
    /// The time is one at which its route is silent.
    Muted(Vec<String>),
    /// It began and was over before anybody was told.
    NeverTold,
    /// Its receiver has no channel, or none that hears of what is over.
    NoChannel,
}

impl Fate {
    /// In one word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Notified => "notified",
            Self::Known => "known",
            Self::Sending => "sending",
            Self::Failed(_) => "failed",
            Self::Inhibited(_) => "inhibited",
            Self::Silenced(_) => "silenced",
            Self::Muted(_) => "muted",
            Self::NeverTold => "never-told",
            Self::NoChannel => "no-channel",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: &[Fingerprint]| {
            of.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Inhibited(by) => write!(f, "inhibited by {}", list(by)),
            Self::Silenced(by) => write!(f, "silenced by {}", by.join(", ")),
            Self::Muted(by) => write!(f, "muted by {}", by.join(", ")),
            Self::Waiting
            | Self::Notified
            | Self::Known
            | Self::Sending
            | Self::NeverTold
            | Self::NoChannel => f.write_str(self.word()),
        }
    }
}

#[derive(Debug)]
struct Held {
    alert: Arc<Alert>,
    fate: Fate,
}

#[derive(Debug)]
struct Group {
    alerts: BTreeMap<Fingerprint, Held>,
    next: Timestamp,
    was_told: bool,
    /// When the telling began that is not at its end.
    telling: Option<Timestamp>,
}

/// A group that is due, as it is now.
#[derive(Debug, Clone)]
pub struct Flush {
    /// Which.
    pub group: GroupId,
    /// In order.
    pub alerts: Vec<Arc<Alert>>,
}

/// All groups.
#[derive(Debug)]
pub struct Dispatch {
    tree: Arc<Tree>,
    groups: BTreeMap<GroupId, Group>,
    due: BTreeSet<(Timestamp, GroupId)>,
    swept: Timestamp,
}

impl Dispatch {
    /// Without any group.
    pub fn new(tree: Arc<Tree>, now: Timestamp) -> Self {
        Self {
            tree,
            groups: BTreeMap::new(),
            due: BTreeSet::new(),
            swept: now,
        }
    }

    /// Puts an alert into its groups.
    pub fn insert(&mut self, alert: &Arc<Alert>, now: Timestamp) {
        for route in self.tree.matching(&alert.labels) {
            let manner = &self.tree.get(route).manner;
            let id = GroupId {
                route,
                labels: manner.group_by.of(&alert.labels),
            };
            let due = &mut self.due;
            let group = self.groups.entry(id.clone()).or_insert_with(|| {
                let next = moment::after(now, manner.group_wait);
                due.insert((next, id.clone()));
                Group {
                    alerts: BTreeMap::new(),
                    next,
                    was_told: false,
                    telling: None,
                }
            });
            let print = alert.fingerprint();
            if let Some(held) = group.alerts.get_mut(&print) {
                held.alert = Arc::clone(alert);
            } else {
                let held = Held {
                    alert: Arc::clone(alert),
                    fate: Fate::Waiting,
                };
                group.alerts.insert(print, held);
            }
            let has_waited = moment::after(alert.starts_at, manner.group_wait) < now;
            if !group.was_told && has_waited && group.next > now {
                due.remove(&(group.next, id.clone()));
                group.next = now;
                due.insert((now, id));
            }
        }
    }

    /// The next group that is due, if one is; it is then being told until [`finished`](Self::finished).
    pub fn take_due(&mut self, now: Timestamp) -> Option<Flush> {
        loop {
            let first = self.due.first().filter(|(at, _)| *at <= now)?.clone();
            self.due.remove(&first);
            let (_, id) = first;
            let interval = self.tree.get(id.route).manner.group_interval;
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            if group.telling.is_some() {
                // It is put there again when that ends.
                continue;
            }
            group.was_told = true;
            group.next = moment::after(now, interval);
            self.due.insert((group.next, id.clone()));
            if group.alerts.is_empty() {
                continue;
            }
            group.telling = Some(now);
            let mut alerts: Vec<_> = group
                .alerts
                .values()
                .map(|it| Arc::clone(&it.alert))
                .collect();
            alerts.sort_by(|a, b| a.order(b));
            return Some(Flush { group: id, alerts });
        }
    }

    /// Notes what became of an alert; says whether that is new.
    pub fn note(&mut self, group: &GroupId, print: Fingerprint, fate: &Fate) -> bool {
        let group = self.groups.get_mut(group);
        let Some(held) = group.and_then(|it| it.alerts.get_mut(&print)) else {
            return false;
        };
        let is_new = held.fate != *fate;
        held.fate = fate.clone();
        is_new
    }

    /// A group was told, well or not; if well, what was over then leaves it, unless it was heard of since.
    pub fn finished(&mut self, id: &GroupId, well: bool) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let Some(began) = group.telling.take() else {
            return;
        };
        if well {
            group
                .alerts
                .retain(|_, it| !it.alert.is_resolved(began) || it.alert.updated_at > began);
        }
        self.due.insert((group.next, id.clone()));
    }

    /// Removes groups that nothing is in, once in [`SWEEP_EVERY`].
    pub fn sweep(&mut self, now: Timestamp) {
        if now < moment::after(self.swept, SWEEP_EVERY) {
            return;
        }
        self.swept = now;
        let due = &mut self.due;
        self.groups.retain(|id, group| {
            let stays = !group.alerts.is_empty() || group.telling.is_some();
            if !stays {
                due.remove(&(group.next, id.clone()));
            }
            stays
        });
    }

    /// When something is due next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let idle = |id: &GroupId| self.groups.get(id).is_some_and(|it| it.telling.is_none());
        self.due.iter().find(|(_, id)| idle(id)).map(|(at, _)| *at)
    }

    /// The groups with their alerts and what became of each.
    pub fn groups(
        &self,
    ) -> impl Iterator<Item = (&GroupId, impl Iterator<Item = (&Arc<Alert>, &Fate)>)> {
        self.groups.iter().map(|(id, group)| {
            let alerts = group.alerts.values().map(|it| (&it.alert, &it.fate));
            (id, alerts)
        })
    }

    /// A group's key: that of its route, and its labels.
    pub fn key(&self, id: &GroupId) -> String {
        format!("{}:{}", self.tree.get(id.route).key, id.labels)
    }
}
