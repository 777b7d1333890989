//! Side by side with the original, where it is installed: the same configuration and the same alerts have to give the
//! same bytes at a webhook, and the same answers to questions.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use mainstay_siege::Sink;

use crate::{LIMIT, ours};

/// Where the original may be.
const ORIGINALS: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];
fn config(sink: &Sink) -> String {
    let url = |name: &str| format!("http://{}/{name}", sink.address());
    format!(
        "
route:
  receiver: rest
  group_by: [job]
  group_wait: 1s
  group_interval: 2s
  routes:
  - {{matchers: [severity=\"page\"], receiver: pager, continue: true, group_by: ['...']}}
  - {{match_re: {{team: 'a|b'}}, receiver: team.x}}
receivers:
- {{name: rest, webhook_configs: [{{url: '{}'}}]}}
- {{name: pager, webhook_configs: [{{url: '{}', send_resolved: false}}]}}
- {{name: team.x, webhook_configs: [{{url: '{}', max_alerts: 2}}]}}
inhibit_rules:
- {{source_matchers: [severity=\"page\"], target_matchers: [severity=\"ticket\"], equal: [job]}}
",
        url("rest"),
        url("pager"),
        url("team")
    )
}

/// Alerts that begin now, so that nothing is late; the second of an instance is over if `over`.
fn alerts(over: Option<&str>, begins: &str) -> Value {
    let one = |labels: Value| {
        let mut alert = json!({
            "labels": labels,
            "annotations": {"summary": "it is \"slow\" & <late>", "runbook": "https://wiki/é"},
            "startsAt": begins,
            "generatorURL": "http://prom.example/graph?g0.expr=up%3D%3D0&g0.tab=1",
        });
        if let Some(over) = over {
            alert["endsAt"] = over.into();
        }
        alert
    };
    let all = [
        json!({"alertname": "Down", "job": "shop", "instance": "2", "empty": ""}),
        json!({"alertname": "Down", "job": "shop", "instance": "10"}),
        json!({"alertname": "Down", "job": "shop", "severity": "page"}),
        json!({"alertname": "Slow", "job": "shop", "severity": "ticket"}),
        json!({"alertname": "Slow", "job": "feed", "severity": "ticket"}),
        json!({"alertname": "Silenced", "job": "quiet"}),
        json!({"alertname": "A", "team": "a", "job": "x"}),
        json!({"alertname": "B", "team": "b", "job": "x", "weird": "a\"b\\c\n"}),
        json!({"alertname": "C", "team": "a", "job": "x", "zone": "1"}),
    ];
    all.into_iter().map(one).collect()
}

struct Original(Child);

impl Drop for Original {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The original, if it is installed.
fn original(folder: &Path, port: u16) -> Option<Original> {
    let started = ORIGINALS.iter().find_map(|name| {
        Command::new(name)
            .arg(format!("--config.file={}", folder.join("am.yml").display()))
            .arg(format!(
                "--storage.path={}",
                folder.join("original").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--web.external-url=http://am.example/",
                "--web.route-prefix=/",
                "--cluster.listen-address=",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    });
    started.map(Original)
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn until_ready(client: &Client, base: &str) {
    let ready = async {
        loop {
            let answer = client.get(format!("{base}/-/ready")).send().await;
            if answer.is_ok_and(|it| it.status() == StatusCode::OK) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.unwrap();
}

/// What one of the two sent and answered.
async fn history(client: &Client, base: &str, sink: &Sink) -> Vec<String> {
    until_ready(client, base).await;
    let get = async |path: &str| -> Value {
        let answer = client
            .get(format!("{base}/api/v2/{path}"))
            .send()
            .await
            .unwrap();
        answer.json().await.unwrap()
    };
    let post = async |path: &str, body: &Value| -> StatusCode {
        let request = client.post(format!("{base}/api/v2/{path}")).json(body);
        request.send().await.unwrap().status()
    };
    let now = jiff::Timestamp::now();
    let later = now
        .checked_add(jiff::SignedDuration::from_hours(1))
        .unwrap();
    let silence = json!({
        "matchers": [{"name": "job", "value": "qui.*", "isRegex": true, "isEqual": true}],
        "startsAt": now.to_string(),
        "endsAt": later.to_string(),
        "createdBy": "ops",
        "comment": "quiet",
    });
    assert_eq!(post("silences", &silence).await, StatusCode::OK);
    let begins = now.round(jiff::Unit::Second).unwrap().to_string();
    assert_eq!(post("alerts", &alerts(None, &begins)).await, StatusCode::OK);
    // Routes: rest gets shop and feed (quiet is silenced, a ticket inhibited), pager one, team.x one group.
    sink.until(4, LIMIT);
    let mut history = vec![
        plain(get("alerts").await),
        plain(get("alerts/groups").await),
    ];
    for question in [
        "alerts?filter=job%3D%22shop%22&inhibited=false",
        "alerts?silenced=false&active=false",
        "alerts?receiver=pag.*",
        "alerts/groups?filter=team%3D~%22a%7Cb%22",
        "silences",
        "silences?filter=job%3Dnobody",
        "receivers",
    ] {
        history.push(plain(get(question).await));
    }
    let over = jiff::Timestamp::now()
        .round(jiff::Unit::Second)
        .unwrap()
        .to_string();
    assert_eq!(
        post("alerts", &alerts(Some(&over), &begins)).await,
        StatusCode::OK
    );
    // All but the pager hear that it is over.
    sink.until(7, LIMIT);
    for wrong in [
        json!([{"labels": {}}]),
        json!({"labels": {"a": "b"}}),
        json!([{"labels": {"a": "b"}, "startsAt": later.to_string(), "endsAt": begins}]),
    ] {
        history.push(format!("{}", post("alerts", &wrong).await));
    }
    for wrong in [
        json!({}),
        json!({"matchers": [], "startsAt": begins, "endsAt": later.to_string(), "createdBy": "", "comment": ""}),
    ] {
        let status = post("silences", &wrong).await;
        history.push(format!("{}", status.is_client_error()));
    }
    let mut told: Vec<String> = sink
        .bodies()
        .into_iter()
        .map(|body| body.replace(&begins, "BEGIN").replace(&over, "END"))
        .collect();
    told.sort();
    history.extend(told);
    history
        .into_iter()
        .map(|it| {
            it.replace(&stamp(&begins), "BEGIN")
                .replace(&stamp(&over), "END")
        })
        .collect()
}

/// As the API writes it.
fn stamp(time: &str) -> String {
    time.replace('Z', ".000Z")
}

/// An answer without what differs by nature: ids, times of ours, what newer versions say besides.
fn plain(mut answer: Value) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["id", "updatedAt", "mutedBy", "endsAt"] {
                    fields.remove(name);
                }
                if fields.contains_key("createdBy") {
                    fields.remove("startsAt");
                }
                if let Some(Value::Array(by)) = fields.get_mut("silencedBy") {
                    by.fill("SILENCE".into());
                }
                fields.sort_keys();
                fields.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    strip(&mut answer);
    answer.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_alerts_give_the_same_messages_and_answers_as_the_original() {
    let folder = tempfile::tempdir().unwrap();
    // An error says that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    let (our_sink, their_sink) = (Sink::start().unwrap(), Sink::start().unwrap());

    fs::write(folder.path().join("am.yml"), config(&our_sink)).unwrap();
    let ours = ours(folder.path()).await;
    let our_history = history(&client, &format!("http://{ours}"), &our_sink).await;
    assert!(our_history.len() > 20, "{our_history:#?}");

    fs::write(folder.path().join("am.yml"), config(&their_sink)).unwrap();
    let port = free_port();
    let Some(_original) = original(folder.path(), port) else {
        let said = format!("skipped: neither of {ORIGINALS:?} is installed");
        println!("{said}");
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        return;
    };
    let their_history = history(&client, &format!("http://127.0.0.1:{port}"), &their_sink).await;
    for (ours, theirs) in our_history.iter().zip(&their_history) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(our_history.len(), their_history.len());
}
