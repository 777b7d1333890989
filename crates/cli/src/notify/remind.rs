//! Reminders: a change that still waits for a person is told again.
//!
//! Guarantees: what waits is a timer of the store, so that a reminder outlives the server that announced the change;
//! one that was due while no server ran is told once, at the next start. Several servers on one store tell it once:
//! whoever moves the timer on tells it. Never reminds of a change that moves again or is over.
//!
//! Example: paused at 18:00 with `remind_every = "1h"`: told at 18:00, 19:00, 20:00, until somebody resumes it.

use mainstay_core::{
    ChangeId, ChangeState, Span, Time,
    ports::{LedgerError, Tables},
};
use mainstay_store::{ChangeSummary, Store, StoreError, Timer};
use serde::{Deserialize, Serialize};

use super::Note;

/// Who looks at these timers.
const KIND: &str = "notify.remind";
/// Reminders of one look; the rest is due at the next.
const DUE_MAX: usize = 100;

/// What a timer keeps.
#[derive(Debug, Serialize, Deserialize)]
struct Waits {
    change: ChangeId,
    since: Time,
}

/// Why a reminder has to wait for the next look.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemindError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tables(#[from] LedgerError),
}

/// Sets and tells them.
pub(super) struct Reminders {
    store: Store,
    every: Span,
}

fn timer_id(change: &ChangeId) -> String {
    format!("remind/{change}")
}

impl Reminders {
    pub(super) fn new(store: Store, every: Span) -> Self {
        Self { store, every }
    }

    /// Takes note of where a change came to at `at`.
    pub(super) async fn moved(
        &self,
        change: &ChangeId,
        state: ChangeState,
        at: Time,
    ) -> Result<(), StoreError> {
        let id = timer_id(change);
        if state != ChangeState::Paused {
            self.store.done(&id).await?;
            return Ok(());
        }
        let waits = Waits {
            change: change.clone(),
            since: at,
        };
        let timer = Timer {
            id,
            due_at: at + self.every,
            kind: KIND.to_owned(),
            body: serde_json::to_string(&waits).unwrap_or_default(),
        };
        self.store.schedule(&timer).await
    }

    /// What is due at `now`, moved on to its next time.
    pub(super) async fn due(
        &self,
        tables: &dyn Tables,
        now: Time,
    ) -> Result<Vec<Note>, RemindError> {
        let due = self.store.due(KIND, now, DUE_MAX).await?;
        let mut notes = Vec::new();
        for timer in due {
            let Ok(waits) = serde_json::from_str::<Waits>(&timer.body) else {
                self.store.done(&timer.id).await?;
                continue;
            };
            let row = tables.get("changes", waits.change.as_str()).await?;
            let summary = row.and_then(|row| serde_json::from_str::<ChangeSummary>(&row).ok());
            let Some(summary) = summary.filter(|it| it.state == ChangeState::Paused) else {
                self.store.done(&timer.id).await?;
                continue;
            };
            if self.store.postpone(&timer, now + self.every).await? {
                notes.push(reminder(waits, summary, now));
            }
        }
        Ok(notes)
    }
}

fn reminder(waits: Waits, summary: ChangeSummary, now: Time) -> Note {
    let Waits { change, since } = waits;
    let because = format!(
        "it has waited for a person for {}, since {since}: {}; mainstay why {change} shows the numbers, then mainstay \
         rollout resume|abort {change}",
        now.since(since),
        summary.because
    );
    let mut note = Note::new("change", &summary.change.title, "paused", &because, now);
    note.change = Some(change);
    let reach = summary.change.blast_radius;
    note.service = reach.services.into_iter().next();
    note.fabric = reach.fabrics.into_iter().next();
    note
}
