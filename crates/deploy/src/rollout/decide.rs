//! What follows from an input. Pure: no clock, no randomness, no I/O.

use std::collections::BTreeMap;

use mainstay_change::{
    Direction, Refusal,
    planted::{self, Bug},
};
use mainstay_core::{
    ChangeState, FabricName, Finding, Measured, Outcome, Span, Time, Verdict, catalog::Strategy,
    flaw::GATE_MIN,
};

use super::{
    message::{Event, Gate, Input, Ruling},
    order,
    state::{At, Phase, Role, State},
};
use crate::{moves::Processes, slots::Slots};

/// Oldest measurement that moves a rollout.
pub const FRESH: Span = Span::from_secs(5);
/// Evidence gathered for less than this at a gate does not pass it.
pub const DWELL: Span = GATE_MIN;
/// Part of the longest wait after which a canary's share is raised: a third. Gross harm has shown by then, and
/// two thirds are left to gather evidence in.
const RAISE_AFTER: u64 = 3;
/// Part of it after which probes are sent, where users still bring too little: half. What they show has the other
/// half to be seen in.
const PROBE_AFTER: u64 = 2;
/// Processes of one batch that may fail to come up are named up to this length.
const BECAUSE_BYTES_MAX: usize = 512;

/// What follows from `input`.
pub(super) fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
    match input {
        Input::Tick => Ok(tick(state, now)),
        Input::Order {
            verb,
            actor,
            reason,
        } => order::order(state, now, verb, actor, &reason),
        Input::Admission { verdict } => Ok(admission(state, now, verdict)),
        Input::Verdict { ruling, verdict } => Ok(judged(state, now, ruling, verdict)),
        Input::Seen {
            generation,
            verified,
            drained,
            failing,
        } => Ok(
            if generation == state.generation || planted::is(Bug::GenerationIgnored) {
                seen(state, now, &verified, &drained, failing)
            } else {
                vec![]
            },
        ),
        Input::Granted {
            batch,
            slots,
            before,
            left,
            findings,
        } => {
            let grant = Grant {
                slots,
                before,
                left,
                findings,
            };
            Ok(granted(state, now, batch, grant))
        }
        Input::Settled { number } => Ok(
            if state.phase == Phase::Settling && number == state.plan.number() {
                vec![Event::Settled { at: now }]
            } else {
                vec![]
            },
        ),
    }
}

fn admission(state: &State, now: Time, verdict: Measured<Verdict>) -> Vec<Event> {
    if state.phase != Phase::Admitting || state.is_halted() || !verdict.is_fresh(now, FRESH) {
        return vec![];
    }
    let verdict = verdict.value().clone();
    if verdict.outcome() != Outcome::Pass {
        let news = state.is_news(state.ruling, &verdict);
        let ruling = state.ruling;
        return news
            .then_some(Event::Judged {
                at: now,
                ruling,
                verdict,
            })
            .into_iter()
            .collect();
    }
    let mut events = vec![Event::Admitted { at: now, verdict }];
    if !state.is_first() {
        for (slots, role) in additions(state) {
            events.push(Event::Surged {
                at: now,
                slots,
                role,
            });
        }
    }
    events
}

/// What is added before the first request meets the new version.
fn additions(state: &State) -> Vec<(Slots, Role)> {
    match state.plan.terms.strategy {
        Strategy::Canary => {
            // As many that the first step overloads none, and one to compare them with.
            let first = state.plan.terms.canary_steps.first().copied().unwrap_or(0);
            let sized = || state.fabrics().filter(|fabric| state.size(fabric) > 0);
            let count = |fabric: &FabricName| state.canaries(fabric, first) as usize;
            let canaries = sized()
                .flat_map(|it| state.free(it).take(count(it)))
                .collect();
            let control = sized()
                .filter_map(|it| state.free(it).nth(count(it)))
                .collect();
            vec![(canaries, Role::Canary), (control, Role::Control)]
        }
        Strategy::BlueGreen => {
            let green = state
                .fabrics()
                .flat_map(|fabric| state.free(fabric).take(state.size(fabric) as usize))
                .collect();
            vec![(green, Role::Green)]
        }
    }
}

