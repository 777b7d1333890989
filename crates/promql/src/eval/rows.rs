//! Rows: series over all steps, and how those with equal labels come together.

use super::Steps;
use crate::column::Column;
use crate::error::{Fault, Outcome};
use crate::{Labels, Span};
use std::collections::HashMap;

pub(super) const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

/// One series over all steps.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes when the query ends.
    pub(crate) drop_name: bool,
    pub(crate) column: Column,
}

/// The value of a node over all steps.
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Text(String),
    Rows(Vec<Row>),
}

impl Row {
    /// Numbers without labels.
    pub(crate) fn unnamed(values: Vec<f64>) -> Self {
        Self {
            labels: Labels::default(),
            drop_name: false,
            column: Column::full(values),
        }
    }

    /// A row like this one without values.
    pub(super) fn emptied(&self, steps: Steps) -> Self {
        Self {
            labels: self.labels.clone(),
            drop_name: self.drop_name,
            column: Column::gaps(steps.count),
        }
    }
}

/// Joins rows of equal labels; two values at one step are an error.
pub(super) fn merge(rows: Vec<Row>, span: Span) -> Outcome<Vec<Row>> {
    merge_or(rows, span, SAME_LABELS)
}

/// Like [`merge`], with an error of its own.
pub(super) fn merge_or(rows: Vec<Row>, span: Span, message: &str) -> Outcome<Vec<Row>> {
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut by_labels: HashMap<(Labels, bool), usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        let key = (row.labels.clone(), row.drop_name);
        let Some(at) = by_labels.get(&key) else {
            by_labels.insert(key, merged.len());
            merged.push(row);
            continue;
        };
        let column = &mut merged[*at].column;
        for step in 0..row.column.len() {
            let Some(reading) = row.column.get(step).reading() else {
                continue;
            };
            if column.is_some(step) {
                return Fault::execution(span, message);
            }
            column.set(step, reading);
        }
    }
    Ok(merged)
}

/// Removes the names that are to go, and joins what becomes equal.
pub(crate) fn settle(mut rows: Vec<Row>, span: Span) -> Outcome<Vec<Row>> {
    for row in &mut rows {
        if std::mem::take(&mut row.drop_name) {
            row.labels = row.labels.without_name();
        }
    }
    merge(rows, span)
}

pub(super) fn without_empty(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| !row.column.is_empty());
    rows
}
