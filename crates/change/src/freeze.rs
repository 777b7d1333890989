//! Freezes: what they hold back, and the machine that begins and ends one.
//!
//! A freeze stops forward steps while it holds; it never stops a restoring one, it ends by its deadline
//! whoever is away, and once ended it stays ended, whatever the clock does.

use mainstay_core::{
    Actor, Change, ChangeId, ChangeKind, ChangeState, Entry, Finding, Name, NameError, NewEntry,
    Outcome, ServiceName, Span, Time,
    catalog::{FreezeException, FreezeSpec},
    change::{MOVED, Moved},
};
use serde::{Deserialize, Serialize};

use crate::{
    emergency::Declared,
    guards::Direction,
    machine::{EffectId, Machine, Refusal},
    planted::{self, Bug},
};

/// A step that freezes are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The service it touches.
    pub service: &'a ServiceName,
    /// Kind of its change.
    pub kind: ChangeKind,
    /// Which way it leads.
    pub direction: Direction,
    /// The emergency its change was opened under.
    pub emergency: Option<&'a Declared>,
}

/// What the freezes in force say of a step: names the first that holds it, why, and who would pass.
/// A freeze that was lifted or deleted must not be among `freezes`.
pub fn check(freezes: &[(Name, FreezeSpec)], asked: Asked<'_>, now: Time) -> Finding {
    let pass = |value: String| Finding {
        signal: "freeze".to_owned(),
        outcome: Outcome::Pass,
        value,
        limit: "no freeze in force".to_owned(),
        remedy: String::new(),
    };
    match asked.direction {
        Direction::Restoring => return pass("restoring: freezes do not hold it".to_owned()),
        Direction::Forward => {}
    }
    let covering = freezes.iter().find(|(_, spec)| {
        in_force(spec, now)
            && lists(&spec.services, asked.service)
            && through(spec, asked).is_none()
    });
    let Some((name, spec)) = covering else {
        return pass(excepted(freezes, asked, now).unwrap_or_else(|| "none in force".to_owned()));
    };
    if let Some(declared) = asked.emergency.filter(|it| it.waives_freeze()) {
        return pass(format!("`{name}` ({}); {declared}", spec.reason));
    }
    let until = spec.until.map_or_else(
        || "until deleted".to_owned(),
        |until| {
            // To the second: nobody waits for less.
            let left = until.since(now).millis().div_ceil(1_000);
            format!("for {} more", Span::from_secs(left))
        },
    );
    Finding {
        signal: format!("freeze `{name}`"),
        outcome: Outcome::Fail,
        value: format!("in force {until}: {}", spec.reason),
        limit: "no freeze in force".to_owned(),
        remedy: remedy(spec, asked.kind),
    }
}

/// The exceptions by which the step passes, by name, if a freeze is in force that would hold it.
fn excepted(freezes: &[(Name, FreezeSpec)], asked: Asked<'_>, now: Time) -> Option<String> {
    let holding = freezes
        .iter()
        .filter(|(_, spec)| in_force(spec, now) && lists(&spec.services, asked.service));
    let passed: Vec<String> = holding
        .filter_map(|(name, spec)| {
            let exception = &through(spec, asked)?.name;
            Some(format!(
                "exception `{exception}` of `{name}` lets it through"
            ))
        })
        .collect();
    (!passed.is_empty()).then(|| passed.join("; "))
}

/// Whether its time has come and is not over.
pub fn in_force(spec: &FreezeSpec, now: Time) -> bool {
    spec.from.is_none_or(|from| now >= from) && spec.until.is_none_or(|until| now < until)
}

fn lists<T: PartialEq>(list: &[T], one: &T) -> bool {
    list.is_empty() || list.contains(one)
}

fn through<'a>(spec: &'a FreezeSpec, asked: Asked<'_>) -> Option<&'a FreezeException> {
    spec.exceptions
        .iter()
        .find(|it| lists(&it.services, asked.service) && lists(&it.kinds, &asked.kind))
}

