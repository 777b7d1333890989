//! What people do: open an incident, act on one, read them.
//!
//! Guarantees: an answer that is well is in the ledger before it is given; an act is decided by the incident's own
//! machine on what the ledger holds, and tried again when somebody else wrote first. Works on every server, whichever
//! leads.

use std::sync::Arc;

use mainstay_change::Machine as _;
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Entry, Expected, Name, NewEntry,
    StreamId, Time,
    change::{OPENED, Plan as ChangePlan, change_stream},
    escalation::Severity,
    flaw::SpecFlaw,
    ledger::BODY_BYTES_MAX,
    ports::{Declined, LedgerError, No},
};
use serde_json::{Value, json};

use super::{Book, Declared, Links, Ports, Rota, book::PREFIX, direct::Direct, turns::Turns};
use crate::{
    escalation::Policy,
    incident::{
        EVENT, Folded, Incident, Input, KIND, Plan, State, Status, StreamError, cut, entries_of,
        summary, timeline, view,
    },
};
use mainstay_core::escalation::{EscalationPolicySpec, Target};

/// Tries of one act, when others write at the same time.
const TRIES_MAX: usize = 16;
/// Incidents in one answer.
const LIST_MAX: usize = 500;
/// Closed incidents that are looked at for one answer.
const LOOK_MAX: usize = 2_000;
/// Lines of a timeline in one answer; of longer ones the last.
const LINES_MAX: usize = 2_000;
/// Bytes of a reason.
const REASON_MAX: usize = 300;
/// Kind of the entry by which alerts of one key have one incident at a time.
const KEYED: &str = "incident.keyed";

/// What somebody opens an incident with.
#[derive(Debug, Clone)]
pub struct Page {
    /// What is wrong.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Who is told.
    pub policy: Name,
    /// More of it.
    pub reason: String,
}

/// Which incidents are listed.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// In this state; where unset, those that are not over.
    pub status: Option<Status>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// At most so many.
    pub limit: usize,
}

/// See the module.
#[derive(Clone)]
pub struct Desk {
    pub(super) ports: Ports,
    pub(super) book: Arc<Book>,
    rota: Arc<Rota>,
    pub(super) links: Links,
    pub(super) direct: Arc<Direct>,
    pub(super) turns: Arc<Turns>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl From<StreamError> for Declined {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused(refusal) => {
                let what = format!(
                    "{} is {}, not {}",
                    refusal.signal, refusal.value, refusal.limit
                );
                Self::new(No::Conflict, "incident-refused", what, &refusal.remedy)
            }
            StreamError::NotOne(_) => Self::new(
                No::Unknown,
                "unknown-incident",
                error.to_string(),
                "list them with `mainstay incident list`",
            ),
            StreamError::Undecodable { .. } => Self::new(
                No::Unavailable,
                "unreadable-incident",
                error.to_string(),
                "run `mainstay ledger verify`",
            ),
        }
    }
}

pub(super) fn unavailable(error: &LedgerError) -> Declined {
    let remedy = "try again in a moment; the server's log and /-/ready say why";
    Declined::new(
        No::Unavailable,
        "ledger-unavailable",
        error.to_string(),
        remedy,
    )
}

fn unknown(id: &ChangeId) -> Declined {
    let what = format!("there is no incident `{id}`");
    let remedy = "list them with `mainstay incident list`";
    Declined::new(No::Unknown, "unknown-incident", what, remedy)
}

impl Desk {
    /// One over these ports.
    pub fn new(ports: Ports, book: Arc<Book>, rota: Arc<Rota>, links: Links) -> Self {
        let direct = Arc::new(Direct::new(rota.clone(), rota.clone()));
        Self {
            ports,
            book,
            rota,
            links,
            direct,
            turns: Arc::default(),
        }
    }

    /// What is wrong with a policy that is declared, beside what its spec says of itself.
    pub fn flaws(&self, name: &Name, spec: &EscalationPolicySpec) -> Vec<SpecFlaw> {
        let mut flaws = Vec::new();
        if let Err((at, error)) = Declared::new(spec.clone()) {
            flaws.push(SpecFlaw {
                field: format!("alerts.matchers[{at}]"),
                what: error.to_string(),
                remedy: "write it as Alertmanager does, such as team=\"web\" or severity=~\"page|critical\""
                    .to_owned(),
            });
        }
        let steps = spec.steps.iter().enumerate();
        let named = steps
            .flat_map(|(at, step)| {
                step.who
                    .iter()
                    .map(move |who| (format!("steps[{at}].who"), who))
            })
            .chain(spec.at_p0.iter().map(|who| ("atP0".to_owned(), who)));
        for (field, who) in named {
            if let Target::Person(person) = who
                && !self.rota.knows(person)
            {
                flaws.push(SpecFlaw {
                    field,
                    what: format!("there is no way to reach `{person}`"),
                    remedy: format!(
                        "declare [oncall.people.{person}] in the server's configuration, or apply a Responder of that \
                         name with a webhook or Slack contact first"
                    ),
                });
            }
        }
        let policy = Policy::snapshot(name, spec);
        let bytes = json!(json!(policy).to_string()).to_string().len();
        let room = BODY_BYTES_MAX / 2;
        if bytes > room {
            flaws.push(SpecFlaw {
                field: "steps".to_owned(),
                what: format!("{bytes} bytes with every default; at most {room}"),
                remedy: "name teams instead of people, or leave steps out".to_owned(),
            });
        }
        flaws
    }

