//! The syntax tree. Every node carries its span.
//!
//! Guarantees: a tree from [`crate::parse`] is well typed and at most [`MAX_DEPTH`] high.

use crate::{Matcher, Span};

mod duration;
mod operator;

pub use duration::{Duration, DurationExpr, DurationKind, DurationOp};
pub(crate) use duration::{MAX_DURATION_MS, QueryTimes};
pub use operator::{AggregateOp, BinaryOp};

/// Height of a syntax tree, which bounds every recursion over it.
pub const MAX_DEPTH: usize = 128;

/// A node with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
    /// One more than the highest child.
    pub(crate) height: usize,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number {
        /// Its value.
        value: f64,
        /// It was written as a duration, such as `5m`.
        is_duration: bool,
    },
    /// A string.
    String(String),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// An instant selector.
    Selector(Selector),
    /// A range selector.
    Range {
        /// What to select.
        selector: Selector,
        /// How far back, open at that end.
        range: Duration,
    },
    /// An expression evaluated over a range of times.
    Subquery {
        /// What to evaluate.
        expr: Box<Expr>,
        /// How far back, open at that end.
        range: Duration,
        /// Resolution, if given.
        step: Option<Duration>,
        /// `offset` and `@`.
        modifiers: Modifiers,
    },
    /// `-x`.
    Negate(Box<Expr>),
    /// `+x`, which leaves its operand as it is.
    Plus(Box<Expr>),
    /// A binary operation.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A function call.
    Call {
        /// The function.
        function: &'static crate::functions::Function,
        /// Its arguments.
        args: Vec<Expr>,
    },
}

/// `offset` and `@` of a selector or a subquery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// How far to look into the past; negative looks ahead.
    pub offset: Duration,
    /// The time to evaluate at, instead of the query's.
    pub at: Option<At>,
}

/// A fixed evaluation time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    /// The first step of the query.
    Start,
    /// The last step of the query.
    End,
}

/// Which series, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Conditions, one for the metric's name included.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
    /// `anchored` or `smoothed`.
    pub edges: Edges,
}

/// What stands at the edges of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// The first and last sample inside.
    #[default]
    Plain,
    /// The last sample before each edge (`anchored`).
    Anchored,
    /// A value between the samples around each edge (`smoothed`).
    Smoothed,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: Expr,
    /// Right operand.
    pub right: Expr,
    /// Comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How the vectors' series find each other.
    pub matching: Matching,
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on` or `ignoring` was written.
    pub explicit: bool,
    /// The labels are those compared (`on`), not those left out (`ignoring`).
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Which side may have several series.
    pub group: Group,
    /// Labels taken over from the other side.
    pub include: Vec<String>,
    /// What stands in for a missing left partner (`fill_left`).
    pub fill_left: Option<f64>,
    /// What stands in for a missing right partner (`fill_right`).
    pub fill_right: Option<f64>,
}

/// Which side of a match may have several series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// None.
    #[default]
    OneToOne,
    /// The left one (`group_left`).
    Left,
    /// The right one (`group_right`).
    Right,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Expr,
    /// The first argument of `topk`, `bottomk`, `limitk`, `limit_ratio`, `quantile`, `count_values`.
    pub param: Option<Expr>,
    /// `by` or `without` was written.
    pub grouped: bool,
    /// The labels are those dropped (`without`), not those kept (`by`).
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// A string.
    String,
    /// A set of series with one value each a step.
    Vector,
    /// A set of series with a range of samples each.
    Matrix,
}

impl ValueType {
    /// As Prometheus names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(inner) | ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
                inner.value_type()
            }
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Range { .. } | ExprKind::Subquery { .. } => ValueType::Matrix,
            ExprKind::Binary(binary) => {
                let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
                if scalar(&binary.left) && scalar(&binary.right) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            ExprKind::Call { function, .. } => function.returns,
        }
    }

    /// The nodes right below.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number { .. }
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range { .. } => Vec::new(),
            ExprKind::Paren(inner)
            | ExprKind::Negate(inner)
            | ExprKind::Plus(inner)
            | ExprKind::Subquery { expr: inner, .. } => vec![inner],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().chain([&aggregate.expr]).collect()
            }
            ExprKind::Call { args, .. } => args.iter().collect(),
        }
    }

    /// The expression inside any parentheses.
    pub(crate) fn unwrapped(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unwrapped(),
            _ => self,
        }
    }
}
