//! From a rule's expression to the nodes that keep its result up to date, or why there are none.

use std::fmt;

use mainstay_promql::{
    METRIC_NAME, Span,
    ast::{
        Aggregate, AggregateOp, Binary, BinaryOp, Duration, Edges, Expr, ExprKind, Group,
        Modifiers, Selector, ValueType,
    },
    pieces::{self, OverRange},
};

use super::{
    groups::Groups,
    leaf::{Leaf, Reads},
    node::{Node, Op, WithScalar},
    pairs::Pairs,
    scalar::Scalar,
};

/// Longest range whose samples are held: an hour of them at 15 s is 4 KiB a series.
pub(super) const RANGE_MAX_MS: i64 = 60 * 60 * 1_000;

/// Why an expression is evaluated at each tick instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Uncompiled {
    /// What stands in the way.
    pub reason: Reason,
    /// Where it stands, in bytes of the expression.
    pub span: Span,
}

/// What stands in the way of an incremental form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A range that would hold too much.
    LongRange,
    /// `offset` or `@`.
    OtherTime,
    /// `anchored` or `smoothed`.
    Edges,
    /// A subquery.
    Subquery,
    /// A function.
    Function(&'static str),
    /// An aggregation.
    Aggregation(&'static str),
    /// A group by the metric's name.
    GroupedByName,
    /// `group_left` or `group_right`, or `fill`.
    ManyToOne,
    /// An operator of histograms only.
    Operator(&'static str),
    /// A scalar that depends on series.
    Scalar,
    /// Something that is no vector.
    NoVector,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongRange => {
                f.write_str("a range over 1h, or one that is computed, would hold too many samples")
            }
            Self::OtherTime => f.write_str("`offset` and `@` look at another time than now"),
            Self::Edges => f.write_str("`anchored` and `smoothed` look beyond the range"),
            Self::Subquery => f.write_str("a subquery is evaluated at times of its own"),
            Self::Function(name) => write!(f, "the function `{name}` has no incremental form"),
            Self::Aggregation(name) => {
                write!(f, "the aggregation `{name}` has no incremental form")
            }
            Self::GroupedByName => {
                f.write_str("groups by the metric's name have no incremental form")
            }
            Self::ManyToOne => {
                f.write_str("only one-to-one matches without `fill` have an incremental form")
            }
            Self::Operator(sign) => write!(f, "the operator `{sign}` is for histograms"),
            Self::Scalar => f.write_str("a scalar that depends on series has no incremental form"),
            Self::NoVector => f.write_str("this is no vector"),
        }
    }
}

fn not<T>(reason: Reason, span: Span) -> Result<T, Uncompiled> {
    Err(Uncompiled { reason, span })
}

/// Nodes, each after those below it, and what they hold of series.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Leaf>,
    lookback_ms: i64,
}

impl Plan {
    pub(super) fn of(expr: &Expr, lookback_ms: i64) -> Result<Self, Uncompiled> {
        let mut plan = Self {
            lookback_ms,
            ..Self::default()
        };
        if expr.value_type() == ValueType::Scalar {
            plan.constant(expr)?;
        } else {
            plan.node(expr)?;
        }
        Ok(plan)
    }

    fn push(&mut self, op: Op, below: Vec<usize>, drifts: bool) -> usize {
        let drifts = drifts || below.iter().any(|it| self.nodes[*it].drifts);
        self.nodes.push(Node::new(op, below, drifts));
        self.nodes.len() - 1
    }

    fn node(&mut self, expr: &Expr) -> Result<usize, Uncompiled> {
        match &expr.kind {
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.node(inner),
            ExprKind::Selector(selector) => {
                self.selector(selector, Reads::Newest, self.lookback_ms, expr.span)
            }
            ExprKind::Negate(inner) => {
                let below = self.node(inner)?;
                Ok(self.push(Op::Math(|value| -value), vec![below], false))
            }
            ExprKind::Binary(binary) => self.binary(binary, expr.span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span),
            ExprKind::Call { function, args } => match (function.name, &args[..]) {
                ("absent", [vector]) => {
                    let below = self.node(vector)?;
                    Ok(self.absent(vector, below))
                }
                ("absent_over_time", [range]) => {
                    let Some(present) = OverRange::present() else {
                        return not(Reason::Function(function.name), expr.span);
                    };
                    let below = self.range(range, present)?;
                    Ok(self.absent(range, below))
                }
                ("histogram_quantile", [q, buckets]) => {
                    let Some(q_value) = Scalar::of(q) else {
                        return not(Reason::Scalar, q.span);
                    };
                    let below = self.node(buckets)?;
                    let drifts = q_value.drifts();
                    Ok(self.push(
                        Op::Quantile(q_value, Groups::default()),
                        vec![below],
                        drifts,
                    ))
                }
                ("timestamp", [of]) if is_selector(of) => self.timestamp(of),
                ("vector", [scalar]) => self.constant(scalar),
                (_, [vector]) if pieces::math(function).is_some() => {
                    let below = self.node(vector)?;
                    match pieces::math(function) {
                        Some(f) => Ok(self.push(Op::Math(f), vec![below], false)),
                        None => not(Reason::Function(function.name), expr.span),
                    }
                }
                _ => self.over(function, args, expr.span),
            },
            ExprKind::Subquery { .. } => not(Reason::Subquery, expr.span),
            ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Range { .. } => {
                not(Reason::NoVector, expr.span)
            }
        }
    }

