//! Windows walked along series, by one thread or several.
//!
//! Guarantees: rows come in the order of their series, whoever computed them; notes too are the same. Whoever asked is
//! asked back between series, and all threads stop soon after it says so.

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{
    Evaluator, Steps,
    over::Scope,
    range::{RangeRow, Ranges},
    rows::Row,
    window::Window,
};
use crate::{
    Span,
    ast::Edges,
    column::{Column, Reading},
    error::{ErrorKind, Fault, Outcome},
    note::Notebook,
};

/// Series that a thread takes at once.
const TAKEN: usize = 16;

/// How windows lie along every series of a range vector.
pub(super) struct Walk<'a> {
    ranges: &'a Ranges,
    steps: Steps,
    /// The end of each step's window.
    ends_ms: Vec<i64>,
    margins_ms: (i64, i64),
    edges: Edges,
    noted: Span,
    keeps_name: bool,
}

/// What a walk gave: rows, each with the number of its series, and how many samples each step looked at.
#[derive(Default)]
struct Walked {
    rows: Vec<(usize, Row)>,
    looked_at: Vec<u64>,
    failed: Option<String>,
    notes: Notebook,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        evaluator: &Evaluator<'_>,
        ranges: &'a Ranges,
        (noted, keeps_name): (Span, bool),
    ) -> Self {
        let steps = evaluator.steps;
        Self {
            ranges,
            steps,
            ends_ms: (0..steps.count)
                .map(|i| evaluator.shifted(ranges.shift, i))
                .collect(),
            margins_ms: ranges.margins_ms(evaluator.options.lookback_ms),
            edges: ranges.edges,
            noted,
            keeps_name,
        }
    }

    /// One series; an error's text where the function has none.
    fn row<F>(
        &self,
        source: &RangeRow,
        f: &F,
        notes: &Notebook,
        looked_at: &mut [u64],
    ) -> Result<Row, String>
    where
        F: Fn(&Window<'_>, &Scope<'_>, usize) -> Result<Option<Reading>, String>,
    {
        let scope = Scope::new(notes, self.noted, &source.labels, self.edges);
        let (before_ms, after_ms) = self.margins_ms;
        let times = &source.samples.timestamps;
        let mut column = Column::gaps(self.steps.count);
        let (mut from, mut to) = (0, 0);
        for (i, end_ms) in self.ends_ms.iter().copied().enumerate() {
            let start_ms = end_ms - self.ranges.range_ms;
            while times.get(to).is_some_and(|t| *t <= end_ms + after_ms) {
                to += 1;
            }
            while from < to && times[from] <= start_ms - before_ms {
                from += 1;
            }
            if from == to {
                continue;
            }
            looked_at[i] += (to - from) as u64;
            let ends = (start_ms, end_ms);
            let window = source.samples.window(from..to, ends, self.steps.time(i));
            if let Some(reading) = f(&window, &scope, i)? {
                column.set(i, reading);
            }
        }
        Ok(Row {
            labels: source.labels.clone(),
            drop_name: source.drop_name || !self.keeps_name,
            column,
        })
    }

    /// Takes series until there are none, or `goes_on` says no.
    fn some<F>(&self, f: &F, next: &AtomicUsize, goes_on: &dyn Fn() -> bool) -> Walked
    where
        F: Fn(&Window<'_>, &Scope<'_>, usize) -> Result<Option<Reading>, String>,
    {
        let mut walked = Walked {
            looked_at: vec![0; self.steps.count],
            ..Walked::default()
        };
        let all = &self.ranges.rows;
        loop {
            let first = next.fetch_add(TAKEN, Ordering::Relaxed);
            if first >= all.len() {
                return walked;
            }
            for (at, source) in all.iter().enumerate().skip(first).take(TAKEN) {
                if !goes_on() {
                    return walked;
                }
                match self.row(source, f, &walked.notes, &mut walked.looked_at) {
                    Ok(row) => walked.rows.push((at, row)),
                    Err(message) => {
                        walked.failed = Some(message);
                        return walked;
                    }
                }
            }
        }
    }
}

impl Evaluator<'_> {
    /// `f(window, scope, step)` for each window of each series that has a sample.
    pub(super) fn walk<F>(&self, walk: &Walk<'_>, span: Span, f: &F) -> Outcome<Vec<Row>>
    where
        F: Fn(&Window<'_>, &Scope<'_>, usize) -> Result<Option<Reading>, String> + Sync,
    {
        let threads = self
            .options
            .threads_for(walk.ranges.rows.len(), walk.steps.count);
        if let Some(trace) = self.trace.filter(|_| threads > 1) {
            trace.threads(threads);
        }
        let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let others_go_on = || !ended.load(Ordering::Relaxed);
        let goes_on = || {
            let stops = (self.interrupt)() || ended.load(Ordering::Relaxed);
            if stops {
                ended.store(true, Ordering::Relaxed);
            }
            !stops
        };
        let mut walked = thread::scope(|scope| {
            let helper = || {
                let walked = walk.some(f, &next, &others_go_on);
                if walked.failed.is_some() {
                    ended.store(true, Ordering::Relaxed);
                }
                walked
            };
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(helper)).collect();
            let mut all = vec![walk.some(f, &next, &goes_on)];
            for other in others {
                all.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            all
        });
        if let Some(message) = walked.iter_mut().find_map(|it| it.failed.take()) {
            return Fault::execution(span, message);
        }
        if ended.load(Ordering::Relaxed) {
            return Err(Fault::new(ErrorKind::Interrupted, span));
        }
        let mut rows = Vec::with_capacity(walk.ranges.rows.len());
        for one in walked {
            self.meter.looked_at(&one.looked_at, self.steps, self.query);
            self.notes.absorb(one.notes);
            rows.extend(one.rows);
        }
        rows.sort_unstable_by_key(|(at, _)| *at);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}