fn seen(
    state: &State,
    now: Time,
    verified: &Measured<Slots>,
    drained: &Slots,
    failing: Option<(Slots, String)>,
) -> Vec<Event> {
    if state.is_halted() {
        return vec![];
    }
    match &state.phase {
        Phase::Placing | Phase::Replacing(..) => {
            let mut events = Vec::new();
            if verified.is_fresh(now, FRESH) {
                let awaited = state.awaited();
                let seen = verified.value().iter();
                let new: Slots = seen.filter(|it| awaited.contains(it)).cloned().collect();
                let new = if planted::is(Bug::OneForAll) && !new.is_empty() {
                    awaited
                } else {
                    new
                };
                if !new.is_empty() {
                    events.push(Event::Verified {
                        at: now,
                        slots: new,
                        source: verified.source().to_owned(),
                    });
                }
            }
            if let Some((slots, because)) = failing
                && events.is_empty()
            {
                events.extend(cannot_start(state, now, &slots, &because));
            }
            events
        }
        Phase::Draining(..) if drained.covers(&state.resting()) => vec![Event::Drained {
            at: now,
            overdue: false,
        }],
        Phase::Trimming if drained.covers(&state.resting()) => {
            vec![Event::Trimmed { at: now }]
        }
        Phase::Draining(..)
        | Phase::Trimming
        | Phase::Admitting
        | Phase::Judging(_)
        | Phase::Leasing(_)
        | Phase::Settling
        | Phase::Ended(_) => vec![],
    }
}

/// A process that cannot come up turns a forward move back, and is told once on the way back.
fn cannot_start(state: &State, now: Time, slots: &Slots, because: &str) -> Option<Event> {
    let because: String = because.chars().take(BECAUSE_BYTES_MAX).collect();
    match state.direction {
        Direction::Forward => Some(Event::Failed {
            at: now,
            verdict: Verdict::new(
                state.phase_words(),
                now,
                vec![Finding {
                    signal: "start".to_owned(),
                    outcome: Outcome::Fail,
                    value: format!("{} cannot start: {because}", slots.len()),
                    limit: "every instance verified".to_owned(),
                    remedy: "mend the artifact or the host, then start the rollout again"
                        .to_owned(),
                }],
            ),
        }),
        Direction::Restoring if state.stuck.is_none() => Some(Event::Stuck { at: now, because }),
        Direction::Restoring => None,
    }
}

fn judged(state: &State, now: Time, ruling: Ruling, verdict: Measured<Verdict>) -> Vec<Event> {
    if !state.is_exposed() || !verdict.is_fresh(now, FRESH) {
        return vec![];
    }
    let seen_at = verdict.observed_at();
    let verdict = verdict.value().clone();
    if ruling == Ruling::Harm && !planted::is(Bug::HarmNoted) {
        return vec![Event::Failed { at: now, verdict }];
    }
    if state.paused.is_some() {
        return vec![];
    }
    if ruling == Ruling::SharedFailure {
        let because = format!("both versions fail alike: {}", verdict.sentence());
        return vec![
            Event::Judged {
                at: now,
                ruling,
                verdict,
            },
            Event::Paused {
                at: now,
                by: None,
                because,
                unrouted: true,
            },
        ];
    }
    let mut events = Vec::new();
    if let Phase::Judging(gate) = &state.phase
        && (ruling == Ruling::Pass
            || ruling == Ruling::Insufficient && planted::is(Bug::MissingPasses))
        && seen_at >= state.since + dwell(state, *gate)
    {
        events.push(Event::Passed {
            at: now,
            gate: *gate,
            verdict,
        });
    } else if state.is_news(ruling, &verdict) {
        events.push(Event::Judged {
            at: now,
            ruling,
            verdict,
        });
    }
    events
}

fn dwell(state: &State, gate: Gate) -> Span {
    match gate {
        Gate::Canary { .. } | Gate::Batch { .. } => DWELL,
        Gate::Bake => state.plan.terms.bake.max(DWELL),
    }
}

/// What may be out at once.
struct Grant {
    slots: Slots,
    before: Processes,
    left: BTreeMap<FabricName, u32>,
    findings: Vec<Finding>,
}