    fn constant(&mut self, expr: &Expr) -> Result<usize, Uncompiled> {
        let Some(scalar) = Scalar::of(expr) else {
            return not(Reason::Scalar, expr.span);
        };
        let drifts = scalar.drifts();
        Ok(self.push(Op::Constant(scalar), Vec::new(), drifts))
    }

    fn absent(&mut self, of: &Expr, below: usize) -> usize {
        let labels = pieces::absent_labels(of);
        self.push(Op::Absent(labels), vec![below], false)
    }

    fn timestamp(&mut self, of: &Expr) -> Result<usize, Uncompiled> {
        match &of.kind {
            ExprKind::Paren(inner) => self.timestamp(inner),
            ExprKind::Selector(selector) => {
                self.selector(selector, Reads::NewestTime, self.lookback_ms, of.span)
            }
            _ => not(Reason::NoVector, of.span),
        }
    }

    fn selector(
        &mut self,
        selector: &Selector,
        reads: Reads,
        reach_ms: i64,
        span: Span,
    ) -> Result<usize, Uncompiled> {
        if selector.modifiers != Modifiers::default() {
            return not(Reason::OtherTime, span);
        }
        if selector.edges != Edges::Plain {
            return not(Reason::Edges, span);
        }
        let drifts = matches!(&reads, Reads::Over(over) if over.drifts());
        let leaf = Leaf::new((selector.matchers.clone(), span), reads, reach_ms);
        self.leaves.push(leaf);
        Ok(self.push(Op::Leaf(self.leaves.len() - 1), Vec::new(), drifts))
    }

    fn over(
        &mut self,
        function: &'static mainstay_promql::Function,
        args: &[Expr],
        span: Span,
    ) -> Result<usize, Uncompiled> {
        let mut scalars = Vec::new();
        let mut range = None;
        for arg in args {
            match arg.value_type() {
                ValueType::Matrix => range = Some(arg),
                ValueType::Scalar => match Scalar::of(arg).filter(|it| !it.drifts()) {
                    Some(scalar) => scalars.push(scalar.at(0)),
                    None => return not(Reason::Scalar, arg.span),
                },
                ValueType::Vector | ValueType::String => {}
            }
        }
        let over = OverRange::of(function, &scalars);
        let (Some(range), Some(over)) = (range, over) else {
            return not(Reason::Function(function.name), span);
        };
        self.range(range, over)
    }

    fn range(&mut self, range: &Expr, over: OverRange) -> Result<usize, Uncompiled> {
        match &range.kind {
            ExprKind::Paren(inner) => self.range(inner, over),
            ExprKind::Range {
                selector,
                range: Duration::Fixed(reach_ms),
            } if *reach_ms <= RANGE_MAX_MS => {
                self.selector(selector, Reads::Over(over), *reach_ms, range.span)
            }
            ExprKind::Range { .. } => not(Reason::LongRange, range.span),
            _ => not(Reason::Subquery, range.span),
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, span: Span) -> Result<usize, Uncompiled> {
        match aggregate.op {
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Stddev
            | AggregateOp::Stdvar
            | AggregateOp::Group => {}
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio
            | AggregateOp::Quantile
            | AggregateOp::CountValues => {
                return not(Reason::Aggregation(aggregate.op.name()), span);
            }
        }
        let by_name = aggregate.labels.iter().any(|it| it == METRIC_NAME);
        if by_name && !aggregate.without {
            return not(Reason::GroupedByName, span);
        }
        let below = self.node(&aggregate.expr)?;
        let op = Op::Aggregate(Box::new(aggregate.clone()), Groups::default());
        Ok(self.push(op, vec![below], false))
    }

    fn binary(&mut self, binary: &Binary, span: Span) -> Result<usize, Uncompiled> {
        if matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            return not(Reason::Operator(binary.op.sign()), span);
        }
        let is_scalar = |it: &Expr| it.value_type() == ValueType::Scalar;
        let with = [(&binary.right, &binary.left), (&binary.left, &binary.right)];
        for (scalar, vector) in with {
            if !is_scalar(scalar) {
                continue;
            }
            let Some(value) = Scalar::of(scalar) else {
                return not(Reason::Scalar, scalar.span);
            };
            let below = self.node(vector)?;
            let drifts = value.drifts();
            let op = Op::WithScalar(WithScalar {
                op: binary.op,
                scalar: value,
                swapped: std::ptr::eq(scalar, &raw const binary.left),
                return_bool: binary.return_bool,
            });
            return Ok(self.push(op, vec![below], drifts));
        }
        let matching = &binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !binary.op.is_set() && (matching.group != Group::OneToOne || fills) {
            return not(Reason::ManyToOne, span);
        }
        let below = vec![self.node(&binary.left)?, self.node(&binary.right)?];
        let pairs = Pairs::default();
        let op = if binary.op.is_set() {
            Op::Set(Box::new(binary.clone()), pairs)
        } else {
            Op::Matched(Box::new(binary.clone()), pairs)
        };
        Ok(self.push(op, below, false))
    }
}

fn is_selector(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Paren(inner) => is_selector(inner),
        kind => matches!(kind, ExprKind::Selector(_)),
    }
}