fn remedy(spec: &FreezeSpec, kind: ChangeKind) -> String {
    let names: Vec<String> = spec.exceptions.iter().map(exception).collect();
    if names.is_empty() && asked_by_a_person(kind) {
        "wait, lift it with a reason, or declare an emergency that waives freezes".to_owned()
    } else if names.is_empty() {
        "wait, or lift it with a reason".to_owned()
    } else {
        format!(
            "wait, lift it with a reason, or fit an exception: {}",
            names.join(", ")
        )
    }
}

/// Whether the change is asked for by a command, which may name an emergency, and not by a declaration.
fn asked_by_a_person(kind: ChangeKind) -> bool {
    match kind {
        ChangeKind::Rollout
        | ChangeKind::Restart
        | ChangeKind::Drain
        | ChangeKind::Shed
        | ChangeKind::Kill => true,
        ChangeKind::Apply
        | ChangeKind::Scale
        | ChangeKind::LimitTest
        | ChangeKind::Freeze
        | ChangeKind::Observed
        | ChangeKind::Recorded
        | ChangeKind::Data
        | ChangeKind::Incident
        | ChangeKind::Oncall => false,
    }
}

fn exception(it: &FreezeException) -> String {
    let services: Vec<&str> = it.services.iter().map(ServiceName::as_str).collect();
    let kinds: Vec<String> = it
        .kinds
        .iter()
        .map(|kind| format!("{kind:?}").to_lowercase())
        .collect();
    let of = |list: String, all: &str| {
        if list.is_empty() {
            all.to_owned()
        } else {
            list
        }
    };
    format!(
        "`{}` ({} of {})",
        it.name,
        of(kinds.join(" or "), "any change"),
        of(services.join(" or "), "any service")
    )
}

/// The machine of one freeze. It has no effects: it holds by being in the ledger.
#[derive(Debug)]
pub struct Freeze;

/// Where a freeze stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Before its time.
    Scheduled {
        /// When it begins.
        from: Time,
        /// When it ends by itself.
        until: Option<Time>,
    },
    /// In force.
    Holding {
        /// When it ends by itself.
        until: Option<Time>,
    },
    /// Over, for good.
    Ended {
        /// Why.
        because: String,
    },
}

