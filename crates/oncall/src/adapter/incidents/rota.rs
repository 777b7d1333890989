//! Whom policies mean, and how they are told: people of the configuration and responders of the ledger, by name or by the
//! role that they have in a schedule when it matters.
//!
//! Guarantees: what is declared or ordered holds for the next page once the ledger has it, within [`READ_EVERY`]; a ledger
//! that cannot be read leaves all as it was known, since a page to whom it was is better than one to nobody. A team is
//! the schedule of its name. Who stands in the configuration is told by that, whatever the ledger says of the name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use mainstay_core::{
    Name,
    escalation::Target,
    oncall::{ContactKind, ResponderSpec, Role},
    ports::BoxFuture,
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Channels, Contacts, ContactsError, Method, Person};
use crate::{
    escalation::{Letter, Recipient, Who},
    machine::Failure,
    schedule::{Schedule, adapter::Desk, reach},
};

/// How soon a new entry is read, and how soon a ledger that could not be read is tried again.
const READ_EVERY: Duration = Duration::from_millis(250);

struct Known {
    contacts: Contacts,
    responders: BTreeMap<Name, ResponderSpec>,
    schedules: BTreeMap<Name, Schedule>,
}

/// See the module.
pub struct Rota {
    /// Of the configuration.
    people: BTreeMap<Name, Person>,
    known: Mutex<Arc<Known>>,
}

impl std::fmt::Debug for Rota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.known().schedules.keys())
            .finish()
    }
}

impl Rota {
    /// One that knows the people of the configuration, and nothing of the ledger yet.
    pub fn new(people: BTreeMap<Name, Person>) -> Result<Self, ContactsError> {
        let known = Known {
            contacts: Contacts::new(people.clone())?,
            responders: BTreeMap::new(),
            schedules: BTreeMap::new(),
        };
        Ok(Self {
            people,
            known: Mutex::new(Arc::new(known)),
        })
    }

    /// These are the schedules and responders from now on.
    pub fn stand(
        &self,
        schedules: impl IntoIterator<Item = Schedule>,
        responders: BTreeMap<Name, ResponderSpec>,
    ) {
        let schedules = schedules.into_iter().map(|it| (it.name().clone(), it));
        let before = self.known();
        let contacts = if before.responders == responders {
            before.contacts.clone()
        } else {
            self.contacts(&responders)
        };
        let known = Known {
            contacts,
            responders,
            schedules: schedules.collect(),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Everybody who can be told: whoever only the ledger knows by what it says of them.
    fn contacts(&self, responders: &BTreeMap<Name, ResponderSpec>) -> Contacts {
        let mut contacts = self
            .known()
            .contacts
            .only(|it| self.people.contains_key(it));
        for (name, spec) in responders {
            let channels: Vec<Method> = spec.contacts.iter().filter_map(method).collect();
            if self.people.contains_key(name) || channels.is_empty() {
                continue;
            }
            let zone = spec.zone.clone();
            if let Err(error) = contacts.add(name.clone(), Person { zone, channels }) {
                tracing::warn!(%name, %error, "a responder cannot be told");
            }
        }
        contacts
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is a person of this name who can be told.
    pub fn knows(&self, person: &Name) -> bool {
        self.known().contacts.knows(person)
    }

    /// Reads what the ledger holds; false where it cannot be read.
    pub async fn read(&self, desk: &Desk) -> bool {
        match desk.standing().await {
            Ok((schedules, responders)) => {
                self.stand(schedules, responders);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "schedules were not read: pages go to whom they named before");
                false
            }
        }
    }

    /// Reads whenever the ledger grew, until `stop`.
    pub async fn follow(
        self: Arc<Self>,
        desk: Desk,
        mut newest: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            newest.borrow_and_update();
            let is_read = self.read(&desk).await;
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
        let known = self.known();
        let Some(schedule) = known.schedules.get(schedule) else {
            return Vec::new();
        };
        let mut found: Vec<Recipient> = Vec::new();
        for shift in roles.iter().filter_map(|role| schedule.on_call(*role, at)) {
            if let Some(recipient) = self.person(&shift.person, at)
                && found.iter().all(|it| it.person != recipient.person)
            {
                found.push(recipient);
            }
        }
        found
    }

    /// A person, by the channels that the hours of their rules say where the ledger has them.
    fn person(&self, name: &Name, at: Timestamp) -> Option<Recipient> {
        let known = self.known();
        let mut recipient = known.contacts.person(name)?;
        if self.people.contains_key(name) {
            return Some(recipient);
        }
        if let Some(spec) = known.responders.get(name) {
            let wanted = reach::contacts(spec, None, at);
            let wanted = wanted.iter().map(|it| it.name.clone());
            let told: Vec<Name> = wanted
                .filter(|it| recipient.channels.contains(it))
                .collect();
            // Somebody whose rule names nothing that can be told now is told by what there is.
            if !told.is_empty() {
                recipient.channels = told;
            }
        }
        Some(recipient)
    }
}

/// The way that a contact is; none of its kind is known here yet for the others.
fn method(contact: &mainstay_core::oncall::Contact) -> Option<Method> {
    let way = match contact.kind {
        ContactKind::Webhook => json!({ "webhook": { "url": contact.to } }),
        ContactKind::Slack => json!({ "slack": { "api_url": contact.to } }),
        ContactKind::Email | ContactKind::Phone | ContactKind::WebPush => return None,
    };
    let mut way = way;
    way["name"] = json!(contact.name);
    serde_json::from_value(way).ok()
}

impl Channels for Rota {
    fn tell<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Failure>> {
        let known = self.known();
        Box::pin(async move { known.contacts.tell(letter).await })
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
            Target::Person(name) => self.person(name, at).into_iter().collect(),
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
        let rota = Rota::new(people).unwrap();
        let spec: ScheduleSpec = serde_json::from_value(serde_json::json!({
            "zone": "UTC",
            "layers": [
                { "name": "week", "people": ["alice", "bob"], "from": "2026-01-05" },
                { "name": "lead", "role": "lead", "people": ["bob"], "from": "2026-01-05" },
                { "name": "gone", "role": "manager", "people": ["carol"], "from": "2026-01-05" },
            ],
        }))
        .unwrap();
        let erin: ResponderSpec = serde_json::from_value(serde_json::json!({
            "contacts": [
                { "name": "mail", "kind": "email", "to": "erin@example.com" },
                { "name": "day", "kind": "webhook", "to": "http://127.0.0.1:9/d" },
                { "name": "night", "kind": "slack", "to": "http://127.0.0.1:9/n" },
            ],
            "rules": [{ "hours": [{ "from": "22:00", "until": "07:00" }], "contacts": ["night"] }],
        }))
        .unwrap();
        let responders = BTreeMap::from([(name("erin"), erin)]);
        rota.stand([Schedule::build(name("web"), &spec).unwrap()], responders);
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

    #[test]
    fn a_responder_of_the_ledger_is_told_by_the_contacts_that_can_be_told_at_that_hour() {
        let rota = rota();
        let channels = |at: &str| {
            let of = rota.of(&"person/erin".parse().unwrap(), at.parse().unwrap());
            let names = of[0].channels.iter().map(ToString::to_string);
            names.collect::<Vec<_>>()
        };
        assert_eq!(channels("2026-01-06T12:00:00Z"), ["day", "night"]);
        assert_eq!(channels("2026-01-06T23:00:00Z"), ["night"]);
        assert!(rota.knows(&name("erin")) && !rota.knows(&name("carol")));
        rota.stand([], BTreeMap::new());
        assert!(!rota.knows(&name("erin")) && rota.knows(&name("alice")));
    }
}
