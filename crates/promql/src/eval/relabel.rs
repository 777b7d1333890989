//! Functions that rewrite labels or make some up.

use super::Evaluator;
use super::rows::{Row, merge};
use crate::ast::{Expr, ExprKind};
use crate::error::{Fault, Outcome};
use crate::storage::{METRIC_NAME, anchored};
use crate::{Labels, MatchOp, Span};

impl Evaluator<'_> {
    pub(super) fn label_replace(&self, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let [vector, target, replacement, source, pattern] = args else {
            return Fault::invalid(span, "label_replace needs five arguments");
        };
        let target = self.label_name(target)?;
        let replacement = self.text(replacement)?;
        let source = self.text(source)?;
        let regex = match anchored(&self.text(pattern)?) {
            Ok(regex) => regex,
            Err(error) => return Fault::execution(pattern.span, format!("label_replace: {error}")),
        };
        let mut rows = self.rows(vector)?;
        for row in &mut rows {
            let value = row.labels.get(&source).unwrap_or("");
            if let Some(captures) = regex.captures(value) {
                let mut written = String::new();
                captures.expand(&replacement, &mut written);
                set(row, &target, &written);
            }
        }
        merge(rows, span)
    }

    pub(super) fn label_join(&self, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let [vector, target, separator, sources @ ..] = args else {
            return Fault::invalid(span, "label_join needs at least three arguments");
        };
        let target = self.label_name(target)?;
        let separator = self.text(separator)?;
        let sources = sources
            .iter()
            .map(|source| self.text(source))
            .collect::<Outcome<Vec<String>>>()?;
        let mut rows = self.rows(vector)?;
        for row in &mut rows {
            let values: Vec<&str> = sources
                .iter()
                .map(|source| row.labels.get(source).unwrap_or(""))
                .collect();
            let written = values.join(&separator);
            set(row, &target, &written);
        }
        merge(rows, span)
    }

    fn label_name(&self, expr: &Expr) -> Outcome<String> {
        let name = self.text(expr)?;
        if name.is_empty() {
            return Fault::execution(expr.span, "a label name cannot be empty");
        }
        Ok(name)
    }
}

fn set(row: &mut Row, target: &str, value: &str) {
    row.labels = row.labels.with(target, value);
    if target == METRIC_NAME {
        row.drop_name = false;
    }
}

/// Labels that the missing series would have had: those with one equality matcher only.
pub(crate) fn absent_labels(expr: &Expr) -> Labels {
    let matchers = match &expr.unwrapped().kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => &selector.matchers[..],
        _ => &[],
    };
    let certain = matchers.iter().filter(|m| {
        let alone = matchers.iter().filter(|other| other.name == m.name).count() == 1;
        alone && m.op == MatchOp::Equal && m.name != METRIC_NAME
    });
    Labels::from_pairs(certain.map(|m| (m.name.as_str(), m.value.as_str())))
}