/// What happened to a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It came into force.
    Began,
    /// Its time was up.
    Expired,
    /// Somebody ended it early.
    Lifted {
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

/// The id of the change that a freeze is: its name, and the version of its resource that declared it.
pub fn change_id(name: &Name, version: u64) -> Result<ChangeId, NameError> {
    ChangeId::new(format!("freeze-{name}-{version}"))
}

/// What lifting the freeze whose stream is `entries` adds to that stream; nothing once it has ended.
pub fn lift_entries(
    entries: &[Entry],
    now: Time,
    actor: &Actor,
    reason: &str,
) -> Result<Vec<NewEntry>, Refusal> {
    let undecodable = |error: serde_json::Error| Refusal {
        signal: "freeze".to_owned(),
        value: error.to_string(),
        limit: "a stream that this version reads".to_owned(),
        remedy: "run `mainstay ledger verify`".to_owned(),
    };
    let Some(first) = entries.first() else {
        return Ok(Vec::new());
    };
    let opened: Change = serde_json::from_str(&first.body).map_err(undecodable)?;
    let plan = serde_json::from_str(&opened.plan.body).map_err(undecodable)?;
    let mut state = Freeze::open(plan, opened.opened_at)?;
    for entry in entries.iter().filter(|entry| entry.kind == EVENT) {
        Freeze::evolve(
            &mut state,
            &serde_json::from_str(&entry.body).map_err(undecodable)?,
        );
    }
    if matches!(state, State::Ended { .. }) {
        return Ok(Vec::new());
    }
    let lift = Input::Lift {
        actor: actor.clone(),
        reason: reason.to_owned(),
    };
    let events = Freeze::decide(&state, now, lift)?;
    let mut bodies = Vec::new();
    for event in &events {
        Freeze::evolve(&mut state, event);
        bodies.push((EVENT, serde_json::to_string(event).map_err(undecodable)?));
    }
    bodies.push((
        MOVED,
        serde_json::to_string(&Freeze::standing(&state)).map_err(undecodable)?,
    ));
    let entry = |(kind, body): (&str, String)| NewEntry {
        stream: opened.stream(),
        kind: kind.to_owned(),
        schema: Freeze::SCHEMA,
        body,
    };
    Ok(bodies.into_iter().map(entry).collect())
}

/// Kind of the entries that hold a freeze's events.
const EVENT: &str = "freeze.event";

/// What a freeze is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// End it early.
    Lift {
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

/// A freeze has nothing done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum NoEffect {}

/// Longest reason for lifting a freeze, in bytes: an entry holds it together with a name.
const REASON_BYTES_MAX: usize = 1_024;

impl Machine for Freeze {
    const KIND: &'static str = "freeze";
    const SCHEMA: u16 = 1;
    type Plan = FreezeSpec;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = NoEffect;

    fn open(plan: FreezeSpec, opened_at: Time) -> Result<State, Refusal> {
        let from = plan.from.unwrap_or(opened_at);
        match plan.until {
            Some(until) if until <= from => Err(Refusal {
                signal: "until".to_owned(),
                value: until.to_string(),
                limit: format!("later than {from} (from)"),
                remedy: "give an end after the beginning".to_owned(),
            }),
            until => Ok(State::Scheduled { from, until }),
        }
    }

    fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
        let over = |until: &Option<Time>| {
            until.is_some_and(|until| now >= until) && !planted::is(Bug::FreezeOutlasts)
        };
        match (state, input) {
            (State::Scheduled { until, .. } | State::Holding { until }, Input::Tick)
                if over(until) =>
            {
                Ok(vec![Event::Expired])
            }
            (State::Scheduled { from, .. }, Input::Tick) if now >= *from => Ok(vec![Event::Began]),
            (
                State::Scheduled { .. } | State::Holding { .. } | State::Ended { .. },
                Input::Tick,
            ) => Ok(vec![]),
            (State::Scheduled { .. } | State::Holding { .. }, Input::Lift { actor, reason }) => {
                lift(actor, reason)
            }
            (State::Ended { because }, Input::Lift { .. }) => Err(Refusal {
                signal: "freeze".to_owned(),
                value: format!("ended: {because}"),
                limit: "scheduled or in force".to_owned(),
                remedy: "nothing is left to lift".to_owned(),
            }),
        }
    }

    fn evolve(state: &mut State, event: &Event) {
        *state = match (&*state, event) {
            (State::Scheduled { until, .. }, Event::Began) => State::Holding { until: *until },
            (State::Scheduled { .. } | State::Holding { .. }, Event::Expired) => State::Ended {
                because: "its time was up".to_owned(),
            },
            (State::Scheduled { .. } | State::Holding { .. }, Event::Lifted { actor, reason }) => {
                State::Ended {
                    because: format!("lifted by {}: {reason}", actor.id),
                }
            }
            (State::Holding { .. }, Event::Began)
            | (State::Ended { .. }, Event::Began | Event::Expired | Event::Lifted { .. }) => return,
        };
    }

    fn due(_: &State, _: Time) -> Vec<NoEffect> {
        Vec::new()
    }

    fn wake_at(state: &State) -> Option<Time> {
        match state {
            State::Scheduled { from, .. } => Some(*from),
            State::Holding { until } => *until,
            State::Ended { .. } => None,
        }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn effect_id(effect: &NoEffect) -> EffectId {
        match *effect {}
    }

    fn standing(state: &State) -> Moved {
        let (state, because) = match state {
            State::Scheduled { .. } => (ChangeState::Running, "not begun yet".to_owned()),
            State::Holding { .. } => (ChangeState::Running, "in force".to_owned()),
            State::Ended { because } => (ChangeState::Done, because.clone()),
        };
        Moved { state, because }
    }
}

fn lift(actor: Actor, reason: String) -> Result<Vec<Event>, Refusal> {
    if (1..=REASON_BYTES_MAX).contains(&reason.trim().len()) && !actor.id.trim().is_empty() {
        return Ok(vec![Event::Lifted {
            actor,
            reason: reason.trim().to_owned(),
        }]);
    }
    Err(Refusal {
        signal: "reason".to_owned(),
        value: format!("{} bytes from `{}`", reason.len(), actor.id),
        limit: format!("1 to {REASON_BYTES_MAX} bytes, from somebody"),
        remedy: "say who you are and why the freeze may end".to_owned(),
    })
}

#[cfg(test)]
mod tests;
