//! Telling people past the ledger: what the auditor misses, and alerts that cannot be written down.
//!
//! Guarantees: whoever the first step with anybody means is told, each by the first channel that takes it, and about
//! the same thing no more often than once in [`AGAIN_AFTER`]. Nothing of it is kept: it is for when keeping fails.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::{ChangeId, Span, Time, escalation::Severity};

use super::{Channels, pager::moment};
use crate::escalation::{About, Letter, Policy, Recipient, Who};

/// How often people are told of the same thing.
const AGAIN_AFTER: Span = Span::from_secs(300);
/// Things remembered for that.
const REMEMBERED_MAX: usize = 4_096;
/// People who are told.
const PEOPLE_MAX: usize = 3;

/// What they are told.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// What it is about, for the same thing the same.
    pub(super) about: String,
    /// What stands for an incident.
    pub(super) incident: ChangeId,
    /// How bad it is.
    pub(super) severity: Severity,
    /// In a line.
    pub(super) title: String,
}

/// See the module.
pub(super) struct Direct {
    who: Arc<dyn Who>,
    channels: Arc<dyn Channels>,
    told: Mutex<BTreeMap<String, Time>>,
}

impl Direct {
    pub(super) fn new(who: Arc<dyn Who>, channels: Arc<dyn Channels>) -> Self {
        Self {
            who,
            channels,
            told: Mutex::new(BTreeMap::new()),
        }
    }

    /// Tells whoever a policy means first.
    pub(super) async fn tell(&self, policy: &Policy, word: &Word, at: Time) {
        if !self.is_news(&word.about, at) {
            return;
        }
        for person in self.people(policy, at) {
            self.tell_one(&person, word, at).await;
        }
    }

    fn is_news(&self, about: &str, at: Time) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh =
            |before: Time| at.since(before) < AGAIN_AFTER && before.since(at) < AGAIN_AFTER;
        if told.len() >= REMEMBERED_MAX {
            told.retain(|_, before| is_fresh(*before));
        }
        if told.get(about).is_some_and(|before| is_fresh(*before)) || told.len() >= REMEMBERED_MAX {
            return false;
        }
        told.insert(about.to_owned(), at);
        true
    }

    fn people(&self, policy: &Policy, at: Time) -> Vec<Recipient> {
        let of_step = |step: &crate::escalation::Step| -> Vec<Recipient> {
            let of = |target| self.who.of(target, moment(at));
            step.who.iter().flat_map(of).take(PEOPLE_MAX).collect()
        };
        let mut steps = policy.steps.iter().map(of_step);
        steps.find(|people| !people.is_empty()).unwrap_or_default()
    }

    async fn tell_one(&self, person: &Recipient, word: &Word, at: Time) {
        for channel in &person.channels {
            let letter = Letter {
                person: person.person.clone(),
                channel: channel.clone(),
                step: 0,
                at,
                about: About {
                    incident: word.incident.clone(),
                    severity: word.severity,
                    title: word.title.clone(),
                    key: format!("direct/{}/{}", word.about, at.millis()),
                    acknowledge: None,
                },
                others: Vec::new(),
            };
            match self.channels.tell(&letter).await {
                Ok(()) => return,
                Err(failure) => {
                    let person = &person.person;
                    tracing::error!(%person, %channel, why = failure.why, "nobody was told directly");
                }
            }
        }
    }
}
