//! Alerts that open incidents, or join them.
//!
//! Guarantees: an alert that a policy's matchers want belongs to an incident, by what it has alike with others, before
//! it is answered; of several that come at once, and of several servers, one opens it. One that is told again changes
//! nothing. An alert whose end nobody tells goes on firing.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use mainstay_core::{
    Actor, ChangeId, Expected, Name, StreamId,
    escalation::{AlertsSpec, Severity},
    ports::{Declined, LedgerError, No},
};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinError, JoinSet};

use super::{Declared, Desk, desk::unavailable, direct::Word, pager::moment};
use crate::{
    Labels, Posted,
    escalation::Policy,
    incident::{AlertBrief, Folded, Input, Plan},
};

pub use super::super::api::{IntakeError, posted};

/// Tries to open one, when others open at the same time.
const TRIES_MAX: usize = 8;
/// Incidents of one delivery that are opened or joined at the same time: what waits is written in one commit.
const GROUPS_AT_ONCE: usize = 64;
/// Annotations that say what an alert is about, the first that there is.
const SAYS: [&str; 3] = ["summary", "description", "message"];

/// What came of one group; where it died nothing is known, so whoever sent it has to send it again.
fn joined(done: Option<Result<Result<(), Declined>, JoinError>>) -> Result<(), Declined> {
    match done {
        None => Ok(()),
        Some(Ok(taken)) => taken,
        Some(Err(error)) => Err(Declined::new(
            No::Unavailable,
            "incident-died",
            error.to_string(),
            "send them again",
        )),
    }
}

/// Alerts of one policy that are alike.
struct Group {
    policy: Name,
    key: String,
    labels: Labels,
    severity: Severity,
    alerts: Vec<(AlertBrief, bool)>,
}

impl Desk {
    /// Takes alerts; how many belong to incidents now.
    pub async fn accept(&self, alerts: &[Posted]) -> Result<usize, Declined> {
        self.book.caught_up(&self.ports).await;
        let policies = self.book.of_alerts();
        let now = moment(self.ports.clock.now());
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut taken = 0;
        for alert in alerts {
            for (name, declared) in &policies {
                let wants = declared.matchers.as_ref();
                let Some(spec) = declared.spec.alerts.as_ref() else {
                    continue;
                };
                if wants.is_some_and(|it| it.matches(&alert.labels)) {
                    taken += 1;
                    put(&mut groups, (name, spec), alert, now);
                }
            }
        }
        let mut taking = JoinSet::new();
        for group in groups.into_values() {
            if taking.len() >= GROUPS_AT_ONCE {
                joined(taking.join_next().await)?;
            }
            let declared = policies.iter().find(|(name, _)| *name == group.policy);
            if let Some((_, declared)) = declared {
                let (desk, declared) = (self.clone(), Arc::clone(declared));
                taking.spawn(async move { desk.take_or_tell(group, &declared).await });
            }
        }
        while !taking.is_empty() {
            joined(taking.join_next().await)?;
        }
        Ok(taken)
    }

    /// Where alerts cannot be written down, people are told directly, and whoever sent them has to send them again.
    async fn take_or_tell(&self, group: Group, declared: &Declared) -> Result<(), Declined> {
        let taken = self.take_group(&group, declared).await;
        let firing = group.alerts.iter().find(|(_, fires)| *fires);
        if let (Err(unwritten), Some((alert, _))) = (&taken, firing)
            && unwritten.no == No::Unavailable
            && let Ok(incident) = ChangeId::new("inc-unwritten")
        {
            let word = Word {
                about: group.key.clone(),
                incident,
                severity: group.severity,
                title: format!(
                    "{} {}, which cannot be written down: {}",
                    alert.name, group.labels, unwritten.what
                ),
            };
            let policy = Policy::snapshot(&group.policy, &declared.spec);
            let at = self.ports.clock.now();
            self.direct.tell(&policy, &word, at).await;
        }
        taken
    }