fn granted(state: &State, now: Time, batch: u32, grant: Grant) -> Vec<Event> {
    if state.phase != Phase::Leasing(batch) || state.is_halted() || state.stops().is_some() {
        return vec![];
    }
    let Grant {
        slots,
        before,
        left,
        findings,
    } = grant;
    let movable = state.to_move();
    let slots: Slots = slots
        .iter()
        .filter(|slot| movable.contains(slot))
        .cloned()
        .collect();
    let slots = if planted::is(Bug::GrantOverrun) {
        movable
    } else {
        slots
    };
    if !slots.is_empty() {
        let parts = before.parts().into_iter().filter(|_| !state.retires());
        let replaces = parts.map(|before| Event::Replaces { at: now, before });
        let began = Event::Began {
            at: now,
            batch,
            slots,
            left,
            findings,
        };
        return std::iter::once(began).chain(replaces).collect();
    }
    let mut events = Vec::new();
    if state.held.is_none() {
        events.push(Event::Held {
            at: now,
            batch,
            left,
            findings,
        });
        events.extend(room(state, now).filter(|_| !state.retires()));
    }
    events
}

/// How many are added to make room: one on the way forward; on the way back, where users wait, a quarter.
fn more(state: &State, fabric: &FabricName) -> usize {
    match state.direction {
        Direction::Forward => 1,
        Direction::Restoring => state.size(fabric).div_ceil(4) as usize,
    }
}

/// Where nothing can be taken out, one is added in each fabric that has to move, unless one was. On the way
/// back one of the bad version makes no room.
fn room(state: &State, now: Time) -> Option<Event> {
    let movable = state.to_move();
    let slots: Slots = movable
        .fabrics()
        .into_iter()
        .filter(|fabric| {
            let added = |(slot, it): (&crate::Slot, &super::state::SlotState)| {
                slot.fabric == **fabric
                    && it.role == Role::Surge
                    && state.is_new(it) == (state.direction == Direction::Forward)
            };
            !state.slots.iter().any(added)
        })
        .flat_map(|fabric| state.free(fabric).take(more(state, fabric)))
        .collect();
    (!slots.is_empty()).then_some(Event::Surged {
        at: now,
        slots,
        role: Role::Surge,
    })
}

fn tick(state: &State, now: Time) -> Vec<Event> {
    if state.is_halted() || deadline(state).is_none_or(|at| now < at) {
        return vec![];
    }
    let waited = now.since(state.since);
    let pause = |because: String| {
        vec![Event::Paused {
            at: now,
            by: None,
            because,
            unrouted: false,
        }]
    };
    match (&state.phase, state.direction) {
        (Phase::Admitting, _) => {
            let what = state
                .verdict
                .as_ref()
                .map_or_else(|| "no answer".to_owned(), Verdict::sentence);
            pause(format!("it may not begin after {waited}: {what}"))
        }
        (Phase::Placing | Phase::Replacing(..), Direction::Forward) => {
            let missing = state.awaited();
            pause(format!(
                "{} instances were not verified within {waited}; nothing was seen that says why",
                missing.len()
            ))
        }
        (Phase::Placing | Phase::Replacing(..) | Phase::Leasing(_), Direction::Restoring) => {
            if planted::is(Bug::RestoringPauses) {
                return pause("a way back took too long".to_owned());
            }
            if state.stuck.is_some() {
                return vec![];
            }
            let because = state
                .held
                .clone()
                .unwrap_or_else(|| format!("not verified within {waited}"));
            vec![Event::Stuck { at: now, because }]
        }
        (Phase::Judging(gate), _) => match help(state, *gate, now) {
            Help::Weight(weight) => vec![Event::Raised { at: now, weight }],
            Help::Probes => vec![Event::ProbesBegan { at: now }],
            Help::NotYet => vec![],
            Help::Person => {
                let what = state
                    .verdict
                    .as_ref()
                    .map_or_else(|| "nothing was measured".to_owned(), Verdict::sentence);
                pause(format!("not enough evidence after {waited}: {what}"))
            }
        },
        (Phase::Leasing(batch), Direction::Forward) => {
            if let Some(because) = state.stops() {
                return pause(because);
            }
            let what = state.held.clone().unwrap_or_else(|| "no answer".to_owned());
            pause(format!(
                "batch {batch} may not begin after {waited}: {what}"
            ))
        }
        (Phase::Draining(..), _) => vec![Event::Drained {
            at: now,
            overdue: true,
        }],
        (Phase::Trimming, _) => vec![Event::Trimmed { at: now }],
        (Phase::Settling | Phase::Ended(_), _) => vec![],
    }
}

