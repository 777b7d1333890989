use super::*;
use crate::{labels::Labels, route::GroupBy};

const WHOLE: &str = "
global:
  resolve_timeout: 3m
  smtp_smarthost: mail.example.org:587
  smtp_from: alerts@example.org
  smtp_auth_password: hunter2
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  routes:
  - matchers: ['severity=\"page\"', team=~\"a|b\"]
    receiver: pager
    group_by: ['...']
    continue: true
    mute_time_intervals: [nights]
    routes:
    - match: {job: shop}
      repeat_interval: 1h
  - match_re: {job: 'sh.*'}
    receiver: mail
receivers:
- name: team
  webhook_configs: [{url: 'http://user:pw@127.0.0.1:9/hook?token=1'}]
- name: pager
  pagerduty_configs: [{routing_key: abc}, {routing_key_file: /k, url: 'http://127.0.0.1:1/v2/enqueue'}]
- name: mail
  email_configs: [{to: ops@example.org, send_resolved: true}]
  slack_configs: [{api_url: 'https://hooks.example.org/T/B/x', channel: '#ops'}]
  msteams_configs: [{webhook_url: 'https://teams.example.org/x'}]
  msteamsv2_configs: [{webhook_url: 'https://teams.example.org/y'}]
inhibit_rules:
- source_matchers: [severity=\"critical\"]
  target_match: {severity: warning}
  equal: [job]
time_intervals:
- name: nights
  time_intervals: [{times: [{start_time: '00:00', end_time: '06:00'}], location: Europe/Berlin}]
templates: ['*.tmpl']
";

fn labels(text: &str) -> Labels {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.collect()
}

#[test]
fn a_route_has_from_its_parent_what_it_does_not_say_but_for_its_intervals() {
    let settings = Settings::parse(WHOLE).unwrap();
    assert_eq!(settings.resolve_timeout, Span::from_secs(180));
    let routes: Vec<_> = settings.tree.iter().collect();
    let keys: Vec<&str> = routes.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "{}",
            "{}/{severity=\"page\",team=~\"a|b\"}",
            "{}/{severity=\"page\",team=~\"a|b\"}/{job=\"shop\"}",
            "{}/{job=~\"^(?:sh.*)$\"}"
        ]
    );
    let deepest = &routes[2].manner;
    assert_eq!(&*deepest.receiver, "pager");
    assert_eq!(deepest.group_by, GroupBy::All);
    assert_eq!(deepest.group_wait, Span::from_secs(10));
    assert_eq!(deepest.group_interval, Span::from_secs(300));
    assert_eq!(deepest.repeat_interval, Span::from_secs(3600));
    assert!(deepest.mute.is_empty());
    assert_eq!(routes[1].manner.mute, ["nights"]);
    assert_eq!(settings.inhibit.len(), 1);
}

#[test]
fn an_alert_goes_to_the_deepest_routes_that_match() {
    let settings = Settings::parse(WHOLE).unwrap();
    let cases = [
        ("job=other", &["{}"][..]),
        ("job=shop", &["{}/{job=~\"^(?:sh.*)$\"}"]),
        (
            "severity=page team=a",
            &["{}/{severity=\"page\",team=~\"a|b\"}"],
        ),
        (
            "severity=page team=a job=shop",
            &[
                "{}/{severity=\"page\",team=~\"a|b\"}/{job=\"shop\"}",
                "{}/{job=~\"^(?:sh.*)$\"}",
            ],
        ),
    ];
    for (alert, expected) in cases {
        let found = settings.tree.matching(&labels(alert));
        let keys: Vec<&str> = found
            .iter()
            .map(|id| settings.tree.get(*id).key.as_str())
            .collect();
        assert_eq!(keys, expected, "{alert}");
    }
}

#[test]
fn channels_have_what_holds_for_all_and_their_own_defaults() {
    let settings = Settings::parse(WHOLE).unwrap();
    let keys = settings.receivers.iter().flat_map(|it| &it.integrations);
    let keys: Vec<(String, bool)> = keys.map(|it| (it.key(), it.send_resolved)).collect();
    let expected = [
        ("team/webhook/0", true),
        ("pager/pagerduty/0", true),
        ("pager/pagerduty/1", true),
        ("mail/email/0", true),
        ("mail/slack/0", false),
        ("mail/msteams/0", true),
        ("mail/msteamsv2/0", true),
    ];
    let expected: Vec<(String, bool)> = expected.map(|(key, it)| (key.to_owned(), it)).into();
    assert_eq!(keys, expected);
    let Channel::Email(mail) = &settings.receiver("mail").unwrap().integrations[0].channel else {
        panic!("no mail");
    };
    assert_eq!(mail.from, "alerts@example.org");
    assert_eq!(mail.auth_password.reveal(), "hunter2");
    assert_eq!(mail.require_tls, Some(true));
}

#[test]
fn what_is_shown_has_no_secret_and_is_read_again() {
    let settings = Settings::parse(WHOLE).unwrap();
    for secret in ["hunter2", "abc", "token=1", "user:pw", "T/B/x"] {
        assert!(
            !settings.shown.contains(secret),
            "{secret} in {}",
            settings.shown
        );
    }
    let again = Settings::parse(&settings.shown).unwrap();
    assert_eq!(again.tree, settings.tree);
    assert_eq!(again.intervals, settings.intervals);
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn an_error_says_where_and_what_to_do() {
    let cases = [
        ("receivers: []\n", 1, "no route is there"),
        (
            "route:\n  receiver: a\n",
            2,
            "no receiver is named `a`; add it",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n- name: a\n",
            4,
            "two receivers",
        ),
        (
            "route:\n  receiver: a\n  group_by: [x, x]\nreceivers: [{name: a}]\n",
            3,
            "twice",
        ),
        (
            "route:\n  receiver: a\n  group_interval: 0s\nreceivers: [{name: a}]\n",
            3,
            "cannot be zero",
        ),
        (
            "route:\n  receiver: a\n  routes:\n  - matchers: ['x=~\"(\"']\nreceivers: [{name: a}]\n",
            4,
            "regular expression",
        ),
        (
            "route:\n  receiver: a\n  routes:\n  - mute_time_intervals: [never]\nreceivers: [{name: a}]\n",
            4,
            "no time interval is named `never`",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  sns_configs: [{topic_arn: x}]\n",
            4,
            "sns_configs is not served here",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n  - url: ftp://x\n",
            5,
            "https://HOST/PATH",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n  - web_hook: x\n",
            5,
            "web_hook",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n  - url: 'http://x'\n    http_config: {oauth2: {client_id: x}}\n",
            5,
            "oauth2: is not done here",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  pagerduty_configs:\n  - service_key: x\n",
            5,
            "routing_key",
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  email_configs:\n  - to: x\n",
            5,
            "from is missing",
        ),
        (
            "route: {receiver: a}\nreceivers: [{name: a}]\ntime_intervals:\n- name: x\n  time_intervals:\n  - location: Mars\n",
            6,
            "Europe/Berlin",
        ),
        (
            "route: {receiver: a}\nreceivers: [{name: a}]\nfoo: 1\n",
            3,
            "foo",
        ),
    ];
    for (text, line, expected) in cases {
        let error = Settings::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}\n{error}");
        assert_eq!(error.line, line, "{text}\n{error}");
    }
}
