//! The evaluator's pieces, for who keeps an answer up to date instead of computing it anew.
//!
//! Guarantees: each is the very function that [`Engine`](crate::Engine) calls, on numbers only. None of them
//! selects, and none knows a time that it is not told.
//!
//! ```
//! use mainstay_promql::{ast::ExprKind, parse, pieces::{OverRange, Taken}};
//! let ExprKind::Call { function, .. } = parse("increase(x[1m])")?.kind else { unreachable!() };
//! let increase = OverRange::of(function, &[]).unwrap();
//! let taken = Taken { timestamps: &[15_000, 45_000], values: &[1.0, 3.0], start_ms: 0, end_ms: 60_000 };
//! assert_eq!(increase.value(&taken), Some(4.0));
//! # Ok::<(), mainstay_promql::Error>(())
//! ```

use crate::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Edges, Expr, Matching};
use crate::column::Reading;
use crate::eval::over::Scope;
use crate::eval::window::{self, Window};
use crate::eval::{aggregate, binary, classic, kahan, matching, relabel};
use crate::functions::{self, Function, Kind};
use crate::note::Notebook;
use crate::{Labels, Span};

/// Functions of a range whose value moves with the range's end, though no sample comes or goes.
const DRIFTING: [&str; 4] = ["delta", "increase", "predict_linear", "rate"];

/// Samples of one series in `(start_ms, end_ms]`, times ascending, no staleness marker among them.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// Milliseconds since the epoch.
    pub timestamps: &'a [i64],
    /// As many values.
    pub values: &'a [f64],
    /// The open end.
    pub start_ms: i64,
    /// The other end, which is the time of evaluation.
    pub end_ms: i64,
}

/// A function of a range vector with its scalar arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct OverRange {
    function: &'static Function,
    scalars: Vec<f64>,
}

impl OverRange {
    /// `None` if it is not one of those, or does not take these scalars.
    pub fn of(function: &'static Function, scalars: &[f64]) -> Option<Self> {
        let fits = match function.kind {
            Kind::Over(_) | Kind::Samples(_) | Kind::SamplesNamed(_) => scalars.is_empty(),
            Kind::OverWith(f) => f(&window_of(&NOTHING), scalars).is_ok(),
            Kind::Math(_)
            | Kind::Date(_)
            | Kind::OfHistogram(_)
            | Kind::Constant(_)
            | Kind::Special(_) => false,
        };
        fits.then(|| Self {
            function,
            scalars: scalars.to_vec(),
        })
    }

    /// 1 where there is a sample.
    pub fn present() -> Option<Self> {
        Self::of(functions::find("present_over_time")?, &[])
    }

    /// Whether the result is still the metric that was selected.
    pub fn keeps_name(&self) -> bool {
        matches!(self.function.kind, Kind::SamplesNamed(_))
    }

    /// Whether the value moves with time alone.
    pub fn drifts(&self) -> bool {
        DRIFTING.contains(&self.function.name)
    }

    /// The function's value; `None` where it has none.
    pub fn value(&self, taken: &Taken<'_>) -> Option<f64> {
        if taken.timestamps.is_empty() {
            return None;
        }
        let window = window_of(taken);
        match self.function.kind {
            Kind::Over(f) => f(&window),
            Kind::OverWith(f) => f(&window, &self.scalars).ok().flatten(),
            Kind::Samples(f) | Kind::SamplesNamed(f) => {
                let (notes, labels) = (Notebook::default(), Labels::default());
                let unread = Scope::new(&notes, Span::default(), &labels, Edges::Plain);
                match f(&window, &unread) {
                    Some(Reading::Float(value)) => Some(value),
                    Some(Reading::Histogram(_)) | None => None,
                }
            }
            Kind::Math(_)
            | Kind::Date(_)
            | Kind::OfHistogram(_)
            | Kind::Constant(_)
            | Kind::Special(_) => None,
        }
    }
}

const NOTHING: Taken<'_> = Taken {
    timestamps: &[],
    values: &[],
    start_ms: 0,
    end_ms: 0,
};

fn window_of<'a>(taken: &Taken<'a>) -> Window<'a> {
    Window {
        timestamps: taken.timestamps,
        values: taken.values,
        histograms: None,
        starts: None,
        start_ms: taken.start_ms,
        end_ms: taken.end_ms,
        eval_ms: taken.end_ms,
    }
}

/// A function of each value by itself, if this is one.
pub fn math(function: &Function) -> Option<fn(f64) -> f64> {
    match function.kind {
        Kind::Math(f) => Some(f),
        Kind::Date(_)
        | Kind::OfHistogram(_)
        | Kind::Over(_)
        | Kind::OverWith(_)
        | Kind::Samples(_)
        | Kind::SamplesNamed(_)
        | Kind::Constant(_)
        | Kind::Special(_) => None,
    }
}

/// Two numbers under an operator; a comparison gives 1 or 0.
pub fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
    binary::number(op, left, right)
}

/// All values of a group under an aggregation; `None` for no values, and for aggregations that make more of
/// them than one number.
pub fn aggregated(op: AggregateOp, values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values = values.into_iter();
    match op {
        AggregateOp::Sum => kahan::sum(values),
        AggregateOp::Avg => kahan::mean(values),
        AggregateOp::Min => values.reduce(window::lesser),
        AggregateOp::Max => values.reduce(window::greater),
        AggregateOp::Count => Some(values.count() as f64).filter(|count| *count > 0.0),
        AggregateOp::Stddev => kahan::variance(values).map(f64::sqrt),
        AggregateOp::Stdvar => kahan::variance(values),
        AggregateOp::Group => { values }.next().map(|_| 1.0),
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio
        | AggregateOp::Quantile
        | AggregateOp::CountValues => None,
    }
}

/// The labels of the group that a series belongs to.
pub fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    labels.filtered(|name| aggregate::keeps(aggregate, name))
}

/// The labels by which a series finds its partner.
pub fn signature(matching: &Matching, labels: &Labels) -> Labels {
    matching::signature(matching, labels)
}

/// The labels of what a left series and its only partner give.
pub fn matched_labels(binary: &Binary, left: &Labels) -> Labels {
    matching::one_to_one(binary, left)
}

/// Whether the result is another quantity than the operands.
pub fn makes_another_metric(op: BinaryOp) -> bool {
    op.makes_another_metric()
}

/// Without what describes the metric, which a computed value no longer is.
pub fn without_name(labels: &Labels) -> Labels {
    labels.without_name()
}

/// The labels of the classic histogram that a bucket belongs to, and its upper bound; `None` for no bucket.
pub fn bucket(labels: &Labels) -> Option<(Labels, f64)> {
    let bound = classic::bound(labels.get(classic::BUCKET_LABEL)?)?;
    let others = labels.filtered(|name| name != classic::BUCKET_LABEL);
    Some((others, bound))
}

/// The quantile of a classic histogram: upper bounds, ascending, and how many observations are not above.
pub fn quantile(q: f64, buckets: Vec<(f64, f64)>) -> f64 {
    classic::quantile(q, classic::coalesced(buckets)).0
}

/// The labels that a missing series would have had.
pub fn absent_labels(expr: &Expr) -> Labels {
    relabel::absent_labels(expr)
}

/// Whether a value is the marker that a series ended.
pub fn is_stale(value: f64) -> bool {
    crate::column::is_stale(value)
}