    /// Opens an incident; what it is called, when that is in the ledger.
    pub async fn page(&self, actor: Actor, page: Page) -> Result<Value, Declined> {
        self.book.caught_up(&self.ports).await;
        let Some(declared) = self.book.policy(&page.policy) else {
            let what = format!("there is no escalation policy `{}`", page.policy);
            let remedy = "list them with `mainstay get escalationpolicies`, or declare it";
            return Err(Declined::new(No::Invalid, "unknown-policy", what, remedy));
        };
        if page.title.trim().is_empty() || page.title.len() > 2_000 {
            let what = "an incident needs a title of 1 to 2000 bytes";
            let remedy = "say in a line what is wrong";
            return Err(Declined::new(No::Invalid, "bad-incident", what, remedy));
        }
        let policy = Policy::snapshot(&page.policy, &declared.spec);
        let id = (self.ports.next_id)();
        let plan = Plan::new(id, &page.title, page.severity, policy);
        let folded = self
            .open(actor, plan, &page.reason, Vec::new(), Vec::new())
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(summary(&folded))
    }

    /// Opens one in one append, with what is told of it at once, and what else must hold.
    pub(super) async fn open(
        &self,
        actor: Actor,
        plan: Plan,
        reason: &str,
        told: Vec<Input>,
        keyed: Vec<Expected>,
    ) -> Result<Folded, LedgerError> {
        let now = self.ports.clock.now();
        let refused = |what: String| LedgerError::Unavailable(what);
        let mut plan = plan;
        let mut change = opening(&plan, &actor, reason, now);
        if json!(change).to_string().len() > BODY_BYTES_MAX {
            plan = plan.shortened();
            change = opening(&plan, &actor, "", now);
        }
        let state = Incident::open(plan, now).map_err(|error| refused(error.to_string()))?;
        let mut folded = Folded {
            state,
            change,
            version: 1,
        };
        let mut entries = vec![entry(
            &folded.change.stream(),
            OPENED,
            json!(folded.change).to_string(),
        )];
        for input in told {
            let events = Incident::decide(&folded.state, now, input)
                .map_err(|error| refused(error.to_string()))?;
            for event in events {
                Incident::evolve(&mut folded.state, &event);
                folded.version += 1;
                entries.push(entry(
                    &folded.change.stream(),
                    EVENT,
                    json!(event).to_string(),
                ));
            }
        }
        let mut expected = vec![Expected {
            stream: folded.change.stream(),
            version: 0,
        }];
        for it in keyed {
            let body = json!({"incident": folded.change.id}).to_string();
            entries.push(entry(&it.stream, KEYED, body));
            expected.push(it);
        }
        let append = Append {
            actor,
            at: now,
            expected,
            entries,
        };
        let written = self.ports.ledger.append(append).await?;
        let own: Vec<Entry> = written
            .into_iter()
            .filter(|entry| entry.stream == folded.change.stream())
            .collect();
        self.book.put(folded.clone());
        if let Some(last) = own.last() {
            (self.ports.wrote)(&folded.change.id, last.version);
        }
        Ok(folded)
    }

