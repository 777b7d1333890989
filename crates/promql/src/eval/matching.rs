//! How the series of two vectors find each other.
//!
//! Guarantees: labels are compared once a series; at each step only small numbers are. Which series is the
//! partner may change from step to step, and its labels with it.

use super::Evaluator;
use super::binary::Combined;
use super::rows::{Row, merge_or, without_empty};
use crate::ast::{Binary, Group, Matching};
use crate::column::{Column, Point, Reading};
use crate::error::{Fault, Outcome};
use crate::storage::METRIC_NAME;
use crate::{Labels, Span};
use std::collections::HashMap;

const IMPLICIT_MANY: &str = "multiple matches for labels: many-to-one matching must be explicit \
                             (group_left/group_right)";
const NOT_UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";

/// No partner at a step.
const NOBODY: u32 = u32::MAX;

/// Small numbers for the labels that series are matched by.
pub(super) struct Signatures {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    labels: Vec<Labels>,
}

impl Signatures {
    pub(super) fn of(matching: &Matching, left: &[Row], right: &[Row]) -> Self {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut labels: Vec<Labels> = Vec::new();
        let mut number = |row: &Row| {
            let signature = signature(matching, &row.labels);
            *known.entry(signature).or_insert_with_key(|signature| {
                labels.push(signature.clone());
                labels.len() - 1
            })
        };
        Self {
            left: left.iter().map(&mut number).collect(),
            right: right.iter().map(&mut number).collect(),
            labels,
        }
    }

    /// For each signature and step whether one of the rows is there.
    pub(super) fn presence(&self, rows: &[Row], own: &[usize], steps: usize) -> Vec<bool> {
        let mut present = vec![false; self.labels.len() * steps];
        for (row, signature) in rows.iter().zip(own) {
            for i in 0..steps {
                present[signature * steps + i] |= row.column.is_some(i);
            }
        }
        present
    }
}

/// The labels by which series find each other.
pub(crate) fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        labels.filtered(listed)
    } else {
        labels.filtered(|name| name != METRIC_NAME && !listed(name))
    }
}

/// The labels of what two series that only have each other give.
pub(crate) fn one_to_one(binary: &Binary, left: &Labels) -> Labels {
    let matching = &binary.matching;
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    of_quantity(binary, left).filtered(|name| listed(name) == matching.on)
}

/// Without the name, if the result is another quantity.
fn of_quantity(binary: &Binary, labels: &Labels) -> Labels {
    if binary.op.makes_another_metric() {
        labels.without_name()
    } else {
        labels.clone()
    }
}

/// Both sides by their role: many series may meet one.
struct Sides<'a> {
    binary: &'a Binary,
    many: &'a [Row],
    one: &'a [Row],
    many_signatures: Vec<usize>,
    one_signatures: Vec<usize>,
    labels: Vec<Labels>,
    /// The left operand is the "one" side.
    swapped: bool,
    // As in Prometheus, `fill_left` is for the "many" side also under `group_right`, where that is the right.
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

impl<'a> Sides<'a> {
    fn of(binary: &'a Binary, left: &'a [Row], right: &'a [Row]) -> Self {
        let matching = &binary.matching;
        let signatures = Signatures::of(matching, left, right);
        let labels = signatures.labels;
        if matching.group == Group::Right {
            return Self {
                binary,
                many: right,
                one: left,
                many_signatures: signatures.right,
                one_signatures: signatures.left,
                labels,
                swapped: true,
                fill_many: matching.fill_left,
                fill_one: matching.fill_right,
            };
        }
        Self {
            binary,
            many: left,
            one: right,
            many_signatures: signatures.left,
            one_signatures: signatures.right,
            labels,
            swapped: false,
            fill_many: matching.fill_left,
            fill_one: matching.fill_right,
        }
    }

