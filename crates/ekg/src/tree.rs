//! A query as a tree of JSON, in the shapes of Prometheus's `parse_query`.
//!
//! Guarantees: times are milliseconds, as there. A duration that is computed when the query runs has no number here,
//! and is null.

use mainstay_promql::{
    MatchOp, Matcher,
    ast::{At, Duration, Edges, Expr, ExprKind, Group, Matching, Modifiers, Selector, ValueType},
};
use serde_json::{Map, Value, json};

use crate::text::Number;

/// The tree of `expr`.
pub(crate) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number { value, .. } => {
            json!({ "type": "numberLiteral", "val": Number(*value).to_string() })
        }
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": tree(inner) }),
        ExprKind::Negate(inner) => json!({ "type": "unaryExpr", "op": "-", "expr": tree(inner) }),
        ExprKind::Plus(inner) => json!({ "type": "unaryExpr", "op": "+", "expr": tree(inner) }),
        ExprKind::Selector(it) => selector("vectorSelector", it).into(),
        ExprKind::Range {
            selector: of,
            range,
        } => {
            let mut node = selector("matrixSelector", of);
            node.insert("range".to_owned(), millis(range));
            node.into()
        }
        ExprKind::Subquery {
            expr,
            range,
            step,
            modifiers: of,
        } => {
            let mut node = Map::new();
            node.insert("type".to_owned(), "subquery".into());
            node.insert("expr".to_owned(), tree(expr));
            node.insert("range".to_owned(), millis(range));
            // Zero is the engine's own step, as there.
            let step = step.as_ref().map_or_else(|| json!(0), millis);
            node.insert("step".to_owned(), step);
            modifiers(of, &mut node);
            node.into()
        }
        ExprKind::Binary(it) => json!({
            "type": "binaryExpr",
            "op": it.op.sign(),
            "lhs": tree(&it.left),
            "rhs": tree(&it.right),
            "matching": matching(&it.left, &it.right, it.op.is_set(), &it.matching),
            "bool": it.return_bool,
        }),
        ExprKind::Aggregate(it) => json!({
            "type": "aggregation",
            "op": it.op.name(),
            "expr": tree(&it.expr),
            "param": it.param.as_ref().map(tree),
            "grouping": it.labels,
            "without": it.without,
        }),
        ExprKind::Call { function, args } => {
            let (types, variadic) = function.signature();
            json!({
                "type": "call",
                "func": {
                    "name": function.name,
                    "argTypes": types.iter().map(|it| type_name(*it)).collect::<Vec<_>>(),
                    "variadic": variadic,
                    "returnType": type_name(function.returns),
                },
                "args": args.iter().map(tree).collect::<Vec<_>>(),
            })
        }
    }
}

fn type_name(of: ValueType) -> &'static str {
    match of {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}

fn millis(duration: &Duration) -> Value {
    match duration {
        Duration::Fixed(ms) => json!(ms),
        Duration::Computed(_) => Value::Null,
    }
}

fn modifiers(of: &Modifiers, node: &mut Map<String, Value>) {
    let (timestamp, start_or_end) = match of.at {
        None => (Value::Null, Value::Null),
        Some(At::Time(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    };
    node.insert("offset".to_owned(), millis(&of.offset));
    node.insert("timestamp".to_owned(), timestamp);
    node.insert("startOrEnd".to_owned(), start_or_end);
}

fn selector(kind: &str, of: &Selector) -> Map<String, Value> {
    let named = of
        .matchers
        .iter()
        .find(|it| it.name == mainstay_promql::METRIC_NAME && it.op == MatchOp::Equal);
    let one = |it: &Matcher| {
        let op = match it.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        json!({ "name": it.name, "value": it.value, "type": op })
    };
    let mut node = Map::new();
    node.insert("type".to_owned(), kind.into());
    let name = named.map_or("", |it| it.value.as_str());
    node.insert("name".to_owned(), name.into());
    node.insert("matchers".to_owned(), of.matchers.iter().map(one).collect());
    modifiers(&of.modifiers, &mut node);
    match of.edges {
        Edges::Plain => {}
        Edges::Anchored => drop(node.insert("anchored".to_owned(), true.into())),
        Edges::Smoothed => drop(node.insert("smoothed".to_owned(), true.into())),
    }
    node
}

/// How two vectors are matched; null where one side is a number.
fn matching(left: &Expr, right: &Expr, is_set: bool, of: &Matching) -> Value {
    let vector = |it: &Expr| it.value_type() == ValueType::Vector;
    if !vector(left) || !vector(right) {
        return Value::Null;
    }
    let card = match of.group {
        _ if is_set => "many-to-many",
        Group::OneToOne => "one-to-one",
        Group::Left => "many-to-one",
        Group::Right => "one-to-many",
    };
    json!({ "card": card, "labels": of.labels, "on": of.on, "include": of.include })
}

#[cfg(test)]
mod tests {
    use mainstay_promql::parse;

    use super::*;

    fn of(query: &str) -> Value {
        tree(&parse(query).unwrap())
    }

    #[test]
    fn selectors_tell_their_name_matchers_and_times_in_milliseconds() {
        assert_eq!(
            of(r#"up{job=~"a|b"} offset 1m @ 10"#),
            json!({
                "type": "vectorSelector", "name": "up",
                "matchers": [
                    {"name": "__name__", "value": "up", "type": "="},
                    {"name": "job", "value": "a|b", "type": "=~"},
                ],
                "offset": 60_000, "timestamp": 10_000, "startOrEnd": null,
            })
        );
        let range = of("up[5m] @ start()");
        assert_eq!(
            (&range["type"], &range["range"], &range["startOrEnd"]),
            (&json!("matrixSelector"), &json!(300_000), &json!("start"))
        );
        let sub = of("rate(up[5m])[1h:]");
        assert_eq!(
            (&sub["range"], &sub["step"]),
            (&json!(3_600_000), &json!(0))
        );
        assert_eq!(
            of("up offset step()")["offset"],
            Value::Null,
            "known when it runs"
        );
    }

    #[test]
    fn operators_aggregations_and_calls_tell_what_they_are_made_of() {
        let sum = of("sum by (job) (rate(a[5m])) / on (job) group_left (x) b > bool 1");
        assert_eq!((&sum["op"], &sum["bool"]), (&json!(">"), &json!(true)));
        assert_eq!(sum["matching"], Value::Null, "one side is a number");
        let ratio = &sum["lhs"];
        assert_eq!(
            ratio["matching"],
            json!({"card": "many-to-one", "labels": ["job"], "on": true, "include": ["x"]})
        );
        let aggregation = &ratio["lhs"];
        assert_eq!(
            (
                &aggregation["op"],
                &aggregation["grouping"],
                &aggregation["param"]
            ),
            (&json!("sum"), &json!(["job"]), &Value::Null)
        );
        assert_eq!(
            aggregation["expr"]["func"],
            json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"})
        );
        assert_eq!(of("topk(2, a)")["param"]["val"], "2");
        assert_eq!(of("a and b")["matching"]["card"], "many-to-many");
        assert_eq!(of("round(a)")["func"]["variadic"], 1);
        assert_eq!(of("-(1)")["expr"]["type"], "parenExpr");
    }
}
