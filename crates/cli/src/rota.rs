//! Schedules inside the server: as its API asks for them, and as its own metrics tell what lies ahead.
//!
//! Guarantees: gaps that were found are told until others are found in their place: a ledger that cannot be read
//! resolves no alert. Never answers by itself: the schedules' own desk does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use mainstay_core::{
    Actor, Name,
    catalog::Spec,
    flaw::SpecFlaw,
    oncall::Role,
    ports::{BoxFuture, Clock, Declined, No},
};
use mainstay_oncall::schedule::{
    Trouble, Why,
    adapter::{Answer, Desk, Query, responder_flaws, schedule_flaws},
};
use mainstay_server::{Gauge, Oncall, OncallAnswer, OncallAsked, OncallOf};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How far ahead gaps are measured: time enough to find somebody.
pub(crate) const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often they are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// The schedules' desk, as the server's API sees it.
pub(crate) struct Schedules(pub(crate) Desk);

impl Oncall for Schedules {
    fn flaws(&self, name: &Name, spec: &Spec, responders: &[Name]) -> Vec<SpecFlaw> {
        match spec {
            Spec::Responder(spec) => responder_flaws(spec),
            Spec::Schedule(spec) => {
                schedule_flaws(name, spec, |person| responders.contains(person))
            }
            Spec::Fabric(_)
            | Spec::Host(_)
            | Spec::Service(_)
            | Spec::RolloutPolicy(_)
            | Spec::Guard(_)
            | Spec::Freeze(_)
            | Spec::Monitor(_)
            | Spec::EscalationPolicy(_) => Vec::new(),
        }
    }

    fn ask(
        &self,
        of: OncallOf,
        asked: OncallAsked,
    ) -> BoxFuture<'_, Result<OncallAnswer, Declined>> {
        Box::pin(async move {
            let query = Query {
                at: asked.at.map(|it| it.0),
                from: asked.from.map(|it| it.0),
                until: asked.until.map(|it| it.0),
                schedule: asked.schedule,
                role: asked.role,
                severity: asked.severity,
            };
            let answer = match of {
                OncallOf::Now => {
                    return json(&self.0.on_call(&query).await?).map(OncallAnswer::Json);
                }
                OncallOf::Gaps => return json(&self.0.gaps(&query).await?).map(OncallAnswer::Json),
                OncallOf::Schedule(name) => self.0.of_schedule(&name, &query).await?,
                OncallOf::Person(name) => self.0.of_person(&name, &query).await?,
            };
            match answer {
                Answer::Shown(shown) => json(&shown).map(OncallAnswer::Json),
                Answer::Calendar(text) => Ok(OncallAnswer::Calendar(text)),
            }
        })
    }

    fn order(
        &self,
        schedule: Name,
        verb: String,
        actor: Actor,
        order: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        Box::pin(async move { json(&self.0.order(&schedule, &verb, actor, &order).await?) })
    }
}

fn json(answer: &impl Serialize) -> Result<String, Declined> {
    serde_json::to_string(answer).map_err(|error| {
        Declined::new(
            No::Unavailable,
            "unwritable",
            error.to_string(),
            "see the server's log",
        )
    })
}

/// What lies ahead of each schedule and role.
type Found = BTreeMap<(Name, Role), Vec<Trouble>>;

/// What the server's metrics say of who will be on call.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<Mutex<Found>>);

impl Ahead {
    /// All of it, as it was found last.
    pub(crate) fn gauges(&self, clock: &dyn Clock) -> Vec<Gauge> {
        let now = stamp(clock);
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = &*found;
        let mut gauges = Vec::new();
        for is_gap in [true, false] {
            let (name, help) = if is_gap {
                (
                    "mainstay_oncall_gap_seconds",
                    "How long within the next seven days nobody is on call.",
                )
            } else {
                (
                    "mainstay_oncall_unreachable_seconds",
                    "How long within the next seven days whoever is on call is not declared, or has no contact.",
                )
            };
            let of_kind = |it: &&Trouble| (it.why == Why::Gap) == is_gap;
            gauges.extend(all.iter().map(|((schedule, role), troubles)| {
                // Not `sum`: that of nothing is -0.
                let lengths = troubles.iter().filter(of_kind);
                let lengths = lengths.map(|it| it.until.duration_since(it.from).as_secs_f64());
                Gauge::new(
                    name,
                    help,
                    labels(schedule, *role),
                    lengths.fold(0.0, |sum, it| sum + it),
                )
            }));
        }
        let next = all.iter().filter_map(|((schedule, role), troubles)| {
            let begins = troubles.iter().map(|it| it.from).min()?;
            let left = begins.duration_since(now).as_secs_f64().max(0.0);
            let help = "How long until nobody would answer, where that is within seven days; 0 while it is so.";
            Some(Gauge::new("mainstay_oncall_gap_in_seconds", help, labels(schedule, *role), left))
        });
        gauges.extend(next);
        gauges
    }
}

fn labels(schedule: &Name, role: Role) -> Vec<(&'static str, String)> {
    vec![
        ("schedule", schedule.to_string()),
        ("role", role.to_string()),
    ]
}

fn stamp(clock: &dyn Clock) -> Timestamp {
    Timestamp::from_millisecond(clock.now().millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Looks ahead again and again until `stop`.
pub(crate) async fn keep_looking_ahead(desk: Desk, ahead: Ahead, stop: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match desk.ahead(AHEAD).await {
            Ok(found) => {
                *ahead.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
            Err(error) => tracing::warn!(%error, "gaps in schedules were not looked for"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
    }
}
