use mainstay_core::Span;

use super::*;
use crate::{Alert, Labels, Posted};
use std::sync::Arc;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_793_880_000 + second).unwrap()
}

fn alert(labels: &str, note: &str, ends: Option<i64>) -> Arc<Alert> {
    let pairs = labels.split(' ').filter_map(|pair| pair.split_once('='));
    let posted = Posted {
        labels: pairs.collect(),
        annotations: Labels::from_iter([("summary", note)]),
        starts_at: Some(at(0)),
        ends_at: ends.map(at),
        generator_url: "http://prom/g?a=1&b=2".to_owned(),
    };
    Arc::new(posted.taken(at(0), Span::from_secs(300)).unwrap())
}

fn filled(text: &str, kind: Kind) -> Result<String, TemplateError> {
    let group = Labels::from_iter([("job", "shop")]);
    let alerts = [
        alert("alertname=Slow job=shop az=1", "p99 > 1s", None),
        alert("alertname=Slow job=shop az=2", "p99 > 1s", Some(60)),
    ];
    let data = data(&Group {
        receiver: "team.x",
        labels: &group,
        alerts: &alerts,
        at: at(90),
        external_url: "http://am:9093",
    });
    let own = ("own.tmpl", "{{ define \"own\" }}<{{ .Status }}>{{ end }}");
    Templates::new([own])
        .unwrap()
        .fill(text, kind, &data, at(90))
}

#[test]
fn texts_are_filled_in_as_the_original_fills_them_in() {
    let cases = [
        ("plain", "plain"),
        ("{{ template \"__subject\" . }}", "[FIRING:1] shop (Slow)"),
        (
            "{{ .CommonLabels.SortedPairs.Values | join \",\" }}",
            "Slow,shop",
        ),
        (
            "{{ .CommonLabels.nobody }}|{{ .CommonLabels.job }}",
            "|shop",
        ),
        ("{{ if eq .CommonLabels.nobody \"\" }}none{{ end }}", "none"),
        ("{{ range .Alerts.Resolved }}{{ .Labels.az }}{{ end }}", "2"),
        ("{{ (index .Alerts 0).Labels.az }}", "1"),
        (
            "{{ range $k, $v := .GroupLabels }}{{ $k }}={{ $v }}{{ end }}",
            "job=shop",
        ),
        (
            "{{ with .CommonLabels.Remove (stringSlice \"job\") }}{{ .Names }}{{ end }}",
            "[alertname]",
        ),
        (
            "{{ (index .Alerts 0).StartsAt }}",
            "2026-11-05 12:00:00 +0000 UTC",
        ),
        (
            "{{ (index .Alerts 0).StartsAt.Format \"Mon Jan _2 15:04 2006\" }}",
            "Thu Nov  5 12:00 2026",
        ),
        (
            "{{ (index .Alerts 1).EndsAt | tz \"Europe/Berlin\" | date \"15:04:05 MST -07:00\" }}",
            "13:01:00 CET +01:00",
        ),
        (
            "{{ (index .Alerts 0).EndsAt }}",
            "0001-01-01 00:00:00 +0000 UTC",
        ),
        (
            "{{ since (index .Alerts 0).StartsAt | humanizeDuration }}",
            "1m 30s",
        ),
        ("{{ template \"own\" . }}", "<firing>"),
        (
            "{{ template \"__alertmanagerURL\" . }}",
            "http://am:9093/#/alerts?receiver=team%5C.x",
        ),
        ("{{ .CommonAnnotations.summary }}", "p99 > 1s"),
        ("{{ toJson .GroupLabels }}", "{\"job\":\"shop\"}"),
        ("{{ $a := index .Alerts 0 }}{{ $a.Labels.az }}", "1"),
        (
            "{{ title \"a b\" }} {{ trimSpace \" x \" }} {{ urlUnescape \"a%20b+c\" }}",
            "A B x a b c",
        ),
        (
            "{{ len (dict \"a\" 1) }}{{ len (list 1 2) }}{{ len (append (list 1) 2 3) }}",
            "123",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(filled(text, Kind::Text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_filled_into_markup_is_escaped_unless_it_is_called_safe() {
    let cases = [
        (
            "<b>{{ .CommonAnnotations.summary }}</b>",
            "<b>p99 &gt; 1s</b>",
        ),
        ("{{ .CommonAnnotations.summary | safeHtml }}", "p99 > 1s"),
        ("{{ template \"own\" . }}", "<firing>"),
    ];
    for (text, expected) in cases {
        assert_eq!(
            filled(text, Kind::Markup).as_deref(),
            Ok(expected),
            "{text}"
        );
    }
    let mail = filled("{{ template \"email.default.html\" . }}", Kind::Markup).unwrap();
    assert!(
        mail.contains("[1] Firing") && mail.contains("a=1&amp;b=2"),
        "{mail}"
    );
}

#[test]
fn the_list_of_alerts_is_that_of_the_original() {
    let text = filled(
        "{{ template \"__text_alert_list\" .Alerts.Firing }}",
        Kind::Text,
    )
    .unwrap();
    let expected = "Labels:\n - alertname = Slow\n - az = 1\n - job = shop\nAnnotations:\n - summary = p99 > 1s\n\
                    Source: http://prom/g?a=1&b=2\n";
    assert_eq!(text, expected);
}

#[test]
fn what_is_no_template_is_refused_and_what_fails_says_so() {
    for wrong in ["{{ .Status", "{{ shout .Status }}", "{{ $nobody }}"] {
        assert!(Templates::check(wrong).is_err(), "{wrong}");
    }
    for failing in [
        "{{ .Nobody }}",
        "{{ template \"nobody\" . }}",
        "{{ tz \"Mars\" (index .Alerts 0).StartsAt }}",
    ] {
        assert!(filled(failing, Kind::Text).is_err(), "{failing}");
    }
}
