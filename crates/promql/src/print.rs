//! A query as text again, on one line or spread over several, in Prometheus's style.
//!
//! Guarantees: the text means what the tree means, and printing it again changes nothing. A part that fits
//! into [`WIDTH`] characters stays on one line. Comments are not in the tree, so they are lost.
//!
//! ```
//! use mainstay_promql::{Query, pretty};
//! let query = Query::parse("sum(rate( x [5m] ))by(job)").unwrap();
//! assert_eq!(pretty(query.expr()), "sum by (job) (rate(x[5m]))");
//! ```

use crate::ast::{
    Aggregate, At, Binary, Duration, DurationExpr, DurationKind, DurationOp, Edges, Expr, ExprKind,
    Group, Matching, Modifiers, Selector,
};
use crate::lexer::UNITS;
use crate::number::Plain;
use crate::storage::METRIC_NAME;
use crate::{MatchOp, Matcher};
use std::fmt::{self, Write as _};

/// Characters from which an expression is spread over lines.
const WIDTH: usize = 100;

const INDENT: &str = "  ";

/// The expression, over several lines where one is too long.
pub fn pretty(expr: &Expr) -> String {
    spread(expr, 0)
}

impl fmt::Display for Expr {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, is_duration } => number(*value, *is_duration, f),
            ExprKind::String(text) => f.write_str(&quoted(text)),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Negate(inner) => write!(f, "-{inner}"),
            ExprKind::Plus(inner) => write!(f, "+{inner}"),
            ExprKind::Selector(selector) => {
                write!(f, "{}{}", Named(selector), Tail(selector))
            }
            ExprKind::Range { selector, range } => {
                write!(f, "{}[{range}]{}", Named(selector), Tail(selector))
            }
            ExprKind::Subquery { expr, .. } => write!(f, "{expr}{}", window(self)),
            ExprKind::Binary(binary) => {
                let Binary { left, right, .. } = &**binary;
                write!(f, "{left} {} {right}", operator(binary))
            }
            ExprKind::Aggregate(aggregate) => {
                write!(f, "{}(", head(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Call { function, args } => {
                let args: Vec<String> = args.iter().map(ToString::to_string).collect();
                write!(f, "{}({})", function.name, args.join(", "))
            }
        }
    }
}

fn spread(expr: &Expr, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let line = expr.to_string();
    if line.chars().count() <= WIDTH {
        return indent + &line;
    }
    let deeper = |inner: &Expr| spread(inner, level + 1);
    match &expr.kind {
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::Selector(_)
        | ExprKind::Range { .. } => indent + &line,
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", deeper(inner)),
        ExprKind::Negate(inner) => format!("{indent}-{}", spread(inner, level).trim_start()),
        ExprKind::Plus(inner) => format!("{indent}+{}", spread(inner, level).trim_start()),
        ExprKind::Subquery { expr: inner, .. } => spread(inner, level) + &window(expr),
        ExprKind::Binary(binary) => format!(
            "{}\n{indent}{}\n{}",
            deeper(&binary.left),
            operator(binary),
            deeper(&binary.right)
        ),
        ExprKind::Aggregate(aggregate) => {
            let args = aggregate.param.iter().chain([&aggregate.expr]).map(deeper);
            let args: Vec<String> = args.collect();
            format!(
                "{indent}{}(\n{}\n{indent})",
                head(aggregate),
                args.join(",\n")
            )
        }
        ExprKind::Call { function, args } => {
            let args: Vec<String> = args.iter().map(deeper).collect();
            format!(
                "{indent}{}(\n{}\n{indent})",
                function.name,
                args.join(",\n")
            )
        }
    }
}

/// `sum by (job) `.
fn head(aggregate: &Aggregate) -> String {
    let labels = listed(&aggregate.labels);
    let name = aggregate.op.name();
    match (aggregate.without, aggregate.labels.is_empty()) {
        (true, _) => format!("{name} without ({labels}) "),
        (false, false) => format!("{name} by ({labels}) "),
        (false, true) => name.to_owned(),
    }
}

