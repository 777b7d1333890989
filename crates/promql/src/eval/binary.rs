//! Binary operators: arithmetic, comparison, sets, and what they mean for histograms.

use super::matching::Signatures;
use super::rows::{Row, Value, merge, without_empty};
use super::{Evaluator, Reading};
use crate::Span;
use crate::ast::{Binary, BinaryOp};
use crate::column::Point;
use crate::error::{Fault, Outcome};
use crate::histogram::{Added, Incompatible, ResetHint, Trim};
use crate::note::{During, Remark};
use std::sync::Arc;

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, span: Span) -> Outcome<Value> {
        let left = self.eval(&binary.left)?;
        let right = self.eval(&binary.right)?;
        Ok(match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Value::Scalar(pairs.map(|(l, r)| number(binary.op, l, r)).collect())
            }
            (Value::Rows(rows), Value::Scalar(scalars)) => {
                Value::Rows(self.with_scalar(binary, rows, (&scalars, false), span))
            }
            (Value::Scalar(scalars), Value::Rows(rows)) => {
                Value::Rows(self.with_scalar(binary, rows, (&scalars, true), span))
            }
            (Value::Rows(left), Value::Rows(right)) => Value::Rows(if binary.op.is_set() {
                self.set(binary, left, right, span)?
            } else {
                self.matched(binary, &left, &right, span)?
            }),
            _ => return Fault::invalid(span, "a string has no operators"),
        })
    }

    /// `swapped`: the scalar is the left operand.
    fn with_scalar(
        &self,
        binary: &Binary,
        mut rows: Vec<Row>,
        (scalars, swapped): (&[f64], bool),
        span: Span,
    ) -> Vec<Row> {
        let op = binary.op;
        let filters = op.is_comparison() && !binary.return_bool;
        for row in &mut rows {
            row.drop_name |= binary.return_bool || op.makes_another_metric();
            if !row.column.has_histograms() && !is_trim(op) {
                row.column.filter_map_floats(|i, value| {
                    let (l, r) = if swapped {
                        (scalars[i], value)
                    } else {
                        (value, scalars[i])
                    };
                    let result = number(op, l, r);
                    // A filter keeps the vector's value, whichever side it is on.
                    if filters {
                        (result != 0.0).then_some(value)
                    } else {
                        Some(result)
                    }
                });
                continue;
            }
            for (i, scalar) in scalars.iter().enumerate() {
                let point = row.column.get(i);
                if matches!(point, Point::Gap) {
                    continue;
                }
                let scalar = Point::Float(*scalar);
                let (l, r) = if swapped {
                    (scalar, point)
                } else {
                    (point, scalar)
                };
                let kept = self.combined(binary, l, r, span).reading();
                let kept = if filters && swapped {
                    kept.and(point.reading())
                } else {
                    kept
                };
                row.column.clear(i);
                if let Some(reading) = kept {
                    row.column.set(i, reading);
                }
            }
        }
        without_empty(rows)
    }

    fn set(
        &self,
        binary: &Binary,
        mut left: Vec<Row>,
        mut right: Vec<Row>,
        span: Span,
    ) -> Outcome<Vec<Row>> {
        let signatures = Signatures::of(&binary.matching, &left, &right);
        let masked = |rows: &mut Vec<Row>, own: &[usize], present: &[bool], keep_found: bool| {
            for (row, signature) in rows.iter_mut().zip(own) {
                for i in 0..self.steps.count {
                    if present[signature * self.steps.count + i] != keep_found {
                        row.column.clear(i);
                    }
                }
            }
        };
        match binary.op {
            BinaryOp::And | BinaryOp::Unless => {
                let present = signatures.presence(&right, &signatures.right, self.steps.count);
                let keep_found = binary.op == BinaryOp::And;
                masked(&mut left, &signatures.left, &present, keep_found);
                Ok(without_empty(left))
            }
            _ => {
                let present = signatures.presence(&left, &signatures.left, self.steps.count);
                masked(&mut right, &signatures.right, &present, false);
                left.append(&mut without_empty(right));
                merge(left, span)
            }
        }
    }

    /// The result of two samples; what does not fit together is noted.
    pub(super) fn combined(
        &self,
        binary: &Binary,
        left: Point<'_>,
        right: Point<'_>,
        span: Span,
    ) -> Combined {
        let op = binary.op;
        let combined = match (left, right) {
            (Point::Gap, _) | (_, Point::Gap) => return Combined::Unfit,
            (Point::Float(l), Point::Float(r)) if !is_trim(op) => {
                let result = number(op, l, r);
                if op.is_comparison() && !binary.return_bool {
                    return Combined::kept_if(result != 0.0, Reading::Float(l));
                }
                return Combined::Is(Reading::Float(result));
            }
            (Point::Float(factor), Point::Histogram(h)) if op == BinaryOp::Multiply => {
                Some(h.as_ref().clone().scaled(factor).compact())
            }
            (Point::Histogram(h), Point::Float(value)) => match op {
                BinaryOp::Multiply => Some(h.as_ref().clone().scaled(value).compact()),
                BinaryOp::Divide => Some(h.as_ref().clone().divided(value).compact()),
                BinaryOp::TrimUpper => Some(h.trimmed(Trim::KeepBelow, value)),
                BinaryOp::TrimLower => Some(h.trimmed(Trim::KeepAbove, value)),
                _ => None,
            },
            (Point::Histogram(l), Point::Histogram(r)) => match op {
                BinaryOp::Add => return self.summed(l.as_ref().clone().plus(r), true, span),
                BinaryOp::Subtract => return self.summed(l.as_ref().clone().minus(r), false, span),
                BinaryOp::Equal | BinaryOp::NotEqual => {
                    let holds = l.same_as(r) == (op == BinaryOp::Equal);
                    if binary.return_bool {
                        return Combined::Is(Reading::Float(f64::from(u8::from(holds))));
                    }
                    return Combined::kept_if(holds, Reading::Histogram(Arc::clone(l)));
                }
                _ => None,
            },
            (Point::Float(_), Point::Float(_) | Point::Histogram(_)) => None,
        };
        if let Some(histogram) = combined {
            return Combined::Is(histogram.into());
        }
        let remark = Remark::IncompatibleTypes {
            op: op.sign(),
            left: kind(left),
            right: kind(right),
        };
        self.note(&remark, span);
        Combined::Unfit
    }

    fn summed(&self, sum: Result<Added, Incompatible>, addition: bool, span: Span) -> Combined {
        let during = if addition {
            During::Addition
        } else {
            During::Subtraction
        };
        let Ok(sum) = sum else {
            self.note(&Remark::MixedSchemas(""), span);
            return Combined::Unfit;
        };
        if sum.collision {
            self.note(&Remark::ResetCollision(during), span);
        }
        if sum.reconciled {
            self.note(&Remark::MismatchedBounds(during), span);
        }
        let histogram = if addition {
            sum.histogram
        } else {
            sum.histogram.with_hint(ResetHint::Gauge)
        };
        Combined::Is(histogram.compact().into())
    }
}

/// What two samples give.
pub(super) enum Combined {
    Is(Reading),
    /// A comparison says no.
    FilteredOut,
    /// They do not go together, as if they had not met.
    Unfit,
}

impl Combined {
    fn kept_if(holds: bool, reading: Reading) -> Self {
        if holds {
            Self::Is(reading)
        } else {
            Self::FilteredOut
        }
    }

    pub(super) fn reading(self) -> Option<Reading> {
        match self {
            Self::Is(reading) => Some(reading),
            Self::FilteredOut | Self::Unfit => None,
        }
    }
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

fn kind(point: Point<'_>) -> &'static str {
    match point {
        Point::Gap | Point::Float(_) => "float",
        Point::Histogram(_) => "histogram",
    }
}

pub(crate) fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |t: bool| f64::from(u8::from(t));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessOrEqual => truth(left <= right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterOrEqual => truth(left >= right),
        // Set operators and trims never reach numbers: the parser refuses them on scalars.
        BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => f64::NAN,
    }
}
