//! What people and alerts do: each decides on the stream as it is, by the same machine.

use mainstay_core::{ChangeId, Name, change::change_stream, escalation::Severity};
use mainstay_oncall::incident::{AlertBrief, Input, entries_of, fold};
use rand::RngExt;

use super::PageScene;
use crate::{
    driver::{Sim, name},
    report::Invariant,
};

impl Sim<PageScene> {
    /// Whoever was told may acknowledge after a while.
    pub(super) fn was_told(&mut self, incident: &ChangeId, person: &Name) {
        if self.rng.random_range(0..10) < 4 {
            let at = self.true_ms + self.rng.random_range(2_000..400_000);
            let plan = (at, incident.clone(), person.clone());
            self.scene.plans.push(plan);
        }
    }

    pub(super) fn people_act(&mut self) {
        let now = self.true_ms;
        let (due, later) = std::mem::take(&mut self.scene.plans)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.scene.plans = later;
        let due: Vec<(i64, ChangeId, Name)> = due;
        for (_, incident, person) in due {
            let by = person.to_string();
            let via = "link".to_owned();
            self.act(&incident, Input::Acknowledge { by, via });
        }
        // As often as before when it is calm.
        if self.rng.random_range(0..1_000) >= 12 || self.clean {
            return;
        }
        let ids: Vec<ChangeId> = self.scene.watched.keys().cloned().collect();
        let Some(id) = ids.get(self.rng.random_range(0..ids.len().max(1))).cloned() else {
            return;
        };
        let (by, because) = (|| "dan".to_owned(), || "as it looks".to_owned());
        let input = match self.rng.random_range(0..12) {
            0 => Input::Escalate {
                by: by(),
                because: because(),
            },
            1 => Input::Resolve {
                by: by(),
                because: because(),
            },
            2 | 3 => Input::Reopen {
                by: by(),
                because: because(),
            },
            4 | 5 => Input::Severity {
                by: by(),
                to: Severity::ALL[self.rng.random_range(0..5)],
                because: because(),
            },
            more => Input::Alert {
                alert: AlertBrief {
                    id: format!("alert-{}", self.rng.random_range(0..20)),
                    name: "Slow".to_owned(),
                    text: String::new(),
                },
                fires: more < 11,
            },
        };
        self.act(&id, input);
    }

    /// Somebody does something; a no is theirs to live with.
    fn act(&mut self, incident: &ChangeId, input: Input) {
        let entries = self.ledger.stream(&change_stream(incident));
        let folded = match fold(&entries) {
            Ok(folded) => folded,
            Err(error) => return self.violated(Invariant::Ledger, error.to_string()),
        };
        match entries_of(&folded, self.now(), input) {
            Ok(Some((expected, entries))) => {
                if let Err(stream) = self.write(vec![expected], entries) {
                    self.violated(
                        Invariant::Ledger,
                        format!("{stream} moved while it was read"),
                    );
                }
            }
            Ok(None) => {}
            Err(error) => self.note(&format!("{incident}: {error}")),
        }
    }
}

/// Whom the scene names.
pub(super) fn is(person: &Name, text: &str) -> bool {
    *person == name::<Name>(text)
}
