//! The syntax tree. Every node carries its span.
//!
//! Guarantees: a tree from [`crate::parse`] is well typed and at most [`MAX_DEPTH`] high.

use crate::{Matcher, Span};

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
    Number(f64),
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
        range_ms: i64,
    },
    /// An expression evaluated over a range of times.
    Subquery {
        /// What to evaluate.
        expr: Box<Expr>,
        /// How far back, open at that end.
        range_ms: i64,
        /// Resolution, if given.
        step_ms: Option<i64>,
        /// `offset` and `@`.
        modifiers: Modifiers,
    },
    /// `-x` (a plus leaves its operand as it is).
    Negate(Box<Expr>),
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// How far to look into the past; negative looks ahead.
    pub offset_ms: i64,
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

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named by its sign below")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Atan2,
    Power,
}

impl BinaryOp {
    /// Operator and precedence of a sign or a lower-case word.
    pub(crate) fn from_text(text: &str) -> Option<(Self, u8)> {
        Some(match text {
            "or" => (Self::Or, 1),
            "and" => (Self::And, 2),
            "unless" => (Self::Unless, 2),
            "==" => (Self::Equal, 3),
            "!=" => (Self::NotEqual, 3),
            "<" => (Self::Less, 3),
            "<=" => (Self::LessOrEqual, 3),
            ">" => (Self::Greater, 3),
            ">=" => (Self::GreaterOrEqual, 3),
            "+" => (Self::Add, 4),
            "-" => (Self::Subtract, 4),
            "*" => (Self::Multiply, 5),
            "/" => (Self::Divide, 5),
            "%" => (Self::Modulo, 5),
            "atan2" => (Self::Atan2, 5),
            "^" => (Self::Power, 6),
            _ => return None,
        })
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// `==`, `!=`, `<`, `<=`, `>`, `>=`.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(
            self,
            Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual
        )
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Expr,
    /// The first argument of `topk`, `bottomk`, `quantile`, `count_values`.
    pub param: Option<Expr>,
    /// The labels are those dropped (`without`), not those kept (`by`).
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its PromQL name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Group,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
}

impl AggregateOp {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "group" => Self::Group,
            "topk" => Self::Topk,
            "bottomk" => Self::Bottomk,
            "quantile" => Self::Quantile,
            "count_values" => Self::CountValues,
            _ => return None,
        })
    }

    /// Takes an argument before the vector.
    pub(crate) fn has_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, Quantile, Topk};
        matches!(self, Topk | Bottomk | Quantile | CountValues)
    }
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
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(inner) | ExprKind::Negate(inner) => inner.value_type(),
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

    /// The expression inside any parentheses.
    pub(crate) fn unwrapped(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unwrapped(),
            _ => self,
        }
    }
}
