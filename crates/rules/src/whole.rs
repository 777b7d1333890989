//! The alerts of a group that have no incremental form: evaluated as a whole when samples arrive that they select.
//!
//! Guarantees: after an evaluation a rule rests [`REST_TIMES`] as long as that took, at least [`REST_MIN`] and at most
//! the interval of its group, so that arrivals cost it a fifth of a processor; what arrives meanwhile is found by the
//! next one. `for` and `keep_firing_for` run out though nothing arrives. A rule that failed rests for the interval.
//! Writes nothing between its group's rounds, and does not move before its first one. Never reads a clock.

use std::collections::BTreeSet;

use mainstay_core::{Span, Time};
use mainstay_promql::{Labels, Matcher};

use crate::{Around, Evaluation, GroupRun, Kind, RuleRun, Watched, way::Way};

/// A rule rests so many times as long as its evaluation took.
pub const REST_TIMES: u64 = 4;
/// It rests for at least so long, which nobody who is paged notices.
pub const REST_MIN: Span = Span::from_millis(50);
/// Times that are remembered at which samples of a group with an offset come into sight; those beyond wait for the
/// interval.
const DUE_MAX: usize = 4_096;

#[derive(Debug, Clone)]
struct WholeRule {
    /// Where it stands in its group.
    place: usize,
    run: RuleRun,
    watched: Watched,
    /// When what arrived can be seen.
    due: BTreeSet<Time>,
    /// Not evaluated for an arrival before.
    rested_at: Time,
}

/// Those alerts of a group.
#[derive(Debug, Clone)]
pub struct WholeGroup {
    rules: Vec<WholeRule>,
    interval: Span,
    query_offset: Span,
    limit: usize,
}

impl WholeGroup {
    /// The alerts of `group` that are to be evaluated as a whole, with what is known of them.
    pub fn of(group: &GroupRun, lookback: Span, now: Time) -> Self {
        let rules = group.rules.iter().enumerate().filter_map(|(place, run)| {
            let Way::Whole { watched, .. } = Way::of(&run.rule, lookback) else {
                return None;
            };
            Some(WholeRule {
                place,
                run: run.clone(),
                watched,
                due: BTreeSet::new(),
                rested_at: now,
            })
        });
        Self {
            rules: rules.collect(),
            interval: group.interval,
            query_offset: group.query_offset,
            limit: group.limit,
        }
    }

    /// Their places in the group.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().map(|it| it.place)
    }

    /// What they select.
    pub fn selectors(&self) -> impl Iterator<Item = &[Matcher]> {
        self.rules.iter().flat_map(|it| it.watched.selectors())
    }

    /// Whom samples of a series concern, which is to be asked once a series.
    pub fn open(&self, labels: &Labels) -> Vec<usize> {
        let concerned = self.rules.iter().enumerate();
        concerned
            .filter(|(_, it)| it.watched.selects(labels))
            .map(|(at, _)| at)
            .collect()
    }

    /// A sample of a series arrived that concerns these.
    pub fn take(&mut self, concerned: &[usize], at_ms: i64, now: Time) {
        let seen_at = Time::from_millis(at_ms) + self.query_offset;
        for at in concerned {
            if let Some(rule) = self.rules.get_mut(*at) {
                rule.wants(seen_at, now);
            }
        }
    }

    /// Nobody knows what arrived: all are to be evaluated.
    pub fn take_all(&mut self, now: Time) {
        for rule in &mut self.rules {
            rule.wants(now, now);
        }
    }

    /// No rule is due before, unless a sample comes.
    pub fn wake_at(&self) -> Option<Time> {
        self.rules.iter().filter_map(WholeRule::wake_at).min()
    }

    /// The place of the rule that waits for the longest of those that are due.
    pub fn due(&self, now: Time) -> Option<usize> {
        let waiting = self.rules.iter().filter_map(|it| {
            let wake_at = it.wake_at()?;
            (wake_at <= now).then_some((wake_at, it.place))
        });
        waiting.min().map(|(_, place)| place)
    }

    /// Evaluates the rule at `place` and moves its alerts on; nothing is to be written.
    pub fn turn(&mut self, place: usize, now: Time, around: Around<'_>) {
        let context = around.context(now, self.query_offset, self.limit);
        if let Some(rule) = self.rule_mut(place) {
            rule.looked(now);
            rule.run.evaluated_at = Some(now);
            let found = rule.run.asked(&context);
            let moved = found.and_then(|found| rule.run.observed(found, &context));
            rule.run.error = moved.err();
        }
    }

    /// Evaluates the rule at `place` as its group's interval wants it; nothing for one that is not here.
    pub fn tick(&mut self, place: usize, now: Time, around: Around<'_>) -> Evaluation {
        let context = around.context(now, self.query_offset, self.limit);
        let Some(rule) = self.rule_mut(place) else {
            return Evaluation::default();
        };
        rule.looked(now);
        let found = rule.run.asked(&context);
        rule.run.evaluated(found, &context)
    }

    /// The evaluation of the rule at `place` ended at `now` and took so long.
    pub fn rest(&mut self, place: usize, now: Time, took: Span) {
        let interval = self.interval;
        let Some(rule) = self.rule_mut(place) else {
            return;
        };
        let rest = Span::from_millis(took.millis().saturating_mul(REST_TIMES)).max(REST_MIN);
        let rest = match &rule.run.error {
            Some(_) => interval,
            None => rest.min(interval),
        };
        rule.rested_at = now + rest;
    }

    /// What is known of the rule at `place`.
    pub fn run_mut(&mut self, place: usize) -> Option<&mut RuleRun> {
        self.rule_mut(place).map(|it| &mut it.run)
    }

    /// Gives what is known of the rules back to their group.
    pub fn give_back(self, group: &mut GroupRun) {
        for rule in self.rules {
            if let Some(run) = group.rules.get_mut(rule.place) {
                *run = rule.run;
            }
        }
    }

    fn rule_mut(&mut self, place: usize) -> Option<&mut WholeRule> {
        self.rules.iter_mut().find(|it| it.place == place)
    }
}

impl WholeRule {
    /// A sample that is seen from `seen_at` on is to be looked at.
    fn wants(&mut self, seen_at: Time, now: Time) {
        if seen_at <= now {
            if self.due.first().is_none_or(|first| *first > now) {
                self.due.insert(now);
            }
        } else if self.due.len() < DUE_MAX {
            let grain_ms = i64::try_from(REST_MIN.millis()).unwrap_or(1).max(1);
            let grains = seen_at.millis().div_euclid(grain_ms) + 1;
            self.due.insert(Time::from_millis(grains * grain_ms));
        }
    }

    /// What can be seen at `now` is looked at now.
    fn looked(&mut self, now: Time) {
        let mut later = self.due.split_off(&now);
        later.remove(&now);
        self.due = later;
    }

    fn wake_at(&self) -> Option<Time> {
        // A start over an empty store is not to be taken for absence.
        self.run.evaluated_at?;
        let Kind::Alert {
            hold, keep_firing, ..
        } = self.run.rule.kind
        else {
            return None;
        };
        let alarm = self.run.alerts.wake_at(hold, keep_firing);
        let first = self.due.first().copied().into_iter().chain(alarm).min()?;
        Some(first.max(self.rested_at))
    }
}

#[cfg(test)]
mod tests;
