//! Whom policies mean by a schedule or a team: whoever has the role there when it matters.
//!
//! Guarantees: what is declared or ordered about a schedule holds for the next page once the ledger has it, within
//! [`READ_EVERY`]; a ledger that cannot be read leaves schedules as they were known, since a page to whom it was is
//! better than one to nobody. A team is the schedule of its name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use mainstay_core::{Name, escalation::Target, oncall::Role};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Contacts;
use crate::{
    escalation::{Recipient, Who},
    schedule::{Schedule, adapter::Desk},
};

/// How soon a new entry is read, and how soon a ledger that could not be read is tried again.
const READ_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub struct Rota {
    contacts: Arc<Contacts>,
    standing: Mutex<Arc<BTreeMap<Name, Schedule>>>,
}

impl std::fmt::Debug for Rota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.standing().keys()).finish()
    }
}

impl Rota {
    /// One that knows people, and no schedule yet.
    pub fn new(contacts: Arc<Contacts>) -> Self {
        Self {
            contacts,
            standing: Mutex::default(),
        }
    }

    /// These are the schedules from now on.
    pub fn stand(&self, schedules: impl IntoIterator<Item = Schedule>) {
        let named = schedules.into_iter().map(|it| (it.name().clone(), it));
        let standing = Arc::new(named.collect());
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn standing(&self) -> Arc<BTreeMap<Name, Schedule>> {
        let standing = self.standing.lock();
        Arc::clone(&standing.unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads schedules whenever the ledger grew, until `stop`.
    pub async fn follow(
        self: Arc<Self>,
        desk: Desk,
        mut newest: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            newest.borrow_and_update();
            let is_read = match desk.standing().await {
                Ok(schedules) => {
                    self.stand(schedules);
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, "schedules were not read: pages go to whom they named before");
                    false
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
            if !is_read {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = newest.changed() => if changed.is_err() { return },
            }
        }
    }

    fn on_call(&self, schedule: &Name, roles: &[Role], at: Timestamp) -> Vec<Recipient> {
        let standing = self.standing();
        let Some(schedule) = standing.get(schedule) else {
            return Vec::new();
        };
        let mut found: Vec<Recipient> = Vec::new();
        for shift in roles.iter().filter_map(|role| schedule.on_call(*role, at)) {
            for recipient in self.contacts.of(&Target::Person(shift.person), at) {
                if found.iter().all(|it| it.person != recipient.person) {
                    found.push(recipient);
                }
            }
        }
        found
    }
}

fn role(name: &Name) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|it| it.as_str() == name.as_str())
}

impl Who for Rota {
    fn of(&self, target: &Target, at: Timestamp) -> Vec<Recipient> {
        match target {
            Target::Person(_) => self.contacts.of(target, at),
            Target::Schedule { schedule, role: of }
            | Target::Team {
                team: schedule,
                role: Some(of),
            } => role(of).map_or_else(Vec::new, |it| self.on_call(schedule, &[it], at)),
            // All of a team, but for those whom nobody relies on.
            Target::Team { team, role: None } => {
                let relied_on = Role::ALL.into_iter().filter(|it| *it != Role::Shadow);
                self.on_call(team, &relied_on.collect::<Vec<_>>(), at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::oncall::ScheduleSpec;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn rota() -> Rota {
        let person = |hook: &str| serde_json::json!({ "channels": [{ "name": "push", "webhook": { "url": hook } }] });
        let people = serde_json::json!({
            "alice": person("http://127.0.0.1:9/a"),
            "bob": person("http://127.0.0.1:9/b"),
        });
        let people = serde_json::from_value(people).unwrap();
        let rota = Rota::new(Arc::new(Contacts::new(people).unwrap()));
        let spec: ScheduleSpec = serde_json::from_value(serde_json::json!({
            "zone": "UTC",
            "layers": [
                { "name": "week", "people": ["alice", "bob"], "from": "2026-01-05" },
                { "name": "lead", "role": "lead", "people": ["bob"], "from": "2026-01-05" },
                { "name": "gone", "role": "manager", "people": ["carol"], "from": "2026-01-05" },
            ],
        }))
        .unwrap();
        rota.stand([Schedule::build(name("web"), &spec).unwrap()]);
        rota
    }

    fn told(rota: &Rota, target: &str, at: &str) -> Vec<String> {
        let target: Target = target.parse().unwrap();
        let of = rota.of(&target, at.parse().unwrap());
        of.iter().map(|it| it.person.to_string()).collect()
    }

    #[test]
    fn a_role_is_whoever_has_it_when_it_matters() {
        let rota = rota();
        let (first, second) = ("2026-01-06T12:00:00Z", "2026-01-13T12:00:00Z");
        assert_eq!(told(&rota, "schedule/web/primary", first), ["alice"]);
        assert_eq!(told(&rota, "schedule/web/primary", second), ["bob"]);
        assert_eq!(told(&rota, "team/web/lead", first), ["bob"]);
        assert_eq!(told(&rota, "team/web", first), ["alice", "bob"]);
        // Once, though bob has two roles then.
        assert_eq!(told(&rota, "team/web", second), ["bob"]);
        for nobody in [
            "team/web/manager",
            "schedule/web/king",
            "schedule/shop/primary",
        ] {
            assert_eq!(told(&rota, nobody, first), Vec::<String>::new(), "{nobody}");
        }
        assert_eq!(told(&rota, "person/bob", first), ["bob"]);
    }
}
