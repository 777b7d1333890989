use std::sync::Arc;

use mainstay_core::Span;

use super::*;
use crate::{
    Alert, Labels, Posted,
    config::channels::{PagerDuty, Slack, Teams},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(1_793_880_000_250 + second * 1000).unwrap()
}

fn alerts() -> Vec<Arc<Alert>> {
    [("1", None), ("2", Some(60))]
        .map(|(az, ends)| {
            let posted = Posted {
                labels: Labels::from_iter([("alertname", "Slow"), ("az", az)]),
                annotations: Labels::from_iter([("summary", "slow")]),
                starts_at: Some(at(0)),
                ends_at: ends.map(at),
                generator_url: "http://prom/".to_owned(),
            };
            Arc::new(posted.taken(at(0), Span::from_secs(300)).unwrap())
        })
        .into()
}

fn with_group<T>(run: impl FnOnce(&Group<'_>, &Filler<'_>) -> T) -> T {
    let (labels, alerts) = (Labels::from_iter([("alertname", "Slow")]), alerts());
    let group = Group {
        receiver: "team",
        labels: &labels,
        alerts: &alerts,
        at: at(90),
        external_url: "http://am:9093",
    };
    let templates = Templates::new([]).unwrap();
    run(&group, &Filler::new(&templates, &group))
}

#[test]
fn a_webhook_is_that_of_the_original_byte_by_byte() {
    let body = with_group(|group, _| webhook(group, "{}:{alertname=\"Slow\"}", 0)).unwrap();
    let expected = concat!(
        r#"{"receiver":"team","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Slow","az":"1"},"#,
        r#""annotations":{"summary":"slow"},"startsAt":"2026-11-05T12:00:00.25Z","endsAt":"0001-01-01T00:00:00Z","#,
        r#""generatorURL":"http://prom/","fingerprint":"FP1"},{"status":"resolved","labels":{"alertname":"Slow","az":"2"},"#,
        r#""annotations":{"summary":"slow"},"startsAt":"2026-11-05T12:00:00.25Z","endsAt":"2026-11-05T12:01:00.25Z","#,
        r#""generatorURL":"http://prom/","fingerprint":"FP2"}],"groupLabels":{"alertname":"Slow"},"#,
        r#""commonLabels":{"alertname":"Slow"},"commonAnnotations":{"summary":"slow"},"externalURL":"http://am:9093","#,
        r#""version":"4","groupKey":"{}:{alertname=\"Slow\"}","truncatedAlerts":0}"#,
        "\n"
    );
    let prints = alerts();
    let expected = expected
        .replace("FP1", &prints[0].fingerprint().to_string())
        .replace("FP2", &prints[1].fingerprint().to_string());
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn a_webhook_of_too_many_alerts_says_how_many_are_left_out() {
    let body = with_group(|group, _| webhook(group, "k", 1)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["truncatedAlerts"], 1);
    assert_eq!(body["alerts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_message_of_slack_has_the_defaults_of_the_original() {
    let config = Slack {
        channel: "#ops".to_owned(),
        ..Slack::default()
    };
    let body = with_group(|_, fill| slack(&config, fill)).unwrap();
    let expected = serde_json::json!({
        "channel": "#ops",
        "username": "Alertmanager",
        "attachments": [{
            "title": "[FIRING:1] Slow ()",
            "title_link": "http://am:9093/#/alerts?receiver=team",
            "fallback": "[FIRING:1] Slow () | http://am:9093/#/alerts?receiver=team",
            "color": "danger",
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }],
    });
    let expected = serde_json::to_string(&expected)
        .unwrap()
        .replace(" ()", " ");
    assert_eq!(serde_json::to_string(&body).unwrap(), expected);
}

#[test]
fn an_event_for_pagerduty_has_a_key_of_its_group_and_its_alerts_as_details() {
    let mut config = PagerDuty::default();
    config
        .details
        .insert("count".to_owned(), "{{ len .Alerts }}".to_owned());
    config.source.clone_from(&config.client);
    let event = with_group(|_, fill| pagerduty(&config, fill, "abc", "k", true)).unwrap();
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["routing_key"], "abc");
    assert_eq!(
        event["dedup_key"],
        "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"
    );
    assert_eq!(event["payload"]["severity"], "error");
    assert_eq!(event["payload"]["custom_details"]["count"], "2");
    let end = with_group(|_, fill| pagerduty(&config, fill, "abc", "k", false)).unwrap();
    assert_eq!(end["event_action"], "resolve");
}

#[test]
fn cards_say_what_fires_in_red() {
    let card = with_group(|_, fill| teams(&Teams::default(), fill, true)).unwrap();
    assert_eq!(card["themeColor"], "8C1A1A");
    assert!(card["text"].as_str().unwrap().contains("  - az = 1"));
    let card = with_group(|_, fill| teams_v2(&Teams::default(), fill, false)).unwrap();
    let body = &card["attachments"][0]["content"]["body"];
    assert_eq!(body[0]["color"], "Good");
    assert!(
        body[1]["text"]
            .as_str()
            .unwrap()
            .contains("# Alerts Resolved:")
    );
}
