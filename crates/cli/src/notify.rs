//! Tells people what they should know at once: in the log, and by a JSON POST to each webhook.
//!
//! **Guarantees.** Told are: an alert of the rules that begins to fire, and its end; a change that becomes paused (stuck on its way back included) or rolled back, a
//! service that holds more than half of a router's connections, one of whose instances more than 30 % are measured bad,
//! an instance that says it is well while callers measure that it is not, and an agent or a router that was not heard
//! of for [`SILENT_AFTER`]; each once until it is otherwise again, but that a change which still waits for a person is told
//! [again](remind). A webhook that does not answer is tried
//! again for [`post::GIVE_UP_AFTER`], the notes behind it wait in a bounded queue, and what has no room there
//! is counted and told. **Never** blocks anything, and never tells what happened before the server began.
//!
//! ```json
//! {"kind": "change", "title": "feed v1 → v2", "state": "rolled-back", "because": "…", "change": "chg-…",
//!  "service": "feed", "at": 1795655124044, "url": "http://127.0.0.1:7070/api/v1/changes/chg-…"}
//! ```

mod post;
mod remind;
mod silence;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainstay_core::{
    ChangeId, ChangeState, Entry, FabricName, HostName, ServiceName, Span, Time,
    change::{MOVED, Moved},
    ports::{Clock, Ledger, Tables},
};
use mainstay_ekg::adapter::Told;
use mainstay_fleet::hub::FleetHub;
use mainstay_rules::AlertState;
use mainstay_server::Leader;
use mainstay_store::{ChangeSummary, Store};
use mainstay_traffic::hub::RouteHub;
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::config::Notify;
use post::Posts;
use remind::Reminders;
use silence::Heard;

/// An agent or a router that was not heard of for so long is silent: fifteen reports are missing.
pub(crate) const SILENT_AFTER: Span = Span::from_secs(15);
/// How often agents and routers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries read at once.
const PAGE: usize = 256;
/// Changes whose state is remembered, so that each state is told once; more are not open at a time.
const REMEMBERED_MAX: usize = 10_000;
/// The kind of a note on an alert.
const ALERT: &str = "alert";
/// Alerts, or lying instances, of one round that are told one by one.
const APART_MAX: usize = 20;
/// Letters of a title.
const TITLE_MAX: usize = 200;
/// Letters of a reason: a verdict with its numbers is a few hundred.
const BECAUSE_MAX: usize = 2_000;

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    /// `alert`, `change`, `hoarder`, `service`, `instance`, `agent` or `router`.
    kind: &'static str,
    title: String,
    state: String,
    because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<ChangeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fabric: Option<FabricName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostName>,
    at: Time,
    url: String,
}

impl Note {
    fn new(kind: &'static str, title: &str, state: &str, because: &str, at: Time) -> Self {
        Self {
            kind,
            title: title.chars().take(TITLE_MAX).collect(),
            state: state.to_owned(),
            because: because.chars().take(BECAUSE_MAX).collect(),
            change: None,
            service: None,
            fabric: None,
            host: None,
            at,
            url: String::new(),
        }
    }
}

/// Where it is heard what happens.
pub(crate) struct Sources {
    pub(crate) ledger: Arc<dyn Ledger>,
    /// Keeps what somebody has to be reminded of.
    pub(crate) store: Store,
    pub(crate) tables: Arc<dyn Tables>,
    /// The newest entry.
    pub(crate) newest: watch::Receiver<u64>,
    pub(crate) fleet: FleetHub,
    pub(crate) routes: RouteHub,
    /// Alerts of rules that are news.
    pub(crate) alerts: mpsc::Receiver<Vec<Told>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The server's own address, for links.
    pub(crate) url: String,
    /// Who leads: of several servers that one tells what became of changes.
    pub(crate) leader: watch::Receiver<Leader>,
}

/// Tells until `stop`.
pub(crate) async fn keep_notifying(
    config: Notify,
    mut sources: Sources,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let reminders = Reminders::new(sources.store.clone(), config.remind_every);
    let mut posts = Posts::start(config.webhooks, &stop)?;
    let since = *sources.newest.borrow_and_update();
    let mut changes = Changes {
        since,
        last: BTreeMap::new(),
    };
    let mut heard = Heard::default();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = false;
    loop {
        let notes = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(posts.ended().await?),
            died = posts.died() => return Err(died),
            Ok(()) = sources.newest.changed() => match changes.read(&sources, &reminders).await {
                Ok(notes) => {
                    warned = false;
                    // Others tell what they walk.
                    let leads = *sources.leader.borrow() == Leader::Here;
                    if leads { notes } else { Vec::new() }
                }
                Err(error) => {
                    // What was not read now is read with the next entry.
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(%error, "what moved cannot be read, so nobody is told of it yet");
                    }
                    Vec::new()
                }
            },
            Some(round) = sources.alerts.recv() => alerts(&round, sources.clock.now()),
            _ = looks.tick() => {
                let (fleet, routes) = (sources.fleet.view(), sources.routes.view());
                let now = sources.clock.now();
                let mut notes = heard.look(&fleet, &routes, now);
                let leads = *sources.leader.borrow() == Leader::Here;
                let due = if leads {
                    reminders.due(&*sources.tables, now).await
                } else {
                    Ok(Vec::new())
                };
                match due {
                    Ok(due) => notes.extend(due),
                    Err(error) => {
                        if !std::mem::replace(&mut warned, true) {
                            tracing::warn!(%error, "who waits cannot be read, so nobody is reminded yet");
                        }
                    }
                }
                notes
            }
        };
        for mut note in notes {
            note.url = match &note.change {
                Some(change) => format!("{}/api/v1/changes/{change}", sources.url),
                None if note.kind == ALERT => format!("{}/api/v1/alerts", sources.url),
                None => format!("{}/api/v1/views/status", sources.url),
            };
            tracing::warn!(
                kind = note.kind,
                state = note.state,
                "{}: {}",
                note.title,
                note.because
            );
            posts.send(&note);
        }
    }
}

