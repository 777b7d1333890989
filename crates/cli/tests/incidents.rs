//! Incidents with a real server and a real webhook: told, told the next, acknowledged by link, killed in between.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "incidents/platform.rs"]
mod platform;

use std::{collections::BTreeMap, time::Duration};

use mainstay_siege::Sink;
use platform::{Platform, until};
use serde_json::{Value, json};

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);

fn pages(sink: &Sink) -> Vec<Value> {
    let bodies = sink.bodies().into_iter();
    bodies
        .map(|it| serde_json::from_str(&it).unwrap())
        .collect()
}

fn told(sink: &Sink, incident: &str) -> Vec<String> {
    let pages = pages(sink).into_iter();
    let of = pages.filter(|it| it["incident"] == incident);
    of.map(|it| it["person"].as_str().unwrap().to_owned())
        .collect()
}

fn opened(platform: &Platform, title: &str) -> String {
    let body = json!({"title": title, "policy": "web", "severity": "P1"});
    let answer = platform.post("/api/v1/incidents", &body);
    answer["id"].as_str().unwrap().to_owned()
}

fn two_people(wait: &str) -> Value {
    json!({
        "steps": [
            {"who": ["person/alice"], "wait": wait},
            {"who": ["person/bob"], "wait": wait},
        ],
        "channelWait": "1h",
        "alerts": {"matchers": ["team=\"web\""], "groupBy": ["alertname"]},
    })
}

#[test]
fn the_first_is_told_then_the_second_and_an_acknowledgement_by_link_ends_it() {
    let sink = Sink::start().unwrap();
    let platform = Platform::start(sink.address(), &two_people("1s"));
    let first = opened(&platform, "the shop is slow");
    sink.until(2, LIMIT);
    assert_eq!(told(&sink, &first)[..2], ["alice", "bob"]);

    let page = pages(&sink).into_iter().find(|it| it["person"] == "bob");
    let page = page.unwrap();
    let link = page["acknowledge"].as_str().unwrap().to_owned();
    let path = link
        .split_once("/api/")
        .map(|it| format!("/api/{}", it.1))
        .unwrap();
    let (status, asked) = platform.ask("GET", &path, "");
    assert!(
        status == 200 && asked.contains("Acknowledge as bob"),
        "{asked}"
    );
    let shown = platform.get(&format!("/api/v1/incidents/{first}"));
    assert_eq!(shown["status"], "triggered", "looking acknowledges nothing");
    let forged = path.replace("~bob~", "~alice~");
    assert_eq!(platform.ask("POST", &forged, "").0, 404);
    assert_eq!(platform.ask("POST", &path, "").0, 200);
    let shown = platform.get(&format!("/api/v1/incidents/{first}"));
    assert_eq!(shown["status"], "acknowledged");
    assert_eq!(shown["acknowledgedBy"], json!(["bob"]));
    assert_eq!(shown["roles"]["commander"], "bob");

    // Another incident goes through both steps meanwhile: longer than the next step of the first would take.
    let before = told(&sink, &first).len();
    let second = opened(&platform, "the feed is slow");
    until(LIMIT, || told(&sink, &second).len() >= 3);
    assert_eq!(told(&sink, &first).len(), before, "nobody is told any more");

    let output = platform.cli(&["incident", "list", "--output", "json"]);
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.len(), 2);
    let acted = platform.cli(&["ack", &second]);
    assert!(acted.status.success(), "{acted:?}");
    assert!(
        platform
            .cli(&["resolve", &second, "--reason", "rolled back"])
            .status
            .success()
    );
    assert!(
        platform
            .cli(&["incident", "relate", &first, &second])
            .status
            .success()
    );
    let shown = platform.cli(&["incident", "show", &second]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("acknowledged by cli") && text.contains("resolved: rolled back"),
        "{text}"
    );
    let again = platform.cli(&["escalate", &second]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "what is over is not escalated"
    );
    // Used once, and worth nothing when people are asked anew.
    platform.post(&format!("/api/v1/incidents/{first}/escalate"), &json!({}));
    assert_eq!(platform.ask("POST", &path, "").0, 409);
}

#[test]
fn alerts_open_one_incident_join_it_and_resolve_it() {
    let sink = Sink::start().unwrap();
    let platform = Platform::start(sink.address(), &two_people("1h"));
    let alert = |instance: &str, ends: Option<&str>| {
        let mut alert = json!({"labels": {"alertname": "Slow", "team": "web", "severity": "critical", "instance": instance}});
        if let Some(at) = ends {
            alert["endsAt"] = at.into();
        }
        json!([alert])
    };
    let post = |body: &Value| platform.ask("POST", "/api/v2/alerts", &body.to_string()).0;
    assert_eq!(post(&alert("a", None)), 200);
    assert_eq!(post(&alert("b", None)), 200);
    assert_eq!(post(&alert("a", None)), 200);
    let other = json!([{"labels": {"alertname": "Slow", "team": "other"}}]);
    assert_eq!(post(&other), 200);
    let list = platform.get("/api/v1/incidents");
    assert_eq!(list.as_array().unwrap().len(), 1, "{list:#}");
    assert_eq!(
        (&list[0]["severity"], &list[0]["firing"]),
        (&json!("P1"), &json!(2))
    );
    let over = "2020-01-01T00:00:00Z";
    assert_eq!(post(&alert("a", Some(over))), 200);
    assert_eq!(post(&alert("b", Some(over))), 200);
    let list = platform.get("/api/v1/incidents?status=resolved");
    assert_eq!(list.as_array().unwrap().len(), 1, "{list:#}");
    assert_eq!(post(&json!({"not": "alerts"})), 400);
    // It fires again soon after: the same incident.
    assert_eq!(post(&alert("a", None)), 200);
    let again = platform.get("/api/v1/incidents");
    assert_eq!(again[0]["id"], list[0]["id"]);
    // Whoever lists changes sees none of it: an incident changes nothing.
    let changes = platform.get("/api/v1/changes");
    let is_incident = |it: &Value| it["change"]["kind"] == "incident";
    assert!(!changes.as_array().unwrap().iter().any(is_incident));
}

