//! Expressions in incremental form: a sample that arrives moves only what it leads to.
//!
//! Guarantees: what [`Stream::answer`] gives at a time is what [`Engine`](mainstay_promql::Engine) gives at that
//! time over the same samples, whatever the order in which they came. Values are made by the evaluator's own
//! functions ([`mainstay_promql::pieces`]) and equal its own bit for bit; sums over results of other
//! aggregations or of `or` may be added up in another order, and agree to within 1e-12 of their size. Between
//! answers, what [`Stream::advance`] finds changed is exact at that moment for the groups that samples came to
//! or left; what drifts though no sample comes (`rate` towards the end of its range, `time()`) is exact each
//! [`DRIFT_EVERY_MS`]. Holds no sample longer than the expression can see it, and no more than
//! [`SAMPLES_MAX`]. Never reads a clock.
//!
//! ```
//! use mainstay_promql::{Labels, Query};
//! use mainstay_rules::stream::{Stream, Turned};
//! let mut stream = Stream::compile(&Query::parse("sum by (job) (up) < 2")?, 300_000, 0).unwrap();
//! for instance in ["a", "b"] {
//!     let up = Labels::from_pairs([("__name__", "up"), ("job", "shop"), ("instance", instance)]);
//!     let slots = stream.open(&up);
//!     stream.take(&slots, 1_000, f64::from(u8::from(instance == "a"))).unwrap();
//! }
//! assert_eq!(stream.advance(1_000), Turned::Series);
//! assert_eq!(stream.answer(1_000).unwrap()[0].labels.to_string(), r#"{job="shop"}"#);
//! # Ok::<(), mainstay_promql::Error>(())
//! ```

use std::collections::BTreeMap;

use mainstay_promql::{InstantSeries, Labels, Matcher, Query, Sample, Span, pieces};

mod groups;
mod leaf;
mod node;
mod pairs;
mod plan;
mod scalar;
mod wheel;

use leaf::Reads;
use node::{Change, Op, Touched};
use plan::Plan;
pub use plan::{Reason, Uncompiled};
use wheel::Wheel;

/// Most samples that one rule holds: 64 MiB of them.
pub const SAMPLES_MAX: usize = 4_000_000;
/// How often what drifts with time alone is computed anew.
pub const DRIFT_EVERY_MS: i64 = 1_000;
/// So many series may be empty before those that are not move into a new home.
const EMPTY_MAX: usize = 1_024;

/// What a turn changed of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turned {
    /// Nothing.
    Nothing,
    /// Values of series that were there before.
    Values,
    /// Nothing more than that, but a time that was asked for has come.
    Alarm,
    /// Which series there are.
    Series,
}

/// Where the samples of a series go: leaf and row.
pub type Slot = (u32, u32);

/// The rule would hold more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its ranges hold more than {SAMPLES_MAX} samples: select fewer series or a shorter range")]
pub struct TooMuch;

/// What an expression holds of the series of one of its selectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Holding<'a> {
    /// Where the selector stands in the expression.
    pub span: Span,
    /// Which series.
    pub matchers: &'a [Matcher],
    /// All samples of the range, and not just the newest.
    pub whole_range: bool,
    /// How long a sample is held.
    pub reach_ms: i64,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// A sample of the series comes into sight or leaves it.
    Series(Slot),
    /// What drifts with time.
    Drift,
    /// A time that was asked for.
    Alarm,
}

/// An expression that is kept up to date.
#[derive(Debug, Clone)]
pub struct Stream {
    plan: Plan,
    /// The plan before it had any series.
    blank: Plan,
    wheel: Wheel<Due>,
    now_ms: i64,
    /// Series that something happened to since the last turn.
    arrived: Vec<Touched>,
    samples: usize,
    /// The next time that was asked for.
    alarm_ms: Option<i64>,
    /// Rows of the answer that are there, by the labels that are told.
    told: BTreeMap<Labels, Vec<u32>>,
}

impl Stream {
    /// The incremental form of an expression whose samples count as current for `lookback_ms`.
    pub fn compile(query: &Query, lookback_ms: i64, now_ms: i64) -> Result<Self, Uncompiled> {
        Ok(Self::over(Plan::of(query.expr(), lookback_ms)?, now_ms))
    }