    async fn take_group(&self, group: &Group, declared: &Declared) -> Result<(), Declined> {
        let _turn = self.turns.of_key(&group.key).await;
        let mut known = self.book.by_key(&group.key);
        for _ in 0..TRIES_MAX {
            if let Some(folded) = known.filter(|it| self.is_joined(it)) {
                self.join(&folded, group).await?;
                return Ok(());
            }
            if !group.alerts.iter().any(|(_, fires)| *fires) {
                return Ok(());
            }
            match self.open_for(group, declared).await {
                Ok(()) => return Ok(()),
                // Another one opened it first.
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(&error)),
            }
            known = self
                .keyed(&group.key)
                .await
                .map_err(|error| unavailable(&error))?;
        }
        let remedy = "send them again";
        Err(Declined::new(
            No::Unavailable,
            "incident-busy",
            "others opened incidents of the same alerts at the same time",
            remedy,
        ))
    }

    /// Whether more alerts belong to it: while it is open, and for a while after.
    fn is_joined(&self, folded: &Folded) -> bool {
        let state = &folded.state;
        let until = state
            .resolved_at
            .map(|at| at + state.plan.policy.reopen_within);
        state.is_open() || until.is_some_and(|until| self.ports.clock.now() < until)
    }

    async fn join(&self, folded: &Folded, group: &Group) -> Result<(), Declined> {
        let is_news = |(alert, fires): &&(AlertBrief, bool)| {
            let known = folded.state.alerts.get(&alert.id).map(|(_, fires)| *fires);
            known.unwrap_or(false) != *fires
        };
        let news = group.alerts.iter().filter(is_news);
        let mut inputs: Vec<Input> = news
            .map(|(alert, fires)| Input::Alert {
                alert: alert.clone(),
                fires: *fires,
            })
            .collect();
        let fires = group.alerts.iter().any(|(_, fires)| *fires);
        if fires && folded.state.is_open() && group.severity < folded.state.severity {
            inputs.push(Input::Severity {
                by: "mainstay".to_owned(),
                to: group.severity,
                because: "an alert of it says so".to_owned(),
            });
        }
        if inputs.is_empty() {
            return Ok(());
        }
        self.act(Actor::system(), &folded.change.id, inputs).await?;
        Ok(())
    }

    async fn open_for(&self, group: &Group, declared: &Declared) -> Result<(), LedgerError> {
        let stream = key_stream(&group.key);
        let entries = self.ports.ledger.stream(&stream).await?;
        if let Some(known) = self.keyed(&group.key).await?
            && self.is_joined(&known)
        {
            // It was opened while this was read.
            return Err(LedgerError::Conflict {
                stream,
                expected: 0,
                actual: entries.len() as u64,
            });
        }
        let before = entries.last().and_then(|it| incident_in(&it.body));
        let policy = Policy::snapshot(&group.policy, &declared.spec);
        let firing: Vec<&(AlertBrief, bool)> =
            group.alerts.iter().filter(|(_, fires)| *fires).collect();
        let title = firing.first().map_or("alerts", |(alert, _)| &alert.name);
        let title = format!("{title} {}", group.labels);
        let plan = Plan::new((self.ports.next_id)(), &title, group.severity, policy)
            .of_alerts(group.key.clone(), &group.labels);
        let mut told: Vec<Input> = firing
            .into_iter()
            .map(|(alert, _)| Input::Alert {
                alert: alert.clone(),
                fires: true,
            })
            .collect();
        told.extend(before.map(|to| Input::Relate {
            to,
            by: "mainstay".to_owned(),
        }));
        let keyed = vec![Expected {
            stream,
            version: entries.len() as u64,
        }];
        let reason = "alerts fire";
        self.open(Actor::system(), plan, reason, told, keyed)
            .await?;
        Ok(())
    }

    /// The last incident of a key, as the ledger has it.
    async fn keyed(&self, key: &str) -> Result<Option<Folded>, LedgerError> {
        let entries = self.ports.ledger.stream(&key_stream(key)).await?;
        match entries.last().and_then(|it| incident_in(&it.body)) {
            Some(id) => self.book.read(&self.ports, &id).await,
            None => Ok(None),
        }
    }
}

fn incident_in(body: &str) -> Option<ChangeId> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    ChangeId::new(body.get("incident")?.as_str()?).ok()
}

fn put(
    groups: &mut BTreeMap<String, Group>,
    (policy, spec): (&Name, &AlertsSpec),
    alert: &Posted,
    now: Timestamp,
) {
    let labels = alert
        .labels
        .kept(|name, _| spec.group_by.iter().any(|it| it == name));
    let severity = severity(spec, &alert.labels);
    let key = key(policy, &labels);
    let group = groups.entry(key.clone()).or_insert_with(|| Group {
        policy: policy.clone(),
        key,
        labels,
        severity,
        alerts: Vec::new(),
    });
    let fires = alert.ends_at.is_none_or(|at| at > now);
    if fires {
        group.severity = group.severity.min(severity);
    }
    let says = SAYS
        .iter()
        .find_map(|name| alert.annotations.find(name).filter(|it| !it.is_empty()));
    let brief = AlertBrief {
        id: alert.labels.fingerprint().to_string(),
        name: match alert.labels.get("alertname") {
            "" => "alert".to_owned(),
            name => name.to_owned(),
        },
        text: says.map_or_else(|| alert.labels.to_string(), str::to_owned),
    };
    group.alerts.push((brief, fires));
}

fn severity(spec: &AlertsSpec, labels: &Labels) -> Severity {
    let text = labels.get(&spec.severity_label);
    let said = spec.severities.get(text).copied();
    said.or_else(|| text.parse().ok()).unwrap_or(spec.otherwise)
}

/// What alerts of one incident have alike.
fn key(policy: &Name, labels: &Labels) -> String {
    let mut hash = Sha256::new();
    let parts = labels.iter().flat_map(|(name, value)| [name, value]);
    for part in std::iter::once(policy.as_str()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    mainstay_core::hex(&hash.finalize()[..16])
}

fn key_stream(key: &str) -> StreamId {
    StreamId::new(format!("incident-key/{key}"))
}
