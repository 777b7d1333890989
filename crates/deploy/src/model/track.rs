//! One change, as it went and stands.

use std::collections::BTreeMap;

use mainstay_change::{CAPACITY, Direction};
use mainstay_core::{Change, ChangeId, ChangeState, Expected, Time, Verdict, change::Moved};

use super::{ENDED_MAX, STEPS_MAX};
use crate::{action, rollout::State, slots::Slots};

/// One batch, as it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number, from 1.
    pub number: u32,
    /// Its instances.
    pub slots: Slots,
    /// When it began.
    pub began_at: Time,
    /// When all its successors were verified.
    pub verified_at: Option<Time>,
    /// The arithmetic that allowed it.
    pub arithmetic: String,
    /// Whether it was on the way back.
    pub restoring: bool,
}

/// One change, as it went and stands.
#[derive(Debug, Clone)]
pub struct Track<S = State> {
    /// As it was opened.
    pub change: Change,
    /// Where it stands.
    pub state: S,
    /// Where it stands, for everyone else.
    pub moved: Moved,
    /// Its batches.
    pub batches: Vec<Batch>,
    /// Verdicts worth an entry, oldest first.
    pub verdicts: Vec<Verdict>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Entries in its stream.
    pub version: u64,
}

impl<S> Track<S> {
    pub(super) fn new(change: Change, state: S, moved: Moved) -> Self {
        Self {
            change,
            state,
            moved,
            batches: Vec::new(),
            verdicts: Vec::new(),
            ended_at: None,
            version: 0,
        }
    }
    pub(super) fn moves(&mut self, at: Time, moved: Moved) {
        if moved.state.is_final() {
            self.ended_at = Some(at);
        }
        self.moved = moved;
    }
    /// What must still stand where it is acted for: its stream as it was read; none once it is over.
    pub(super) fn open(&self) -> Option<Expected> {
        self.ended_at.is_none().then(|| Expected {
            stream: self.change.stream(),
            version: self.version,
        })
    }
    /// Where it stands, as a word.
    pub fn standing(&self) -> ChangeState {
        self.moved.state
    }
}

impl Track<action::State> {
    pub(super) fn notes(&mut self, event: &action::Event) {
        use action::Event as E;
        match event {
            E::Began {
                at,
                batch,
                slots,
                verdict,
                ..
            } if self.batches.len() < STEPS_MAX => {
                let words: Vec<String> = verdict
                    .findings
                    .iter()
                    .filter(|it| it.signal == CAPACITY)
                    .map(|it| it.value.clone())
                    .collect();
                self.batches.push(Batch {
                    number: *batch,
                    slots: slots.clone(),
                    began_at: *at,
                    verified_at: None,
                    arithmetic: words.join("; "),
                    restoring: self.state.plan().direction == Direction::Restoring,
                });
                self.verdicts.push(verdict.clone());
            }
            E::Held { verdict, .. } if self.verdicts.len() < STEPS_MAX => {
                self.verdicts.push(verdict.clone());
            }
            E::Verified { at, .. } | E::Drained { at, .. } => {
                let done = !self.state.is_replacing();
                if let Some(batch) = self.batches.last_mut().filter(|_| done)
                    && batch.verified_at.is_none()
                {
                    batch.verified_at = Some(*at);
                }
            }
            E::Began { .. }
            | E::Held { .. }
            | E::Surged { .. }
            | E::Applied { .. }
            | E::Returned { .. }
            | E::Back { .. }
            | E::Trimmed { .. }
            | E::Paused { .. }
            | E::Resumed { .. }
            | E::Aborted { .. }
            | E::Settled { .. } => {}
        }
    }
}

pub(super) fn newest_first<S>(tracks: &BTreeMap<ChangeId, Track<S>>) -> Vec<&Track<S>> {
    let mut all: Vec<&Track<S>> = tracks.values().collect();
    all.sort_by_key(|track| std::cmp::Reverse((track.change.opened_at, &track.change.id)));
    all
}

/// Drops the oldest changes that are over, beyond what is kept.
pub(super) fn forget<S>(tracks: &mut BTreeMap<ChangeId, Track<S>>) {
    let mut ended: Vec<(Time, ChangeId)> = tracks
        .iter()
        .filter_map(|(id, track)| Some((track.ended_at?, id.clone())))
        .collect();
    let over = ended.len().saturating_sub(ENDED_MAX);
    ended.sort();
    for (_, id) in ended.into_iter().take(over) {
        tracks.remove(&id);
    }
}
