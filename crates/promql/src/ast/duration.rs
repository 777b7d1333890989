//! Durations, fixed or computed from the query's own step and range.
//!
//! Guarantees: a fixed duration needs no evaluation. A computed one is a handful of operations on seconds,
//! checked for its sign and size when the query begins.

use crate::Span;
use crate::error::{Fault, Outcome};

/// Longest duration and latest time accepted, so that sums of a few cannot overflow.
pub(crate) const MAX_DURATION_MS: f64 = 1e15;

/// A duration in a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Milliseconds.
    Fixed(i64),
    /// An expression.
    Computed(Box<DurationExpr>),
}

impl Default for Duration {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// A duration expression with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
    /// One more than the highest child.
    pub(crate) height: usize,
}

/// What a duration expression is. Values are seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A number or a duration.
    Seconds {
        /// Its value.
        value: f64,
        /// It was written as a duration, such as `5m`.
        is_duration: bool,
    },
    /// `step()`: the query's resolution.
    Step,
    /// `range()`: from the query's first step to its last.
    Range,
    /// `-x`.
    Negate(Box<DurationExpr>),
    /// `+x`.
    Plus(Box<DurationExpr>),
    /// `(x)`.
    Paren(Box<DurationExpr>),
    /// An operation on two.
    Binary {
        /// Which.
        op: DurationOp,
        /// Left operand.
        left: Box<DurationExpr>,
        /// Right operand.
        right: Box<DurationExpr>,
    },
}

/// Operations on durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named by its sign")]
pub enum DurationOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    MinOf,
    MaxOf,
}

/// What a duration expression may refer to, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimes {
    pub(crate) step_s: f64,
    pub(crate) range_s: f64,
}

impl Duration {
    /// In milliseconds; `span` is the node it belongs to.
    pub(crate) fn ms(&self, times: QueryTimes) -> Outcome<i64> {
        match self {
            Self::Fixed(ms) => Ok(*ms),
            Self::Computed(expr) => {
                let ms = (expr.seconds(times)? * 1_000.0).trunc();
                if ms.abs() < MAX_DURATION_MS {
                    return Ok(ms as i64);
                }
                Fault::invalid(expr.span, "the duration is out of range")
            }
        }
    }

    /// Whether it depends on the query's step or range.
    pub(crate) fn follows_query(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Computed(expr) => expr.follows_query(),
        }
    }

    /// Like [`Duration::ms`], for what must not be zero or less.
    pub(crate) fn positive_ms(&self, times: QueryTimes) -> Outcome<i64> {
        let ms = self.ms(times)?;
        match self {
            Self::Computed(expr) if ms <= 0 => {
                Fault::invalid(expr.span, "the duration must be greater than zero")
            }
            Self::Fixed(_) | Self::Computed(_) => Ok(ms),
        }
    }
}

impl DurationExpr {
    fn follows_query(&self) -> bool {
        match &self.kind {
            DurationKind::Seconds { .. } => false,
            DurationKind::Step | DurationKind::Range => true,
            DurationKind::Negate(inner)
            | DurationKind::Plus(inner)
            | DurationKind::Paren(inner) => inner.follows_query(),
            DurationKind::Binary { left, right, .. } => {
                left.follows_query() || right.follows_query()
            }
        }
    }

    fn seconds(&self, times: QueryTimes) -> Outcome<f64> {
        Ok(match &self.kind {
            DurationKind::Seconds { value, .. } => *value,
            DurationKind::Step => times.step_s,
            DurationKind::Range => times.range_s,
            DurationKind::Negate(inner) => -inner.seconds(times)?,
            DurationKind::Plus(inner) | DurationKind::Paren(inner) => inner.seconds(times)?,
            DurationKind::Binary { op, left, right } => {
                let (left, right) = (left.seconds(times)?, right.seconds(times)?);
                match op {
                    DurationOp::Add => left + right,
                    DurationOp::Subtract => left - right,
                    DurationOp::Multiply => left * right,
                    DurationOp::Divide | DurationOp::Modulo if right == 0.0 => {
                        return Fault::invalid(self.span, "a duration is divided by zero");
                    }
                    DurationOp::Divide => left / right,
                    DurationOp::Modulo => left % right,
                    DurationOp::Power => left.powf(right),
                    DurationOp::MinOf => left.min(right),
                    DurationOp::MaxOf => left.max(right),
                }
            }
        })
    }
}
