//! Scalars of a compiled rule: numbers, and what is computed of them and the time.

use mainstay_promql::{
    ast::{BinaryOp, Expr, ExprKind},
    pieces,
};

/// A scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Number(f64),
    /// Seconds since the epoch.
    Time,
    Of(BinaryOp, Box<Self>, Box<Self>),
}

impl Scalar {
    /// `None` where it depends on a series, or is none.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        Some(match &expr.kind {
            ExprKind::Number { value, .. } => Self::Number(*value),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => Self::of(inner)?,
            ExprKind::Negate(inner) => {
                let inner = Box::new(Self::of(inner)?);
                Self::Of(BinaryOp::Multiply, Box::new(Self::Number(-1.0)), inner)
            }
            ExprKind::Binary(binary) => {
                let left = Box::new(Self::of(&binary.left)?);
                Self::Of(binary.op, left, Box::new(Self::of(&binary.right)?))
            }
            ExprKind::Call { function, .. } => match function.name {
                "time" => Self::Time,
                "pi" => Self::Number(std::f64::consts::PI),
                _ => return None,
            },
            ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range { .. }
            | ExprKind::Subquery { .. }
            | ExprKind::Aggregate(_) => return None,
        })
    }

    pub(super) fn at(&self, now_ms: i64) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Time => now_ms as f64 / 1000.0,
            Self::Of(op, left, right) => pieces::number(*op, left.at(now_ms), right.at(now_ms)),
        }
    }

    pub(super) fn drifts(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Time => true,
            Self::Of(_, left, right) => left.drifts() || right.drifts(),
        }
    }
}
