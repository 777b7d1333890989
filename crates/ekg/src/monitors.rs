//! How monitors stand, as the API tells it.
//!
//! Guarantees: what is red is told by name, at most [`NAMED_MAX`] of each monitor and the rest in its counts; a value
//! that JSON has no number for is told in words.

use mainstay_core::Time;
use mainstay_rules::monitor::{
    Coverage, Entity, Monitor, MonitorRun, Standing, Track, Verdict, coverage,
};
use serde_json::{Value, json};

use crate::text::Number;

/// Entities that are told by name, of each list.
const NAMED_MAX: usize = 100;

/// All monitors after a round, in the order of names.
pub(crate) fn report<'a>(
    runs: impl Iterator<Item = &'a MonitorRun> + Clone,
    entities: &[Entity],
    now: Time,
) -> Value {
    let count = |standing| runs.clone().filter(|it| it.standing() == standing).count();
    let monitors: Vec<&Monitor> = runs.clone().map(|it| &it.monitor).collect();
    json!({
        "at": now,
        "summary": {
            "monitors": monitors.len(),
            "pass": count(Standing::Pass),
            "fail": count(Standing::Fail),
            "noData": count(Standing::NoData),
            "error": count(Standing::Error),
        },
        "coverage": coverage(entities, &monitors).iter().map(covered).collect::<Vec<_>>(),
        "monitors": runs.map(|it| monitor(it, now)).collect::<Vec<_>>(),
    })
}

fn covered(coverage: &Coverage) -> Value {
    let unwatched = coverage.unwatched.iter();
    json!({
        "kind": coverage.kind,
        "watched": coverage.watched,
        "of": coverage.watched + coverage.unwatched.len(),
        "unwatched": unwatched.take(NAMED_MAX).collect::<Vec<_>>(),
    })
}

fn monitor(run: &MonitorRun, now: Time) -> Value {
    let spec = &run.monitor.spec;
    let flapping = run.flapping(now).take(NAMED_MAX);
    json!({
        "name": run.monitor.name(),
        "verdict": run.standing().as_str(),
        "error": run.error.as_ref().map(ToString::to_string),
        "kind": spec.every.kind,
        "expr": spec.expr,
        "op": spec.op,
        "limit": spec.limit,
        "unit": spec.unit,
        "remedy": spec.remedy,
        "entities": {
            "watched": run.tracks.len(),
            "pass": run.count(Verdict::Pass),
            "fail": run.count(Verdict::Fail),
            "noData": run.count(Verdict::NoData),
        },
        "strangers": run.strangers,
        "red": run.red().take(NAMED_MAX).map(red).collect::<Vec<_>>(),
        "flapping": flapping.map(|it| flaps(it, now)).collect::<Vec<_>>(),
        "redLong": run.red_long(now),
        "noisy": run.is_noisy(now),
    })
}

fn red(track: &Track) -> Value {
    let finding = &track.finding;
    json!({
        "name": finding.entity.name,
        "verdict": finding.verdict.as_str(),
        "value": finding.value.map(number),
        "since": track.since,
        "seenAt": track.seen_at,
        "declared": finding.is_declared,
    })
}

fn flaps(track: &Track, now: Time) -> Value {
    json!({ "name": track.finding.entity.name, "turns": track.turns(now) })
}

fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else {
        json!(Number(value).to_string())
    }
}
