use super::*;

fn file(text: &str) -> Result<File, String> {
    let environment = |name: &str| (name == "DC").then(|| "lax".to_owned());
    File::parse(text, &environment).map_err(|error| error.to_string())
}

#[test]
fn what_a_prometheus_file_says_is_taken() {
    let file = file(
        "global:
  scrape_interval: 15s
  evaluation_interval: 30s
  sample_limit: 500
  external_labels: {region: $DC, replica: a}
rule_files: [rules/*.yml]
scrape_config_files: [jobs/*.yml]
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}]
  alertmanagers:
    - path_prefix: /am/
      static_configs: [{targets: ['a:9093', 'b:9093']}]
storage: {tsdb: {out_of_order_time_window: 30m}}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ['a:9100']}]
  - job_name: slow
    scrape_interval: 1m
    sample_limit: 7
    static_configs: [{targets: ['a:1']}]
",
    )
    .unwrap();
    let [node, slow] = file.jobs.as_slice() else {
        panic!("{:?}", file.jobs);
    };
    assert_eq!(node.config().interval, Span::from_secs(15));
    assert_eq!(node.config().deadline, Span::from_secs(10));
    assert_eq!(node.config().samples.limits.samples, Some(500));
    assert_eq!(slow.config().interval, Span::from_secs(60));
    assert_eq!(slow.config().samples.limits.samples, Some(7));
    assert_eq!(file.evaluation_interval, Some(Span::from_secs(30)));
    assert_eq!(file.external_labels["region"], "lax");
    assert_eq!(file.alertmanagers, ["http://a:9093/am", "http://b:9093/am"]);
    assert_eq!(file.alert_rules.len(), 1);
    assert_eq!(file.rule_files, [PathBuf::from("rules/*.yml")]);
    assert_eq!(file.otherwise[0].0, "storage");
    let more = "scrape_configs: [{job_name: more, static_configs: [{targets: ['c:1']}]}]";
    let more = file.more(more).unwrap();
    assert_eq!(more[0].config().interval, Span::from_secs(15));
}

#[test]
fn an_empty_file_asks_for_nothing() {
    for text in ["", "# nothing yet\n", "global:\nrule_files:\nalerting:\n"] {
        let file = file(text).unwrap();
        assert!(
            file.jobs.is_empty() && file.otherwise.is_empty(),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_not_done_is_refused_with_its_line_and_a_remedy() {
    for (text, says) in [
        (
            "scrape_configs:\n  - job_name: pods\n    kubernetes_sd_configs: [{role: pod}]\n",
            ["3:", "http_sd_configs"],
        ),
        (
            "remote_write: [{url: 'a/'}]",
            ["remote_write", "is not a URL"],
        ),
        (
            "scrape_configs: [{job_name: a, scheme: ftp}]",
            ["1:", "ftp"],
        ),
        ("scrape_configs: [{job_name: ''}]", ["job_name", ""]),
        (
            "alerting: {alertmanagers: [{api_version: v1}]}",
            ["api_version", "v2"],
        ),
        (
            "global: {metric_name_validation_scheme: legacy}",
            ["metric_name_validation_scheme", "utf8"],
        ),
        ("globals: {}", ["1:", "globals"]),
    ] {
        let error = file(text).unwrap_err();
        assert!(says.iter().all(|it| error.contains(it)), "{text}: {error}");
    }
}