    /// Does what somebody wants done with an incident; how it stands then.
    pub async fn act(
        &self,
        actor: Actor,
        id: &ChangeId,
        inputs: Vec<Input>,
    ) -> Result<Folded, Declined> {
        if !id.as_str().starts_with(PREFIX) {
            return Err(unknown(id));
        }
        let _turn = self.turns.of_incident(id.as_str()).await;
        let mut known = self.book.get(id);
        for _ in 0..TRIES_MAX {
            let folded = if let Some(folded) = known.take() {
                folded
            } else {
                let read = self.book.read(&self.ports, id).await;
                read.map_err(|error| unavailable(&error))?
                    .ok_or_else(|| unknown(id))?
            };
            let (entries, after) = self.decided(&folded, &inputs)?;
            if entries.is_empty() {
                return Ok(after);
            }
            let append = Append {
                actor: actor.clone(),
                at: self.ports.clock.now(),
                expected: vec![Expected {
                    stream: folded.change.stream(),
                    version: folded.version,
                }],
                entries,
            };
            match self.ports.ledger.append(append).await {
                Ok(written) => {
                    let took = self.took(id, &written).await;
                    took.map_err(|error| unavailable(&error))?;
                    return Ok(after);
                }
                // Somebody else wrote first: decide again on what there is now.
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
        let what = format!("`{id}` was written to by others {TRIES_MAX} times meanwhile");
        Err(Declined::new(
            No::Unavailable,
            "incident-busy",
            what,
            "try again in a moment",
        ))
    }

    /// One as it is known here, or else as the ledger has it.
    pub(super) async fn find(&self, id: &ChangeId) -> Result<Folded, Declined> {
        if !id.as_str().starts_with(PREFIX) {
            return Err(unknown(id));
        }
        if let Some(folded) = self.book.get(id) {
            return Ok(folded);
        }
        let read = self.book.read(&self.ports, id).await;
        read.map_err(|error| unavailable(&error))?
            .ok_or_else(|| unknown(id))
    }

    /// What follows from inputs one after another, and how the incident stands then.
    fn decided(
        &self,
        folded: &Folded,
        inputs: &[Input],
    ) -> Result<(Vec<NewEntry>, Folded), Declined> {
        let now = self.ports.clock.now();
        let mut after = folded.clone();
        let mut all = Vec::new();
        for input in inputs {
            let Some((_, entries)) = entries_of(&after, now, input.clone())? else {
                continue;
            };
            for new in &entries {
                after.apply(new)?;
            }
            all.extend(entries);
        }
        Ok((all, after))
    }

    /// Entries of an incident were written by this process.
    async fn took(&self, id: &ChangeId, written: &[Entry]) -> Result<(), LedgerError> {
        if !self.book.take(id, written) {
            self.book.read(&self.ports, id).await?;
        }
        if let Some(last) = written.last() {
            (self.ports.wrote)(id, last.version);
        }
        Ok(())
    }

    /// One with its timeline.
    pub async fn show(&self, id: &ChangeId) -> Result<Value, Declined> {
        let entries = self.ports.ledger.stream(&change_stream(id)).await;
        let entries = entries.map_err(|error| unavailable(&error))?;
        if entries.is_empty() {
            return Err(unknown(id));
        }
        let folded = crate::incident::fold(&entries)?;
        let mut shown = view(&folded, self.ports.clock.now());
        let mut lines = timeline(&entries);
        let earlier = lines.len().saturating_sub(LINES_MAX);
        lines.drain(..earlier);
        shown["timeline"] = json!(lines);
        shown["earlierLines"] = json!(earlier);
        Ok(shown)
    }

    /// Those that are listed, the worst and then the newest first.
    pub async fn list(&self, listed: &Listed) -> Result<Vec<Value>, Declined> {
        let limit = listed.limit.clamp(1, LIST_MAX);
        let fits = |state: &State| {
            let status = match listed.status {
                None => state.is_open(),
                Some(status) => state.status() == status,
            };
            status && listed.severity.is_none_or(|it| state.severity == it)
        };
        let mut found: Vec<Folded> = if listed.status == Some(Status::Closed) {
            self.closed(limit, &fits).await?
        } else {
            let mut all = self.book.all();
            all.retain(|it| fits(&it.state));
            all
        };
        found.sort_by_key(|it| {
            let newest = std::cmp::Reverse(it.state.opened_at);
            (it.state.severity, newest, it.change.id.clone())
        });
        found.truncate(limit);
        Ok(found.iter().map(summary).collect())
    }

    async fn closed(
        &self,
        limit: usize,
        fits: &(dyn Fn(&State) -> bool + Sync),
    ) -> Result<Vec<Folded>, Declined> {
        let (mut found, mut after, mut looked) = (Vec::new(), String::new(), 0);
        while found.len() < limit && looked < LOOK_MAX {
            let page = self
                .ports
                .tables
                .list("changes_newest", "kind/incident/", &after, LIST_MAX)
                .await;
            let page = page.map_err(|error| unavailable(&error))?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (_, id) in &page {
                looked += 1;
                let Ok(id) = ChangeId::new(id) else { continue };
                if self.book.get(&id).is_some() || found.len() >= limit {
                    continue;
                }
                let entries = self.ports.ledger.stream(&change_stream(&id)).await;
                let entries = entries.map_err(|error| unavailable(&error))?;
                found.extend(
                    crate::incident::fold(&entries)
                        .ok()
                        .filter(|it| fits(&it.state)),
                );
            }
        }
        Ok(found)
    }
}

/// The change that an incident is.
fn opening(plan: &Plan, actor: &Actor, reason: &str, now: Time) -> Change {
    Change {
        id: plan.id.clone(),
        kind: ChangeKind::Incident,
        actor: actor.clone(),
        reason: cut(reason, REASON_MAX),
        title: plan.title.clone(),
        blast_radius: BlastRadius::default(),
        emergency: None,
        opened_at: now,
        deadline: None,
        plan: ChangePlan {
            kind: KIND.to_owned(),
            schema: Incident::SCHEMA,
            body: json!(plan).to_string(),
        },
    }
}

pub(super) fn entry(stream: &StreamId, kind: &str, body: String) -> NewEntry {
    NewEntry {
        stream: stream.clone(),
        kind: kind.to_owned(),
        schema: 1,
        body,
    }
}
