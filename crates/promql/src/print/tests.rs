use super::pretty;
use crate::parse;

fn printed(text: &str) -> String {
    pretty(&parse(text).unwrap())
}

#[test]
fn each_construct_is_printed_in_its_usual_form() {
    for (text, wanted) in [
        ("a{b='c',d=~\"e\"}", "a{b=\"c\",d=~\"e\"}"),
        ("{'a.b',c!=''}", "{\"a.b\",c!=\"\"}"),
        ("{__name__=\"a\"}", "a"),
        ("sum(a)by(x,y)", "sum by (x, y) (a)"),
        ("topk(3,a)", "topk(3, a)"),
        ("a+on(x)group_left(y)b", "a + on (x) group_left (y) b"),
        ("a+fill_left(1)b", "a + fill_left (1) b"),
        ("a + fill(-Inf) b", "a + fill (-Inf) b"),
        ("a>bool 1e3", "a > bool 1000"),
        ("a[90m]offset -1d@5", "a[1h30m] @ 5.000 offset -1d"),
        ("a[step()*2+1m]", "a[step() * 2 + 1m]"),
        ("a[5m] smoothed offset(1h)", "a[5m] smoothed offset (1h)"),
        ("rate(a[5m])[1h:]", "rate(a[5m])[1h:]"),
        ("-(a)^2", "-(a) ^ 2"),
        ("a </ 5", "a </ 5"),
        ("\"x\\ty\"", "\"x\\ty\""),
    ] {
        assert_eq!(printed(text), wanted);
    }
}

#[test]
fn what_is_printed_means_the_same_and_prints_the_same() {
    let long = "sum by (service, fabric, version) (rate(http_requests_failed_total{code=~\"5..\"}[5m])) / \
                ignoring (code) group_left () sum(rate(http_requests_total{service!=\"\"}[5m] offset 1h)) > 0.01";
    for text in [
        long,
        "histogram_quantile(0.9, sum by (le) (rate(request_duration_seconds_bucket{service=\"feed\"}[5m] @ end())))",
        "max_over_time((sum(a) - sum(b))[1h:1m] offset 5m) or on () vector(0)",
        "info(a, {b=~\".+\"}) + -b",
    ] {
        let once = printed(text);
        assert_eq!(printed(&once), once, "{text}");
        let flat = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(flat(&once), flat(text));
    }
}

#[test]
fn what_is_too_long_for_a_line_is_spread() {
    let text = "sum(rate(a_metric_with_a_rather_long_name_total{service=\"feed\"}[5m])) / \
                sum(rate(another_metric_with_a_long_name_total{service=\"feed\"}[5m]))";
    let wanted = "  sum(rate(a_metric_with_a_rather_long_name_total{service=\"feed\"}[5m]))\n\
                  /\n  \
                  sum(rate(another_metric_with_a_long_name_total{service=\"feed\"}[5m]))";
    assert_eq!(printed(text), wanted);
}