#[test]
fn a_kill_in_the_middle_loses_nothing_that_was_taken() {
    let sink = Sink::start().unwrap();
    let mut platform = Platform::start(sink.address(), &two_people("1h"));
    let mut incidents = Vec::new();
    for round in 0..4 {
        for n in 0..5 {
            incidents.push(opened(&platform, &format!("incident {round}/{n}")));
        }
        // Right after the answer, and before whatever follows from it.
        platform.kill_and_start();
    }
    until(LIMIT, || {
        incidents.iter().all(|it| !told(&sink, it).is_empty())
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for page in pages(&sink) {
        let mut keys = vec![page["key"].as_str().unwrap().to_owned()];
        for other in page["others"].as_array().unwrap() {
            keys.push(other["key"].as_str().unwrap().to_owned());
        }
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
    }
    let most = counts.values().max().copied().unwrap_or(0);
    assert!(most <= 5, "a page was told {most} times in four kills");
    for incident in &incidents {
        let shown = platform.get(&format!("/api/v1/incidents/{incident}"));
        assert_eq!(shown["status"], "triggered");
    }
    let acted = platform.post(
        &format!("/api/v1/incidents/{}/acknowledge", incidents[0]),
        &json!({}),
    );
    assert_eq!(acted["status"], "acknowledged");
    platform.kill_and_start();
    let shown = platform.get(&format!("/api/v1/incidents/{}", incidents[0]));
    assert_eq!(shown["status"], "acknowledged");
}

#[test]
fn a_channel_that_is_away_is_tried_again_after_a_kill_too() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = away.local_addr().unwrap();
    drop(away);
    let mut platform = Platform::start(address, &two_people("1h"));
    let incident = opened(&platform, "nobody listens");
    let path = format!("/api/v1/incidents/{incident}");
    until(LIMIT, || {
        let shown = platform.get(&path);
        shown["pages"][0]["status"] == "pending"
    });
    platform.kill_and_start();
    let sink = Sink::on(address).unwrap();
    until(LIMIT, || told(&sink, &incident) == ["alice"]);
    until(LIMIT, || {
        let shown = platform.get(&path);
        shown["pages"][0]["status"] == "accepted"
    });
}

#[test]
fn whoever_is_on_call_is_told_by_their_own_contact_also_right_after_a_kill() {
    let sink = Sink::start().unwrap();
    let mut platform = Platform::start(sink.address(), &two_people("1h"));
    let hook = format!("http://{}/carol", sink.address());
    let resource = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "mainstay/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let carol = json!({"contacts": [{"name": "hook", "kind": "webhook", "to": hook}]});
    let week = json!([{"name": "week", "people": ["carol"], "from": "2026-01-05"}]);
    let both = json!({"resources": [
        resource("Responder", "carol", &carol),
        resource("Schedule", "shop", &json!({"zone": "UTC", "layers": week})),
    ]});
    let (status, body) = platform.ask("POST", "/api/v1/apply", &both.to_string());
    assert_eq!(status, 200, "{body}");
    // That carol can be told is known once a policy may name her.
    let steps = json!({"steps": [{"who": ["schedule/shop/primary"], "wait": "1h"}], "atP0": ["person/carol"]});
    until(LIMIT, || platform.apply(&steps).0 == 200);
    let first = opened(&platform, "before");
    until(LIMIT, || told(&sink, &first) == ["carol"]);
    platform.kill_and_start();
    let second = opened(&platform, "right after the start");
    until(LIMIT, || told(&sink, &second) == ["carol"]);
    let shown = platform.get(&format!("/api/v1/incidents/{second}"));
    assert_eq!(shown["pages"][0]["person"], "carol");
}

#[test]
fn a_policy_that_could_tell_nobody_is_refused_where_it_is_wrong() {
    let sink = Sink::start().unwrap();
    let platform = Platform::start(sink.address(), &two_people("1h"));
    let spec = json!({
        "steps": [{"who": ["person/nobody"]}],
        "alerts": {"matchers": ["team=~\"(\""]},
    });
    let (status, body) = platform.apply(&spec);
    assert_eq!(status, 422);
    let problem: Value = serde_json::from_str(&body).unwrap();
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["spec.alerts.matchers[0]", "spec.steps[0].who"]);
}
