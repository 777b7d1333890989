//! The rules of a group that are in incremental form: their alerts move when a sample does.
//!
//! Guarantees: an alert begins, fires and ends at the turn that finds it so, not at the next evaluation of its
//! group; what is written, and the values and texts of alerts that hold on, follow the group's interval as
//! ever. An alert moves by itself only after its rule was evaluated once, so that a start over an empty store
//! is not taken for absence. A rule whose samples grow beyond bounds or are histograms, or whose series clash, is
//! answered by the engine at each interval instead. Never asks the engine otherwise, but for queries in texts.

use std::sync::Arc;

use mainstay_core::{Span, Time};
use mainstay_promql::{InstantSeries, Labels, Matcher};

use crate::{
    Evaluation, External, GroupRun, Kind, RuleError, RuleRun, Source,
    group::Context,
    guarded::guarded,
    stream::{Slot, Stream, Turned},
};

/// What a rule may ask, and what its texts may say.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// What texts may say of the server.
    pub external: &'a External,
    /// Answers queries.
    pub source: &'a Arc<dyn Source>,
}

impl<'a> Around<'a> {
    /// What an evaluation at `now` knows, in a group that looks `query_offset` behind the clock.
    pub(crate) fn context(self, now: Time, query_offset: Span, limit: usize) -> Context<'a> {
        Context {
            now,
            at_ms: (now - query_offset).millis(),
            limit,
            external: self.external,
            source: self.source,
        }
    }
}

/// Where the samples of a series go.
pub type Slots = Vec<(usize, Vec<Slot>)>;

/// The engine answers at each interval: samples are too many, or histograms, or the incremental form died.
#[derive(Debug, Clone, Copy)]
struct Ticked;

#[derive(Debug, Clone)]
struct LiveRule {
    /// Where it stands in its group.
    place: usize,
    run: RuleRun,
    stream: Result<Stream, Ticked>,
}

/// Those rules of a group that are kept up to date.
#[derive(Debug, Clone)]
pub struct LiveGroup {
    rules: Vec<LiveRule>,
    query_offset: Span,
    limit: usize,
}

impl LiveGroup {
    /// The rules of `group` that have an incremental form, with what is known of them.
    pub fn of(group: &GroupRun, lookback: Span, now: Time) -> Self {
        let at_ms = (now - group.query_offset).millis();
        let compiled = group.rules.iter().enumerate().filter_map(|(place, run)| {
            let stream = Stream::compile(&run.rule.query, millis(lookback), at_ms).ok()?;
            Some(LiveRule {
                place,
                run: run.clone(),
                stream: Ok(stream),
            })
        });
        Self {
            rules: compiled.collect(),
            query_offset: group.query_offset,
            limit: group.limit,
        }
    }