/// What is done about a gate without evidence.
enum Help {
    Weight(u32),
    Probes,
    NotYet,
    Person,
}

/// First more users, then probes, at last a person: each when the one before had its time.
fn help(state: &State, gate: Gate, now: Time) -> Help {
    let waited = now.since(state.since);
    if waited >= longest(state, gate) {
        return Help::Person;
    }
    match next_help(state, gate) {
        Some((weight @ Help::Weight(_), after)) if waited >= after => weight,
        Some((Help::Probes, after)) if waited >= after => Help::Probes,
        Some((Help::Weight(_) | Help::Probes | Help::NotYet | Help::Person, _)) | None => {
            Help::NotYet
        }
    }
}

/// What comes before a person is asked, and after which wait. A canary gets as many requests as its instances
/// are there for; probes go on once they began.
fn next_help(state: &State, gate: Gate) -> Option<(Help, Span)> {
    if state.ruling == Ruling::Frozen {
        // Evidence is not what it lacks.
        return None;
    }
    let share = full_share(state);
    match gate {
        Gate::Canary { .. } if state.weight < share => {
            Some((Help::Weight(share), part(state, gate, RAISE_AFTER)))
        }
        Gate::Canary { .. } | Gate::Batch { .. } | Gate::Bake
            if state.plan.terms.probes && !state.probing =>
        {
            Some((Help::Probes, part(state, gate, PROBE_AFTER)))
        }
        Gate::Canary { .. } | Gate::Batch { .. } | Gate::Bake => None,
    }
}

/// One `of`th of the wait at `gate`; the bake is no wait.
fn part(state: &State, gate: Gate, of: u64) -> Span {
    let wait = state.plan.terms.max_evidence_wait.millis();
    Span::from_millis(longest(state, gate).millis() - wait + wait / of)
}

/// Share of requests at which no instance of the new version carries more than its part, in hundredths of
/// a per cent, in the fabric where that is least.
pub(super) fn full_share(state: &State) -> u32 {
    let of = |fabric: &FabricName| {
        let (mut new, mut all) = (0_u32, 0_u32);
        for (slot, it) in &state.slots {
            if slot.fabric == *fabric && it.at == At::Serving {
                new += u32::from(state.is_new(it));
                all += 1;
            }
        }
        (crate::plan::ALL * new).checked_div(all).unwrap_or(0)
    };
    state
        .fabrics()
        .filter(|fabric| state.size(fabric) > 0)
        .map(of)
        .min()
        .unwrap_or(0)
}

fn longest(state: &State, gate: Gate) -> Span {
    match gate {
        Gate::Canary { .. } | Gate::Batch { .. } => state.plan.terms.max_evidence_wait,
        Gate::Bake => state.plan.terms.longest_gate(),
    }
}

/// When the wait of the present phase ends, if it does.
pub(super) fn deadline(state: &State) -> Option<Time> {
    let terms = &state.plan.terms;
    let wait = match &state.phase {
        Phase::Leasing(_) if state.stops().is_some() => Span::ZERO,
        Phase::Admitting | Phase::Leasing(_) => terms.max_evidence_wait,
        Phase::Placing | Phase::Replacing(..) => terms.verify_within,
        Phase::Judging(gate) => {
            next_help(state, *gate).map_or_else(|| longest(state, *gate), |(_, after)| after)
        }
        Phase::Draining(..) | Phase::Trimming => terms.drain_within,
        Phase::Settling | Phase::Ended(_) => return None,
    };
    Some(state.since + wait)
}

/// Where an ended rollout stands.
pub(super) fn ended(state: &State) -> ChangeState {
    match state.direction {
        Direction::Forward => ChangeState::Done,
        Direction::Restoring => ChangeState::RolledBack,
    }
}
