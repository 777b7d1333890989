use super::*;

const RULES: &str = "groups:
- name: shop
  rules:
  - record: job:errors:rate2m
    expr: sum by (job) (rate(errors_total[2m]))
  - alert: Errors
    expr: job:errors:rate2m > 0.5
    for: 2m
    labels: {severity: page, site: '{{ $externalLabels.site }}'}
    annotations: {summary: '{{ $labels.job }} gives {{ $value | humanize }} errors a second'}
";

const TEST: &str = "rule_files: [shop.yml]
evaluation_interval: 1m
tests:
- name: a burst pages after two minutes and ends
  interval: 1m
  input_series:
  - series: 'errors_total{job=\"web\"}'
    values: '0x3 60+60x5 360x10'
  external_labels: {site: lax}
  alert_rule_test:
  - eval_time: 5m
    alertname: Errors
    exp_alerts: []
  - eval_time: 7m30s
    alertname: Errors
    exp_alerts:
    - exp_labels: {job: web, severity: page, site: lax}
      exp_annotations: {summary: web gives 1 errors a second}
  - eval_time: 15m
    alertname: Errors
  promql_expr_test:
  - expr: job:errors:rate2m
    eval_time: 6m
    exp_samples:
    - {labels: 'job:errors:rate2m{job=\"web\"}', value: 1}
  - expr: ALERTS{alertstate=\"pending\"}
    eval_time: 5m
    exp_samples:
    - labels: 'ALERTS{alertname=\"Errors\", alertstate=\"pending\", job=\"web\", severity=\"page\", site=\"lax\"}'
      value: 1
";

fn rules() -> Vec<(String, RuleFile)> {
    vec![("shop.yml".into(), RuleFile::parse(RULES).unwrap())]
}

fn missed(test: &str) -> Vec<Missed> {
    let tested = UnitFile::parse(test).unwrap().run(&rules(), |_| true);
    tested.into_iter().flat_map(|it| it.missed).collect()
}

#[test]
fn alerts_and_recorded_series_come_out_as_they_would_live() {
    assert_eq!(missed(TEST), []);
    let tested = UnitFile::parse(TEST).unwrap().run(&rules(), |_| true);
    assert_eq!((tested[0].expectations, tested[0].line), (5, 4));
    let none = UnitFile::parse(TEST)
        .unwrap()
        .run(&rules(), |name| name == "other");
    assert_eq!(none, []);
}

#[test]
fn what_comes_out_otherwise_is_told_with_its_line_and_both_sides() {
    let found = missed(&TEST.replace("gives 1 errors", "gives 2 errors"));
    let [one] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((one.line, one.what.as_str()), (15, "alert Errors at 7m30s"));
    assert!(one.wanted.contains("gives 2 errors") && one.found.contains("gives 1 errors"));

    let found = missed(&TEST.replace("value: 1}", "value: 1.5}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].to_string().contains("1.5"), "{}", found[0]);
}

#[test]
fn numbers_are_equal_to_the_last_bit_unless_the_file_is_fuzzy() {
    let last_bit = TEST.replace("value: 1}", "value: 1.0000000000000002}");
    assert_eq!(missed(&last_bit).len(), 1);
    assert_eq!(missed(&format!("fuzzy_compare: true\n{last_bit}")), []);
}

#[test]
fn a_test_that_begins_at_a_time_sees_that_time() {
    let test = "tests:
- start_timestamp: 2026-01-01T00:00:00Z
  input_series: [{series: a, values: '1 2'}]
  promql_expr_test:
  - {expr: timestamp(a), eval_time: 1m, exp_samples: [{labels: '{}', value: 1767225660}]}
  - {expr: a, eval_time: 0, exp_samples: [{labels: a, value: 1}]}
  - {expr: sum(h), eval_time: 1m}
";
    assert_eq!(missed(test), []);
    let seconds = test.replace("2026-01-01T00:00:00Z", "1767225600");
    assert_eq!(missed(&seconds), []);
}

#[test]
fn everything_that_is_wrong_with_a_file_is_said_with_its_line() {
    let wrong = "tests:
- interval: 0s
  alert_rule_test: [{eval_time: 1m, alertname: ''}]
  promql_expr_test:
  - expr: sum(
    eval_time: 1m
  - expr: a
    eval_time: 1m
    exp_samples: [{labels: 'a{'}]
";
    let errors = UnitFile::parse(wrong).unwrap_err();
    let lines: Vec<u64> = errors.iter().map(|it| it.line).collect();
    assert_eq!(lines, [2, 3, 5, 9], "{errors:#?}");
    assert!(UnitFile::parse("tests: [{evaltime: 3}]").is_err());
}

#[test]
fn a_rule_that_fails_ends_its_test_with_the_reason() {
    let rules = "groups: [{name: g, rules: [{record: r, expr: a * on (x) a}]}]";
    let rules = vec![("g.yml".into(), RuleFile::parse(rules).unwrap())];
    let test = "tests:
- input_series: [{series: 'a{x=\"1\", y=\"1\"}', values: '1'}, {series: 'a{x=\"1\", y=\"2\"}', values: '1'}]
  promql_expr_test: [{expr: r, eval_time: 0s}]
";
    let tested = UnitFile::parse(test).unwrap().run(&rules, |_| true);
    assert_eq!(tested[0].missed[0].what, "r at 0s");
}