    /// Their places in the group.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().map(|it| it.place)
    }

    /// What they select, and how far back, the furthest first.
    pub fn selections(&self) -> Vec<(&[Matcher], Span)> {
        let streams = self.rules.iter().flat_map(|it| &it.stream);
        let holdings = streams.flat_map(Stream::holdings);
        let mut found: Vec<(&[Matcher], Span)> = holdings
            .map(|it| {
                let reach_ms = u64::try_from(it.reach_ms).unwrap_or_default();
                (it.matchers, Span::from_millis(reach_ms))
            })
            .collect();
        found.sort_by_key(|(_, reach)| std::cmp::Reverse(*reach));
        found
    }

    /// Where samples of a series go, which is to be asked once a series.
    pub fn open(&mut self, labels: &Labels) -> Slots {
        let mut slots = Vec::new();
        for (at, rule) in self.rules.iter_mut().enumerate() {
            let found = rule.stream.as_mut().map(|it| it.open(labels));
            if let Ok(found) = found
                && !found.is_empty()
            {
                slots.push((at, found));
            }
        }
        slots
    }

    /// Takes a sample of a series.
    pub fn take(&mut self, slots: &Slots, at_ms: i64, value: f64) {
        for (at, slots) in slots {
            let Some(rule) = self.rules.get_mut(*at) else {
                continue;
            };
            if let Ok(stream) = &mut rule.stream
                && stream.take(slots, at_ms, value).is_err()
            {
                rule.stream = Err(Ticked);
            }
        }
    }

    /// A sample of a series is a histogram, which no incremental form computes with: the rules that select it are
    /// answered by the engine from now on.
    pub fn take_histogram(&mut self, slots: &Slots) {
        for (at, slots) in slots {
            if let Some(rule) = self.rules.get_mut(*at)
                && !slots.is_empty()
            {
                rule.stream = Err(Ticked);
            }
        }
    }

    /// Moves the alerts on; the places of the rules whose alerts may have changed.
    pub fn turn(&mut self, now: Time, around: Around<'_>) -> Vec<usize> {
        let context = self.context(now, around);
        let mut changed = Vec::new();
        for rule in &mut self.rules {
            if rule.turn(&context) {
                changed.push(rule.place);
            }
        }
        changed
    }

    /// Evaluates the rule at `place` as its group's interval wants it; nothing for one that is not here.
    pub fn tick(&mut self, place: usize, now: Time, around: Around<'_>) -> Evaluation {
        let context = self.context(now, around);
        let rule = self.rules.iter_mut().find(|it| it.place == place);
        rule.map(|it| it.tick(&context)).unwrap_or_default()
    }

    /// What is known of the rule at `place`.
    pub fn run_mut(&mut self, place: usize) -> Option<&mut RuleRun> {
        let rule = self.rules.iter_mut().find(|it| it.place == place)?;
        Some(&mut rule.run)
    }

    /// No alert moves before, unless a sample comes.
    pub fn wake_at(&self) -> Option<Time> {
        let alerting = self.rules.iter().filter(|it| it.moves_by_itself());
        let times = alerting.filter_map(|it| it.stream.as_ref().ok()?.wake_at());
        let first = times.min().map(Time::from_millis);
        first.map(|it| it + self.query_offset)
    }

    /// Makes room where most series are gone; true if slots of before are void, those of all rules.
    pub fn renew(&mut self) -> bool {
        let mut streams = self.rules.iter().flat_map(|it| &it.stream);
        if !streams.any(Stream::is_sparse) {
            return false;
        }
        for stream in self.rules.iter_mut().flat_map(|it| &mut it.stream) {
            *stream = stream.renewed();
        }
        true
    }

    /// Gives what is known of the rules back to their group.
    pub fn give_back(self, group: &mut GroupRun) {
        for rule in self.rules {
            if let Some(run) = group.rules.get_mut(rule.place) {
                *run = rule.run;
            }
        }
    }

    fn context<'a>(&self, now: Time, around: Around<'a>) -> Context<'a> {
        around.context(now, self.query_offset, self.limit)
    }
}

impl LiveRule {
    fn moves_by_itself(&self) -> bool {
        match self.run.rule.kind {
            Kind::Alert { .. } => self.run.evaluated_at.is_some(),
            Kind::Record(_) => false,
        }
    }

    fn turn(&mut self, context: &Context<'_>) -> bool {
        if !self.moves_by_itself() {
            return false;
        }
        let Ok(stream) = &mut self.stream else {
            return false;
        };
        let Ok(turned) = guarded(|| stream.advance(context.at_ms)) else {
            // The engine answers from now on.
            self.stream = Err(Ticked);
            return false;
        };
        match turned {
            Turned::Nothing | Turned::Values => return false,
            Turned::Alarm | Turned::Series => {}
        }
        // Series that clash are an error, which leaves the alerts as they are; the next tick says which.
        let Some(found) = stream.current() else {
            return false;
        };
        self.run.error = self.run.observed(found, context).err();
        self.set_alarm(context);
        true
    }

    fn tick(&mut self, context: &Context<'_>) -> Evaluation {
        let found = self.answer(context);
        let evaluation = self.run.evaluated(found, context);
        self.set_alarm(context);
        evaluation
    }

    fn answer(&mut self, context: &Context<'_>) -> Result<Vec<InstantSeries>, RuleError> {
        let streamed = self.stream.as_mut().ok();
        match guarded(|| streamed.and_then(|it| it.answer(context.at_ms))) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => self.run.asked(context),
            Err(_) => {
                self.stream = Err(Ticked);
                self.run.asked(context)
            }
        }
    }

    /// `for` and `keep_firing_for` run out without a sample.
    fn set_alarm(&mut self, context: &Context<'_>) {
        let Kind::Alert {
            hold, keep_firing, ..
        } = self.run.rule.kind
        else {
            return;
        };
        let offset_ms = context.now.millis() - context.at_ms;
        if let (Ok(stream), Some(at)) =
            (&mut self.stream, self.run.alerts.wake_at(hold, keep_firing))
        {
            stream.alarm(at.millis() - offset_ms);
        }
    }
}

fn millis(span: Span) -> i64 {
    i64::try_from(span.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