    fn result_row(&self, many: &Labels, one: &Labels, drop_name: bool, steps: usize) -> Row {
        let matching = &self.binary.matching;
        let mut labels = match matching.group {
            Group::OneToOne => one_to_one(self.binary, many),
            Group::Left | Group::Right => of_quantity(self.binary, many),
        };
        for name in &matching.include {
            labels = labels.with(name, one.get(name).unwrap_or(""));
        }
        Row {
            labels,
            drop_name: self.binary.return_bool || drop_name,
            column: Column::gaps(steps),
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn matched(
        &self,
        binary: &Binary,
        left: &[Row],
        right: &[Row],
        span: Span,
    ) -> Outcome<Vec<Row>> {
        let sides = Sides::of(binary, left, right);
        let steps = self.steps.count;
        let partners = self.partners(&sides, span)?;
        let mut taken = vec![false; sides.labels.len() * steps];
        let mut results = Vec::new();
        for (row, signature) in sides.many.iter().zip(&sides.many_signatures) {
            self.go_on(span)?;
            let place = signature * steps;
            // One result row a partner, the last for the fill value.
            let mut by_partner: Vec<(u32, Row)> = Vec::new();
            for i in 0..steps {
                let point = row.column.get(i);
                if matches!(point, Point::Gap) {
                    continue;
                }
                let partner = partners[place + i];
                let (other, labels) = match (sides.one.get(partner as usize), sides.fill_one) {
                    (Some(one), _) => (one.column.get(i), &one.labels),
                    (None, Some(fill)) => (Point::Float(fill), &sides.labels[*signature]),
                    (None, None) => continue,
                };
                let (l, r) = if sides.swapped {
                    (other, point)
                } else {
                    (point, other)
                };
                let reading = match self.combined(binary, l, r, span) {
                    Combined::Unfit => continue,
                    Combined::FilteredOut => None,
                    Combined::Is(reading) => Some(reading),
                };
                let first = !std::mem::replace(&mut taken[place + i], true);
                if binary.matching.group == Group::OneToOne && !first {
                    return Fault::execution(span, IMPLICIT_MANY);
                }
                let Some(reading) = reading else { continue };
                let at = by_partner.iter().position(|(p, _)| *p == partner);
                let at = at.unwrap_or_else(|| {
                    let result = sides.result_row(&row.labels, labels, row.drop_name, steps);
                    by_partner.push((partner, result));
                    by_partner.len() - 1
                });
                by_partner[at].1.column.set(i, reading);
            }
            results.extend(by_partner.into_iter().map(|(_, row)| row));
        }
        if let Some(fill) = sides.fill_many {
            results.append(&mut self.filled(&sides, fill, &taken, span));
        }
        merge_or(without_empty(results), span, NOT_UNIQUE)
    }

    /// For each signature and step, which series of the "one" side is there.
    fn partners(&self, sides: &Sides<'_>, span: Span) -> Outcome<Vec<u32>> {
        let steps = self.steps.count;
        let mut partners = vec![NOBODY; sides.labels.len() * steps];
        let fills = sides.fill_many.is_some() || sides.fill_one.is_some();
        let met = |i: usize| fills || sides.many.iter().any(|row| row.column.is_some(i));
        for (at, (row, signature)) in sides.one.iter().zip(&sides.one_signatures).enumerate() {
            for i in 0..steps {
                if !row.column.is_some(i) {
                    continue;
                }
                let slot = &mut partners[signature * steps + i];
                let before = std::mem::replace(slot, at as u32);
                if let Some(other) = sides.one.get(before as usize)
                    && met(i)
                {
                    let side = if sides.swapped { "left" } else { "right" };
                    let message = format!(
                        "found duplicate series for the match group {} on the {side} hand-side of \
                         the operation: [{}, {}];many-to-many matching not allowed: matching labels \
                         must be unique on one side",
                        sides.labels[*signature], row.labels, other.labels
                    );
                    return Fault::execution(span, message);
                }
            }
        }
        Ok(partners)
    }

    /// What the "one" side gives where it met nobody.
    fn filled(&self, sides: &Sides<'_>, fill: f64, taken: &[bool], span: Span) -> Vec<Row> {
        let steps = self.steps.count;
        let results = sides
            .one
            .iter()
            .zip(&sides.one_signatures)
            .map(|(one, signature)| {
                let many = &sides.labels[*signature];
                let mut result = sides.result_row(many, &one.labels, false, steps);
                for i in 0..steps {
                    let point = one.column.get(i);
                    if taken[signature * steps + i] || matches!(point, Point::Gap) {
                        continue;
                    }
                    let fill = Point::Float(fill);
                    let (l, r) = if sides.swapped {
                        (point, fill)
                    } else {
                        (fill, point)
                    };
                    let reading: Option<Reading> =
                        self.combined(sides.binary, l, r, span).reading();
                    if let Some(reading) = reading {
                        result.column.set(i, reading);
                    }
                }
                result
            });
        results.collect()
    }
}
