//! Each channel at a receiver of its kind.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use reqwest::Client;
use serde_json::{Value, json};

use mainstay_siege::Sink;

use crate::{LIMIT, ours};

/// A mail server without TLS; the mails that it was given, with their envelopes.
fn mail_server() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (give, mails) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if let Some(mail) = mail(stream) {
                // The test that does not want more has ended.
                let _ = give.send(mail);
            }
        }
    });
    (address, mails)
}

fn mail(mut stream: TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut kept = String::new();
    stream.write_all(b"220 sink ESMTP\r\n").ok()?;
    loop {
        let line = lines.next()?.ok()?;
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").ok()?;
                for line in lines
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|it| it != ".")
                {
                    kept += &line;
                    kept.push('\n');
                }
                b"250 taken\r\n"
            }
            "QUIT" => return Some(kept),
            _ => {
                kept += &line;
                kept.push('\n');
                b"250 well\r\n"
            }
        };
        stream.write_all(answer).ok()?;
        if verb == "DATA" {
            return Some(kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_channel_gets_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, (mail, mails)) = (Sink::start().unwrap(), mail_server());
    let url = format!("http://{}/x", sink.address());
    let config = format!(
        "
global: {{smtp_smarthost: '{mail}', smtp_from: 'Alerts <am@example.org>', smtp_require_tls: false}}
route: {{receiver: all, group_by: [alertname], group_wait: 0s}}
receivers:
- name: all
  webhook_configs: [{{url: '{url}'}}]
  email_configs: [{{to: 'a@example.org, b@example.org', headers: {{X-Team: '{{{{ .CommonLabels.job }}}}'}}}}]
  slack_configs: [{{api_url: '{url}', channel: '#ops', text: '{{{{ template \"own\" . }}}}'}}]
  pagerduty_configs: [{{routing_key: key, url: '{url}', severity: '{{{{ .CommonLabels.severity }}}}'}}]
  msteams_configs: [{{webhook_url: '{url}'}}]
  msteamsv2_configs: [{{webhook_url: '{url}'}}]
templates: ['*.tmpl']
"
    );
    fs::write(folder.path().join("am.yml"), config).unwrap();
    let own = "{{ define \"own\" }}{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}{{ end }}";
    fs::write(folder.path().join("own.tmpl"), own).unwrap();
    let address = ours(folder.path()).await;
    let alert = json!([{
        "labels": {"alertname": "Slow", "job": "shop", "severity": "critical"},
        "annotations": {"summary": "p99 > 1s"},
    }]);
    let client = Client::builder().no_proxy().build().unwrap();
    let posted = client
        .post(format!("http://{address}/api/v2/alerts"))
        .json(&alert)
        .send()
        .await;
    assert!(posted.unwrap().status().is_success());

    sink.until(5, LIMIT);
    let bodies: Vec<Value> = sink
        .bodies()
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let find = |pointer: &str, value: &str| {
        let found = bodies
            .iter()
            .find(|it| it.pointer(pointer).and_then(Value::as_str) == Some(value));
        found
            .unwrap_or_else(|| panic!("no {value} at {pointer} in {bodies:#?}"))
            .clone()
    };
    assert_eq!(find("/version", "4")["alerts"][0]["labels"]["job"], "shop");
    let slack = find("/channel", "#ops");
    assert_eq!(slack["attachments"][0]["text"], "p99 > 1s");
    assert_eq!(
        slack["attachments"][0]["title"],
        "[FIRING:1] Slow (shop critical)"
    );
    let event = find("/routing_key", "key");
    assert_eq!(event["payload"]["severity"], "critical");
    assert_eq!(event["event_action"], "trigger");
    find("/themeColor", "8C1A1A");
    find("/attachments/0/content/type", "AdaptiveCard");

    let mail = tokio::task::spawn_blocking(move || mails.recv_timeout(LIMIT))
        .await
        .unwrap()
        .unwrap();
    for expected in [
        "MAIL FROM:<am@example.org>",
        "RCPT TO:<a@example.org>",
        "RCPT TO:<b@example.org>",
        "Subject: [FIRING:1] Slow (shop critical)",
        "X-Team: shop",
        "text/html",
        "p99 &gt; 1s",
    ] {
        assert!(mail.contains(expected), "no {expected} in {mail}");
    }
}