/// `== bool on (job) group_left (version) fill (0)`.
fn operator(binary: &Binary) -> String {
    let Matching {
        explicit,
        on,
        labels,
        group,
        include,
        fill_left,
        fill_right,
    } = &binary.matching;
    let mut text = binary.op.sign().to_owned();
    if binary.return_bool {
        text.push_str(" bool");
    }
    if *explicit && (*on || !labels.is_empty() || *group != Group::OneToOne) {
        let word = if *on { "on" } else { "ignoring" };
        // Writing to a text cannot fail, here and below.
        let _ = write!(text, " {word} ({})", listed(labels));
    }
    let grouping = match group {
        Group::OneToOne => None,
        Group::Left => Some("group_left"),
        Group::Right => Some("group_right"),
    };
    if let Some(word) = grouping {
        let _ = write!(text, " {word} ({})", listed(include));
    }
    if fill_left.map(f64::to_bits) == fill_right.map(f64::to_bits) {
        if let Some(value) = fill_left {
            let _ = write!(text, " fill ({})", Plain(*value));
        }
        return text;
    }
    for (word, value) in [("fill_left", fill_left), ("fill_right", fill_right)] {
        if let Some(value) = value {
            let _ = write!(text, " {word} ({})", Plain(*value));
        }
    }
    text
}

/// `[1h:1m] @ start() offset 5m`.
fn window(subquery: &Expr) -> String {
    let ExprKind::Subquery {
        range,
        step,
        modifiers,
        ..
    } = &subquery.kind
    else {
        return String::new();
    };
    let step = step.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("[{range}:{step}]{modifiers}")
}

fn listed(labels: &[String]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| label_name(label)).collect();
    labels.join(", ")
}

/// Bare where that is a name, else quoted.
fn label_name(label: &str) -> String {
    if is_name(label, false) {
        label.to_owned()
    } else {
        quoted(label)
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    text.chars().all(part) && text.starts_with(|c: char| !c.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A selector without its modifiers.
struct Named<'a>(&'a Selector);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let matchers = &self.0.matchers;
        let name = matchers.iter().find(names).filter(|m| !m.value.is_empty());
        let bare = name.filter(|m| is_name(&m.value, true));
        if let Some(name) = bare {
            f.write_str(&name.value)?;
        }
        let quoted_name = name.filter(|_| bare.is_none()).map(|m| quoted(&m.value));
        let others = matchers
            .iter()
            .filter(|m| name.is_none_or(|name| !std::ptr::eq(name, *m)));
        let parts =
            others.map(|m| format!("{}{}{}", label_name(&m.name), sign(m.op), quoted(&m.value)));
        let parts: Vec<String> = quoted_name.into_iter().chain(parts).collect();
        if bare.is_some() && parts.is_empty() {
            return Ok(());
        }
        write!(f, "{{{}}}", parts.join(","))
    }
}

fn sign(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

/// The modifiers of a selector.
struct Tail<'a>(&'a Selector);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.edges {
            Edges::Plain => "",
            Edges::Anchored => " anchored",
            Edges::Smoothed => " smoothed",
        })?;
        write!(f, "{}", self.0.modifiers)
    }
}

impl fmt::Display for Modifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0)?,
        }
        match &self.offset {
            Duration::Fixed(0) => Ok(()),
            offset @ (Duration::Fixed(_) | Duration::Computed(_)) => write!(f, " offset {offset}"),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ms) => duration(*ms, f),
            Self::Computed(expr) => write!(f, "{expr}"),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Seconds { value, is_duration } => number(*value, *is_duration, f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Negate(inner) => write!(f, "-{inner}"),
            DurationKind::Plus(inner) => write!(f, "+{inner}"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
            DurationKind::Binary { op, left, right } => {
                let sign = match op {
                    DurationOp::MinOf => return write!(f, "min_of({left}, {right})"),
                    DurationOp::MaxOf => return write!(f, "max_of({left}, {right})"),
                    DurationOp::Add => "+",
                    DurationOp::Subtract => "-",
                    DurationOp::Multiply => "*",
                    DurationOp::Divide => "/",
                    DurationOp::Modulo => "%",
                    DurationOp::Power => "^",
                };
                write!(f, "{left} {sign} {right}")
            }
        }
    }
}

fn number(value: f64, is_duration: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_duration {
        return duration((value * 1000.0).round() as i64, f);
    }
    write!(f, "{}", Plain(value))
}

/// `1h30m`; years, weeks and days only where nothing is left of them, so that `36h` stays readable.
fn duration(ms: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if ms == 0 {
        return f.write_str("0s");
    }
    if ms < 0 {
        f.write_str("-")?;
    }
    let mut rest = ms.unsigned_abs();
    for (at, (unit, length)) in UNITS.iter().enumerate() {
        let length = length.unsigned_abs();
        let whole_only = at < 3;
        if rest < length || (whole_only && !rest.is_multiple_of(length)) {
            continue;
        }
        write!(f, "{}{unit}", rest / length)?;
        rest %= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
