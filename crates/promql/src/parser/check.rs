//! Types: which operand may stand where.

use crate::Span;
use crate::ast::{Binary, Edges, Expr, ExprKind, Group, Modifiers, ValueType};
use crate::error::{Fault, Outcome};
use crate::functions::Function;

pub(super) fn numeric(expr: &Expr, whom: &str) -> Outcome<()> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        found => Fault::invalid(
            expr.span,
            format!(
                "{whom} needs a scalar or an instant vector, found a {}",
                found.name()
            ),
        ),
    }
}

pub(super) fn has_type(expr: &Expr, wanted: ValueType, whom: &str) -> Outcome<()> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    let message = format!("{whom} needs a {}, found a {}", wanted.name(), found.name());
    Fault::invalid(expr.span, message)
}

pub(super) fn binary(binary: &Binary, op_span: Span) -> Outcome<()> {
    let op = binary.op;
    numeric(&binary.left, "an operator")?;
    numeric(&binary.right, "an operator")?;
    let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
    let (left, right) = (scalar(&binary.left), scalar(&binary.right));
    if binary.return_bool && !op.is_comparison() {
        return Fault::invalid(op_span, "bool is only for comparisons");
    }
    if op.is_comparison() && left && right && !binary.return_bool {
        return Fault::invalid(op_span, "a comparison of two scalars needs bool");
    }
    if op.is_set() && (left || right) {
        return Fault::invalid(op_span, "a set operator needs two instant vectors");
    }
    let matching = &binary.matching;
    if matching.explicit && (left || right) {
        return Fault::invalid(op_span, "on and ignoring need two instant vectors");
    }
    if op.is_set() && matching.group != Group::OneToOne {
        return Fault::invalid(op_span, "a set operator cannot have a grouping");
    }
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if fills && (left || right || op.is_set()) {
        return Fault::invalid(
            op_span,
            "fill needs an arithmetic or comparison operator between two instant vectors",
        );
    }
    if matching.on
        && let Some(both) = matching
            .include
            .iter()
            .find(|l| matching.labels.contains(l))
    {
        let message = format!("label {both:?} is both in on and in the grouping");
        return Fault::invalid(op_span, message);
    }
    Ok(())
}

pub(super) fn call(function: &Function, args: &[Expr], span: Span) -> Outcome<()> {
    let (least, most) = function.arity();
    if args.len() < least || most.is_some_and(|most| args.len() > most) {
        let wanted = match most {
            Some(most) if most == least => format!("{least}"),
            Some(most) => format!("{least} to {most}"),
            None => format!("at least {least}"),
        };
        let message = format!(
            "{} needs {wanted} argument(s), found {}",
            function.name,
            args.len()
        );
        return Fault::invalid(span, message);
    }
    for (at, arg) in args.iter().enumerate() {
        has_type(arg, function.arg_type(at), function.name)?;
    }
    Ok(())
}

/// The second argument of `info` only selects labels.
pub(super) fn label_selector(expr: &Expr) -> Outcome<()> {
    match &expr.kind {
        ExprKind::Selector(selector)
            if selector.modifiers == Modifiers::default() && selector.edges == Edges::Plain =>
        {
            Ok(())
        }
        _ => Fault::invalid(
            expr.span,
            "info needs a label selector such as {version=~\".+\"}",
        ),
    }
}
