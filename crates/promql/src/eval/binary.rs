//! Binary operators: arithmetic, comparison, sets, and how series find each other.

use super::{Evaluator, Row, Value, merge};
use crate::ast::{Binary, BinaryOp, Group, Matching};
use crate::error::{Fault, Outcome};
use crate::storage::METRIC_NAME;
use crate::{Labels, Span};
use std::collections::HashMap;

const MANY_TO_MANY: &str = "found duplicate series for the match group on the \"one\" side of the \
                            operation: many-to-many matching not allowed, matching labels must be \
                            unique on one side";
const IMPLICIT_MANY: &str = "multiple matches for labels: many-to-one matching must be explicit \
                             (group_left/group_right)";

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, span: Span) -> Outcome<Value> {
        let left = self.eval(&binary.left)?;
        let right = self.eval(&binary.right)?;
        let (op, as_bool) = (binary.op, binary.return_bool);
        Ok(match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Value::Scalar(pairs.map(|(l, r)| number(op, l, r)).collect())
            }
            (Value::Rows(rows), Value::Scalar(scalars)) => {
                let f = |value, scalar| apply(op, as_bool, value, scalar);
                Value::Rows(with_scalar(rows, &scalars, drops_name(binary), f))
            }
            (Value::Scalar(scalars), Value::Rows(rows)) => {
                // A filter keeps the vector's value, whichever side it is on.
                let f = |value, scalar| {
                    let result = apply(op, as_bool, scalar, value)?;
                    let filters = op.is_comparison() && !as_bool;
                    Some(if filters { value } else { result })
                };
                Value::Rows(with_scalar(rows, &scalars, drops_name(binary), f))
            }
            (Value::Rows(left), Value::Rows(right)) => Value::Rows(if op.is_set() {
                self.set(binary, left, right, span)?
            } else {
                self.matched(binary, &left, &right, span)?
            }),
            _ => return Fault::invalid(span, "a string has no operators"),
        })
    }

    fn set(
        &self,
        binary: &Binary,
        mut left: Vec<Row>,
        mut right: Vec<Row>,
        span: Span,
    ) -> Outcome<Vec<Row>> {
        let key = |row: &Row| signature(&binary.matching, &row.labels);
        let mask = |rows: &mut Vec<Row>, other: &HashMap<Labels, Vec<bool>>, keep_found: bool| {
            for row in rows.iter_mut() {
                let found = other.get(&key(row));
                for (i, value) in row.values.iter_mut().enumerate() {
                    if found.is_some_and(|f| f[i]) != keep_found {
                        *value = None;
                    }
                }
            }
            rows.retain(|row| !row.is_empty());
        };
        match binary.op {
            BinaryOp::And | BinaryOp::Unless => {
                let present = self.presence(&right, key);
                mask(&mut left, &present, binary.op == BinaryOp::And);
                Ok(left)
            }
            _ => {
                let present = self.presence(&left, key);
                mask(&mut right, &present, false);
                left.append(&mut right);
                merge(left, span)
            }
        }
    }

    fn presence(&self, rows: &[Row], key: impl Fn(&Row) -> Labels) -> HashMap<Labels, Vec<bool>> {
        let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
        for row in rows {
            let slots = present
                .entry(key(row))
                .or_insert_with(|| vec![false; self.steps.count]);
            for (slot, value) in slots.iter_mut().zip(&row.values) {
                *slot |= value.is_some();
            }
        }
        present
    }

    fn matched(
        &self,
        binary: &Binary,
        left: &[Row],
        right: &[Row],
        span: Span,
    ) -> Outcome<Vec<Row>> {
        let matching = &binary.matching;
        let swapped = matching.group == Group::Right;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let chosen = self.one_side(matching, many, one, span)?;
        let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
        let mut results = Vec::new();
        for row in many {
            let key = signature(matching, &row.labels);
            let Some(slots) = chosen.get(&key) else {
                continue;
            };
            let taken = taken
                .entry(key)
                .or_insert_with(|| vec![false; self.steps.count]);
            // The matching series may change from step to step, and its labels with it.
            let mut by_partner: Vec<(usize, Row)> = Vec::new();
            for (i, partner) in slots.iter().enumerate() {
                let (Some(value), Some(partner)) = (row.values[i], *partner) else {
                    continue;
                };
                let Some(other) = one[partner].values[i] else {
                    continue;
                };
                let (l, r) = if swapped {
                    (other, value)
                } else {
                    (value, other)
                };
                let Some(result) = apply(binary.op, binary.return_bool, l, r) else {
                    continue;
                };
                if matching.group == Group::OneToOne && std::mem::replace(&mut taken[i], true) {
                    return Fault::execution(span, IMPLICIT_MANY);
                }
                let at = by_partner
                    .iter()
                    .position(|(p, _)| *p == partner)
                    .unwrap_or_else(|| {
                        by_partner.push((partner, self.result_row(binary, row, &one[partner])));
                        by_partner.len() - 1
                    });
                by_partner[at].1.values[i] = Some(result);
            }
            results.extend(by_partner.into_iter().map(|(_, row)| row));
        }
        merge(results, span)
    }

    /// For each match group and step, which series of the "one" side is there.
    fn one_side(
        &self,
        matching: &Matching,
        many: &[Row],
        one: &[Row],
        span: Span,
    ) -> Outcome<HashMap<Labels, Vec<Option<usize>>>> {
        let many_there = |i: usize| many.iter().any(|row| row.values[i].is_some());
        let mut chosen: HashMap<Labels, Vec<Option<usize>>> = HashMap::new();
        for (at, row) in one.iter().enumerate() {
            let slots = chosen
                .entry(signature(matching, &row.labels))
                .or_insert_with(|| vec![None; self.steps.count]);
            for (i, slot) in slots.iter_mut().enumerate() {
                if row.values[i].is_none() {
                    continue;
                }
                if slot.replace(at).is_some() && many_there(i) {
                    return Fault::execution(span, MANY_TO_MANY);
                }
            }
        }
        Ok(chosen)
    }

    fn result_row(&self, binary: &Binary, many: &Row, one: &Row) -> Row {
        let matching = &binary.matching;
        let mut labels = many.labels.clone();
        if !binary.op.is_comparison() {
            labels = labels.without_name();
        }
        if matching.group == Group::OneToOne {
            let listed = |name: &str| matching.labels.iter().any(|l| l == name);
            labels = labels.filtered(|name| listed(name) == matching.on);
        }
        for name in &matching.include {
            labels = labels.with(name, one.labels.get(name).unwrap_or(""));
        }
        Row {
            labels,
            drop_name: binary.return_bool || many.drop_name,
            values: vec![None; self.steps.count],
        }
    }
}

fn drops_name(binary: &Binary) -> bool {
    binary.return_bool || !binary.op.is_comparison()
}

fn with_scalar(
    mut rows: Vec<Row>,
    scalars: &[f64],
    drops_name: bool,
    f: impl Fn(f64, f64) -> Option<f64>,
) -> Vec<Row> {
    for row in &mut rows {
        row.drop_name |= drops_name;
        for (value, scalar) in row.values.iter_mut().zip(scalars) {
            *value = value.and_then(|v| f(v, *scalar));
        }
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// The labels by which series find each other.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|l| l == name);
    if matching.on {
        labels.filtered(listed)
    } else {
        labels.filtered(|name| name != METRIC_NAME && !listed(name))
    }
}

/// The result, or nothing if a comparison filters the left value out.
fn apply(op: BinaryOp, as_bool: bool, left: f64, right: f64) -> Option<f64> {
    let result = number(op, left, right);
    if op.is_comparison() && !as_bool {
        return (result != 0.0).then_some(left);
    }
    Some(result)
}

fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
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
        // Set operators never reach numbers: the parser refuses them on scalars.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}