/// A note for each alert of a round; one for all where they are many.
fn alerts(round: &[Told], now: Time) -> Vec<Note> {
    if round.len() <= APART_MAX {
        return round.iter().map(|told| alert(told, now)).collect();
    }
    let firing = |told: &&Told| told.alert.state == AlertState::Firing;
    let firing = round.iter().filter(firing).count();
    let name = round[0].alert.labels.get("alertname").unwrap_or_default();
    let because = format!("{firing} began to fire, {} ended", round.len() - firing);
    let title = format!("{} alerts {name}", round.len());
    let state = if firing > 0 { "firing" } else { "resolved" };
    vec![Note::new(ALERT, &title, state, &because, now)]
}

fn alert(told: &Told, now: Time) -> Note {
    let alert = &told.alert;
    let state = match alert.state {
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    };
    let name = alert.labels.get("alertname").unwrap_or_default();
    let said = ["summary", "description", "message"];
    let said = said.iter().find_map(|it| alert.annotations.get(*it));
    let measured = format!("{} is {}", told.expr, alert.value);
    let because = said.map_or(measured.clone(), |said| format!("{said} ({measured})"));
    let title = format!("{name} {}", alert.labels);
    let mut note = Note::new(ALERT, &title, state, &because, now);
    let label = |name: &str| alert.labels.get(name);
    note.service = label("service").and_then(|it| ServiceName::new(it).ok());
    note.fabric = label("fabric").and_then(|it| FabricName::new(it).ok());
    note.host = label("host").and_then(|it| HostName::new(it).ok());
    note
}

/// The ledger's feed, up to where it was read.
struct Changes {
    since: u64,
    /// The state of each open change that was told last.
    last: BTreeMap<ChangeId, ChangeState>,
}

impl Changes {
    /// What became worth telling since the last time.
    async fn read(
        &mut self,
        sources: &Sources,
        reminders: &Reminders,
    ) -> Result<Vec<Note>, remind::RemindError> {
        let mut notes = Vec::new();
        loop {
            let entries = sources.ledger.since(self.since, PAGE).await?;
            for entry in &entries {
                if let Some((id, moved)) = moved(entry) {
                    reminders.moved(&id, moved.state, entry.at).await?;
                    if !self.is_worth_it(&id, moved.state) {
                        self.since = entry.seq;
                        continue;
                    }
                    let row = sources.tables.get("changes", id.as_str()).await?;
                    let summary = row.and_then(|row| serde_json::from_str(&row).ok());
                    notes.push(told(id, &moved, summary, entry.at));
                }
                self.since = entry.seq;
            }
            if entries.len() < PAGE {
                return Ok(notes);
            }
        }
    }

    /// Whether a person should know that a change came to `state`.
    fn is_worth_it(&mut self, id: &ChangeId, state: ChangeState) -> bool {
        let before = if state.is_final() {
            self.last.remove(id)
        } else {
            if self.last.len() >= REMEMBERED_MAX {
                // The worst that can come of it is that a state is told twice.
                self.last.pop_first();
            }
            self.last.insert(id.clone(), state)
        };
        match state {
            ChangeState::Paused | ChangeState::RolledBack => before != Some(state),
            ChangeState::Running
            | ChangeState::RollingBack
            | ChangeState::Done
            | ChangeState::Aborted => false,
        }
    }
}

/// The change that an entry moves, and where to.
fn moved(entry: &Entry) -> Option<(ChangeId, Moved)> {
    let id = entry.stream.as_str().strip_prefix("change/")?;
    let id = ChangeId::new(id).ok().filter(|_| entry.kind == MOVED)?;
    Some((id, serde_json::from_str(&entry.body).ok()?))
}

fn told(id: ChangeId, moved: &Moved, summary: Option<ChangeSummary>, at: Time) -> Note {
    let state = serde_json::to_value(moved.state).unwrap_or_default();
    let title = summary
        .as_ref()
        .map_or_else(|| id.to_string(), |it| it.change.title.clone());
    let state = state.as_str().unwrap_or_default();
    let mut note = Note::new("change", &title, state, &moved.because, at);
    note.change = Some(id);
    let reach = summary.map(|it| it.change.blast_radius);
    if let Some(reach) = reach {
        note.service = reach.services.into_iter().next();
        note.fabric = reach.fabrics.into_iter().next();
    }
    note
}

#[cfg(test)]
mod tests;
