use std::io::Write as _;

use axum::{Json, Router, extract::State, routing};
use mainstay_core::{Time, ports::Clock as _};
use mainstay_ekg::adapter::{Declared, NewSample};
use mainstay_tsdb::{Head, HeadLimits, Labels};
use tokio::net::TcpListener;

use super::*;
use crate::ports::SystemClock;

/// A catalog that is empty.
struct NothingDeclared;

impl Catalog for NothingDeclared {
    fn read(&self) -> BoxFuture<'_, Result<Declared, String>> {
        Box::pin(async { Ok(Declared::default()) })
    }
}

fn rule_file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("rules.yml");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

#[test]
fn a_file_that_is_not_there_or_wrong_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let missing = read(&[dir.path().join("none.yml")]).unwrap_err();
    assert!(missing.to_string().contains("none.yml"), "{missing}");
    assert_eq!(read(&[dir.path().join("*.yml")]).unwrap(), []);
    let path = rule_file(
        dir.path(),
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up >\n",
    );
    let wrong = read(&[dir.path().join("*.yml")]).unwrap_err().to_string();
    let place = format!("{}:5:11: expr: 1:5", path.display());
    assert!(wrong.starts_with(&place), "{wrong}");
}

#[tokio::test]
async fn a_firing_alert_reaches_an_alertmanager_and_a_wrong_reload_changes_nothing() {
    let (sent, mut taken) = mpsc::unbounded_channel::<Value>();
    let take = async |State(sent): State<mpsc::UnboundedSender<Value>>, Json(body): Json<Value>| {
        // The test may have ended already.
        let _ = sent.send(body);
    };
    let routes = Router::new()
        .route("/am/api/v2/alerts", routing::post(take))
        .with_state(sent);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let dir = tempfile::tempdir().unwrap();
    let text = "groups:\n- name: g\n  interval: 20ms\n  rules:\n  - {alert: Busy, expr: load > 3, \
                annotations: {s: '{{ $externalLabels.fabric }}'}}\n";
    let path = rule_file(dir.path(), text);
    let stop = CancellationToken::new();
    let head = Head::new(HeadLimits::default());
    let ekg = Ekg::over(head.tsdb());
    let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
    tasks.spawn(writing);
    let config = (
        Rules {
            files: vec![path],
            ..Rules::default()
        },
        toml::from_str::<Alerting>(&format!(
            "alertmanagers = [\"http://user:secret@{address}/am/\"]\nexternal_labels = {{fabric = \"lax\"}}\n"
        ))
        .unwrap(),
    );
    let url = "http://127.0.0.1:7070";
    let judged = Judged {
        ekg,
        writer: writer.clone(),
        catalog: Arc::new(NothingDeclared),
        clock: Arc::new(SystemClock),
    };
    let began = crate::config::Config {
        rules: config.0.clone(),
        ..crate::config::Config::default()
    };
    let (reloader, _jobs) = Reloader::new(None, began);
    let started = start(config, (url, reloader), judged, &stop).unwrap();
    let now: Time = SystemClock.now();
    let sample = NewSample {
        labels: Labels::from_pairs([("__name__", "load"), ("host", "a")]).unwrap(),
        at_ms: now.millis(),
        value: 8.0,
        born_from_zero: false,
        histogram: None,
    };
    writer.append(now, vec![sample]).await.unwrap();
    let body = taken.recv().await.unwrap();
    let labels = json!({ "alertname": "Busy", "fabric": "lax", "host": "a" });
    assert_eq!(body[0]["labels"], labels, "{body}");
    assert_eq!(body[0]["annotations"]["s"], "lax");
    let link = "http://127.0.0.1:7070/graph?g0.expr=load%20%3E%203&g0.tab=1";
    assert_eq!(body[0]["generatorURL"], link);

    let desk = started.desk;
    let named = mainstay_server::Rules::alertmanagers(&*desk);
    let active = &named["data"]["activeAlertmanagers"];
    assert_eq!(*active, json!([{ "url": format!("http://{address}") }]));
    rule_file(dir.path(), "groups: 3\n");
    assert!(mainstay_server::Rules::reload(&*desk).is_err());
    let alerts = mainstay_server::Rules::alerts(&*desk);
    assert_eq!(alerts["data"]["alerts"][0]["state"], "firing");
    stop.cancel();
    tasks.abort_all();
}