    fn over(plan: Plan, now_ms: i64) -> Self {
        let mut wheel = Wheel::new(now_ms);
        if plan.nodes.iter().any(|it| it.drifts) {
            wheel.set(now_ms + DRIFT_EVERY_MS, Due::Drift);
        }
        Self {
            arrived: vec![Touched::default(); plan.leaves.len()],
            blank: plan.clone(),
            plan,
            wheel,
            now_ms,
            samples: 0,
            alarm_ms: None,
            told: BTreeMap::new(),
        }
    }

    /// What it holds, a selector at a time.
    pub fn holdings(&self) -> impl Iterator<Item = Holding<'_>> {
        self.plan.leaves.iter().map(|leaf| Holding {
            span: leaf.span,
            matchers: &leaf.matchers,
            whole_range: matches!(leaf.reads, Reads::Over(_)),
            reach_ms: leaf.reach_ms,
        })
    }

    /// Whether its value moves though no sample comes.
    pub fn drifts(&self) -> bool {
        self.plan.nodes.last().is_some_and(|it| it.drifts)
    }

    /// Where samples of a series go, which is to be asked once a series; nowhere if no selector wants it.
    pub fn open(&mut self, labels: &Labels) -> Vec<Slot> {
        let mut slots = Vec::new();
        for (at, leaf) in self.plan.leaves.iter_mut().enumerate() {
            if leaf.selects(labels) {
                slots.push((at as u32, leaf.open(labels)));
            }
        }
        slots
    }

    /// Takes a sample of a series; what it changes shows at the next turn.
    pub fn take(&mut self, slots: &[Slot], at_ms: i64, value: f64) -> Result<(), TooMuch> {
        for (leaf, row) in slots {
            if self.samples >= SAMPLES_MAX {
                return Err(TooMuch);
            }
            if self.plan.leaves[*leaf as usize].take(*row, at_ms, value) {
                self.samples += 1;
                self.arrived[*leaf as usize].add(*row);
            }
        }
        Ok(())
    }

    /// No change comes before, unless a sample does.
    pub fn wake_at(&self) -> Option<i64> {
        self.wheel.wake_at()
    }

    /// Wakes at a time, whatever else happens; an earlier one that was asked for stays.
    pub fn alarm(&mut self, at_ms: i64) {
        if self.alarm_ms.is_none_or(|it| at_ms < it) {
            self.alarm_ms = Some(at_ms);
            self.wheel.set(at_ms, Due::Alarm);
        }
    }

    /// Moves on to `now_ms`; what that changes of the answer.
    pub fn advance(&mut self, now_ms: i64) -> Turned {
        let now_ms = self.now_ms.max(now_ms);
        self.now_ms = now_ms;
        let mut turned = Turned::Nothing;
        for due in self.wheel.turn(now_ms) {
            match due {
                Due::Series((leaf, row)) => {
                    self.plan.leaves[leaf as usize].disarm(row);
                    self.arrived[leaf as usize].add(row);
                }
                Due::Drift => {
                    self.wheel.set(now_ms + DRIFT_EVERY_MS, Due::Drift);
                    self.touch_drifting();
                }
                Due::Alarm => {
                    self.alarm_ms = None;
                    turned = Turned::Alarm;
                }
            }
        }
        self.collect(now_ms);
        self.rise();
        self.descend();
        turned.max(self.compute(now_ms))
    }

    /// The answer at `now_ms`, everything that drifts included; none where the evaluator gives an error, because
    /// two series have the labels of one.
    pub fn answer(&mut self, now_ms: i64) -> Option<Vec<InstantSeries>> {
        self.touch_drifting();
        self.advance(now_ms);
        self.current()
    }

    /// The answer as it was found last.
    pub fn current(&self) -> Option<Vec<InstantSeries>> {
        let nodes = &self.plan.nodes;
        if nodes.iter().any(|it| it.clashes(nodes)) {
            return None;
        }
        let root = nodes.last()?;
        let series = self.told.iter().map(|(labels, rows)| {
            let [row] = rows[..] else { return None };
            let sample = Sample {
                timestamp_ms: self.now_ms,
                value: root.rows[row as usize].value?,
            };
            Some(InstantSeries::float(labels.clone(), sample))
        });
        series.collect()
    }

    /// Whether most of its series are gone, so that [`Stream::renewed`] would be much smaller.
    pub fn is_sparse(&self) -> bool {
        let counts = self.plan.leaves.iter().map(leaf::Leaf::counts);
        let (all, live) = counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        all - live > EMPTY_MAX.max(live)
    }

    /// The same over the samples that it holds; slots of before are void.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let mut new = Self::over(self.blank.clone(), self.now_ms);
        for (at, leaf) in self.plan.leaves.iter().enumerate() {
            for (labels, timestamps, values) in leaf.samples() {
                let row = new.plan.leaves[at].keep(labels);
                new.arrived[at].add(row);
                new.samples += timestamps.len();
                for (at_ms, value) in timestamps.iter().zip(values) {
                    new.plan.leaves[at].take(row, *at_ms, *value);
                }
            }
        }
        new.advance(self.now_ms);
        if let Some(at_ms) = self.alarm_ms {
            new.alarm(at_ms);
        }
        new
    }

    fn touch_drifting(&mut self) {
        for node in &mut self.plan.nodes {
            match &node.op {
                Op::Leaf(_) | Op::Constant(_) | Op::WithScalar(_) | Op::Quantile(..)
                    if node.drifts =>
                {
                    (0..node.rows.len() as u32).for_each(|row| node.touched.add(row));
                }
                _ => {}
            }
        }
    }

    /// Brings what happened to series into their rows.
    fn collect(&mut self, now_ms: i64) {
        for node in &mut self.plan.nodes {
            let Op::Leaf(at) = node.op else { continue };
            let leaf = &mut self.plan.leaves[at];
            for row in self.arrived[at].drain() {
                while node.rows.len() <= row as usize {
                    let labels = leaf.labels(node.rows.len() as u32).clone();
                    node.add_row(labels, leaf.drops_name());
                }
                self.samples -= leaf.forget(row, now_ms);
                if let Some(due_ms) = leaf.arm(row, now_ms) {
                    self.wheel.set(due_ms, Due::Series((at as u32, row)));
                }
                let before = node.rows[row as usize].value.map(f64::to_bits);
                let stays = !node.drifts && leaf.value(row, now_ms).map(f64::to_bits) == before;
                if !stays {
                    node.touched.add(row);
                }
            }
        }
    }

    fn rise(&mut self) {
        for at in 0..self.plan.nodes.len() {
            let (below, rest) = self.plan.nodes.split_at_mut(at);
            if let Some(node) = rest.first_mut() {
                node.rise(below);
            }
        }
    }

    /// What drifts is computed wherever a touched row is made of it.
    fn descend(&mut self) {
        for at in (0..self.plan.nodes.len()).rev() {
            let sources = match self.plan.nodes.get(at) {
                Some(node) if node.drifts => node.sources(&self.plan.nodes),
                Some(_) | None => continue,
            };
            for (below, row) in sources {
                let below = &mut self.plan.nodes[below];
                if below.drifts {
                    below.touch(row);
                }
            }
        }
    }

    fn compute(&mut self, now_ms: i64) -> Turned {
        let mut changed = Vec::new();
        for at in 0..self.plan.nodes.len() {
            let (below, rest) = self.plan.nodes.split_at_mut(at);
            if let Some(node) = rest.first_mut() {
                // The last is the root: what changed there is the answer's.
                changed = node.compute(below, &self.plan.leaves, now_ms);
            }
        }
        let Some(root) = self.plan.nodes.last() else {
            return Turned::Nothing;
        };
        let mut turned = Turned::Nothing;
        for (row, change) in changed {
            turned = turned.max(match change {
                Change::Moved => Turned::Values,
                Change::Came | Change::Went => Turned::Series,
            });
            match change {
                Change::Moved => {}
                Change::Came => {
                    let labels = told(&root.rows[row as usize]);
                    self.told.entry(labels).or_default().push(row);
                }
                Change::Went => {
                    let labels = told(&root.rows[row as usize]);
                    if let Some(rows) = self.told.get_mut(&labels) {
                        rows.retain(|it| *it != row);
                        if rows.is_empty() {
                            self.told.remove(&labels);
                        }
                    }
                }
            }
        }
        turned
    }
}

/// The labels that the result carries.
fn told(row: &node::Row) -> Labels {
    if row.drop_name {
        pieces::without_name(&row.labels)
    } else {
        row.labels.clone()
    }
}

#[cfg(test)]
mod tests;
