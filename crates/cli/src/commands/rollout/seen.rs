//! What happened since one looked last, a line for each transition.
//!
//! Guarantees: lines come in the order of their times and each once, however often the same rollout is
//! looked at. Never prints a number that only moved. Example: `2026-11-05T18:00:00Z  batch 3 in lax (5
//! instances) verified`.

use std::collections::BTreeSet;

use mainstay_core::{ChangeState, Outcome, Time, Verdict};

use super::progress::{Rollout, subject};
use crate::{
    output,
    style::{self, Style},
};

/// What was printed already.
#[derive(Debug, Default)]
pub(super) struct Seen {
    standing: Option<(ChangeState, String)>,
    batches: BTreeSet<(u64, String, bool)>,
    judged: Option<(Time, String, Outcome)>,
}

impl Seen {
    /// The lines that `rollout` adds; `now` dates what carries no time of its own.
    pub(super) fn lines(&mut self, rollout: &Rollout, now: Time) -> Vec<String> {
        let mut events: Vec<(Time, String)> = Vec::new();
        if self.standing.is_none() {
            let opened = rollout.opened_at.unwrap_or(now);
            let what = format!(
                "{} ({}) opened{}",
                rollout.title(),
                rollout.change,
                rollout.opener()
            );
            events.push((opened, what));
        }
        self.batches(rollout, &mut events);
        self.verdicts(rollout, &mut events);
        let standing = (rollout.state, rollout.phase.clone());
        if self.standing.as_ref() != Some(&standing) {
            let because = rollout
                .why()
                .map_or_else(String::new, |why| format!(": {why}"));
            let what = format!("{}{because}", rollout.standing(Style::PLAIN));
            events.push((rollout.ended_at.unwrap_or(now), what));
            self.standing = Some(standing);
        }
        events.sort_by_key(|(at, _)| *at);
        events
            .into_iter()
            .map(|(at, what)| format!("{}  {what}", output::to_second(at)))
            .collect()
    }

    fn batches(&mut self, rollout: &Rollout, events: &mut Vec<(Time, String)>) {
        for batch in &rollout.batches {
            let mut new = |ended: bool| {
                let key = (batch.number, batch.fabric.clone(), ended);
                self.batches.insert(key)
            };
            if let Some(at) = batch.began_at
                && new(false)
            {
                let arithmetic = match batch.arithmetic.as_str() {
                    "" => String::new(),
                    arithmetic => format!(": {}", style::clean(arithmetic)),
                };
                events.push((at, format!("batch {} began{arithmetic}", subject(batch))));
            }
            if let Some(at) = batch.verified_at
                && new(true)
            {
                events.push((at, format!("batch {} verified", subject(batch))));
            }
        }
    }

    /// The transitions since the last one seen; where the server keeps none, the verdict itself.
    fn verdicts(&mut self, rollout: &Rollout, events: &mut Vec<(Time, String)>) {
        let last = self.judged.as_ref().map(|(at, _, _)| *at);
        let unseen = |verdict: &&Verdict| last.is_none_or(|last| verdict.at > last);
        let mut fresh: Vec<&Verdict> = rollout.verdicts.iter().filter(unseen).collect();
        if let Some(verdict) = &rollout.verdict
            && rollout.verdicts.is_empty()
        {
            let known = self.judged.as_ref();
            let moved = known.is_none_or(|(_, step, outcome)| {
                (step.as_str(), *outcome) != (verdict.step.as_str(), verdict.outcome())
            });
            fresh.extend(moved.then_some(verdict));
        }
        for verdict in fresh {
            let what = format!(
                "verdict on {} — {}",
                output::verdict(verdict, Style::PLAIN),
                style::clean(&verdict.sentence())
            );
            events.push((verdict.at, what));
            self.judged = Some((verdict.at, verdict.step.clone(), verdict.outcome()));
        }
    }
}
