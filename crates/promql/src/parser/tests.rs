use super::*;
use proptest::prelude::*;

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The operators of `text`, fully parenthesised.
fn shape(text: &str) -> String {
    fn show(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Number { value, .. } => value.to_string(),
            ExprKind::Paren(e) => show(e),
            ExprKind::Negate(e) => format!("-({})", show(e)),
            ExprKind::Binary(b) => {
                format!("({} {:?} {})", show(&b.left), b.op, show(&b.right))
            }
            ExprKind::Selector(s) => s.matchers[0].value.clone(),
            other => panic!("not an operator: {other:?}"),
        }
    }
    show(&parse(text).unwrap())
}

#[test]
fn operators_bind_as_in_prometheus() {
    assert_eq!(shape("1 + 2 * 3"), "(1 Add (2 Multiply 3))");
    assert_eq!(shape("2 ^ 3 ^ 2"), "(2 Power (3 Power 2))");
    assert_eq!(shape("-a ^ 2"), "-((a Power 2))");
    assert_eq!(shape("-a * b"), "(-(a) Multiply b)");
    assert_eq!(shape("2 ^ -a * b"), "((2 Power -(a)) Multiply b)");
    assert_eq!(shape("a or b and c"), "(a Or (b And c))");
    assert_eq!(shape("a - b - c"), "((a Subtract b) Subtract c)");
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    assert_eq!(
        error("sum(\n  a +)"),
        "2:6: expected an expression, found \")\""
    );
    assert_eq!(
        error("a{b}"),
        "1:4: expected \"=\", \"!=\", \"=~\" or \"!~\", found \"}\""
    );
    assert_eq!(
        error("rate(a)"),
        "1:6: rate needs a range vector, found a instant vector"
    );
    assert_eq!(error("nope(a)"), "1:1: unknown function \"nope\"");
    assert_eq!(
        error("a[5m] anchored smoothed"),
        "1:16: a selector is either anchored or smoothed, once"
    );
    assert_eq!(
        error("1 > 2"),
        "1:3: a comparison of two scalars needs bool"
    );
    assert_eq!(error("a[0]"), "1:3: the range must be greater than zero");
}

#[test]
fn quoted_names_may_hold_any_text() {
    let expr = parse(r#"{"http.requests", "region/code"=~"eu.*"}"#).unwrap();
    let ExprKind::Selector(selector) = expr.kind else {
        panic!("not a selector")
    };
    assert_eq!(selector.matchers[0].value, "http.requests");
    assert_eq!(selector.matchers[1].name, "region/code");
}

#[test]
fn nesting_is_bounded_on_both_sides() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(error(&deep).contains("nesting depth"));
    let long = vec!["1"; 10_000].join("+");
    assert!(error(&long).contains("nesting depth"));
    assert!(error(&"-".repeat(5_000)).contains("nesting depth"));
}

#[test]
fn spans_cover_the_text_of_their_node() {
    let text = "sum(rate(x[5m] offset 1m)) by (job) / 2";
    let expr = parse(text).unwrap();
    let ExprKind::Binary(binary) = &expr.kind else {
        panic!("not binary")
    };
    let span = binary.left.span;
    assert_eq!(
        &text[span.start..span.end],
        "sum(rate(x[5m] offset 1m)) by (job)"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\u{e9}\n]{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_sequence_of_words_makes_the_parser_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "sum", "by", "(", ")", "{", "}", "[", "]", "5m", ":", ",", "offset", "@", "-", "+",
            "on", "group_left", "bool", "==", "\"x\"", "rate", "start", "or", "1", "=~", "^",
        ]), 0..14)
    ) {
        if let Ok(expr) = parse(&words.join(" ")) {
            prop_assert!(expr.height <= MAX_DEPTH);
        }
    }
}
