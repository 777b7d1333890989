use std::sync::atomic::AtomicI64;

use mainstay_core::{Metadata, monitor::EntityKind};
use mainstay_rules::AlertState;
use mainstay_tsdb::{Head, HeadLimits, Labels};
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::adapter::{NewSample, Writer};

/// What is declared, a clock that is moved, and what was told.
struct World {
    declared: Mutex<Result<Declared, String>>,
    now_ms: AtomicI64,
    told: Mutex<Vec<(String, AlertState, bool)>>,
}

impl Catalog for World {
    fn read(&self) -> BoxFuture<'_, Result<Declared, String>> {
        let declared = self.declared.lock().unwrap().clone();
        Box::pin(async { declared })
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        Time::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

impl AlertSink for World {
    fn take(&self, alerts: Vec<Told>) {
        let told = alerts.into_iter().map(|it| {
            let host = it.alert.labels.get("host").unwrap_or_default();
            (host.to_owned(), it.alert.state, it.is_news)
        });
        self.told.lock().unwrap().extend(told);
    }
}

struct Stage {
    world: Arc<World>,
    writer: Writer,
    monitors: Monitors,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Stage {
    fn open(declared: Declared) -> Self {
        let world = Arc::new(World {
            declared: Mutex::new(Ok(declared)),
            now_ms: AtomicI64::new(1_000_000),
            told: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let head = Head::new(HeadLimits::default());
        let ekg = Ekg::over(head.tsdb());
        let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
        let (watch, monitors) = Watch::new(&ekg, world.clone(), world.clone(), world.clone());
        let tasks = [tokio::spawn(writing), tokio::spawn(watch.run(stop.clone()))];
        Self {
            world,
            writer,
            monitors,
            stop,
            tasks,
        }
    }

    fn pass(&self, secs: i64) {
        self.world.now_ms.fetch_add(secs * 1_000, Ordering::SeqCst);
    }

    fn declare(&self, declared: Result<Declared, String>) {
        *self.world.declared.lock().unwrap() = declared;
    }

    async fn load(&self, host: &str, value: f64) {
        let now = self.world.now();
        let load = NewSample {
            labels: Labels::from_pairs([("__name__", "load"), ("host", host)]).unwrap(),
            at_ms: now.millis(),
            value,
            born_from_zero: false,
            histogram: None,
        };
        self.writer.append(now, vec![load]).await.unwrap();
    }

    fn told(&self) -> Vec<(String, AlertState, bool)> {
        std::mem::take(&mut *self.world.told.lock().unwrap())
    }

    async fn close(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn hosts(monitors: &[(&str, &str)]) -> Declared {
    let monitor = |(name, expr): &(&str, &str)| {
        let metadata = Metadata {
            name: Name::new(name).unwrap(),
            labels: BTreeMap::new(),
        };
        let spec =
            json!({"every": {"kind": "host"}, "expr": expr, "op": "<", "limit": 4, "for": "1m"});
        Monitor::new(metadata, serde_json::from_value(spec).unwrap())
    };
    Declared {
        entities: ["a", "b"]
            .map(|name| Entity::new(EntityKind::Host, name))
            .into(),
        monitors: monitors.iter().map(monitor).collect(),
    }
}

#[tokio::test]
async fn who_asks_sees_what_is_measured_now_and_people_hear_of_what_stays_red() {
    let stage = Stage::open(hosts(&[("load", "load"), ("wrong", "load +")]));
    stage.load("a", 9.0).await;
    let report = stage.monitors.report().await.unwrap();
    let (load, wrong) = (&report["monitors"][0], &report["monitors"][1]);
    assert_eq!(load["verdict"], "fail");
    let red = |at: usize| (&load["red"][at]["name"], &load["red"][at]["value"]);
    assert_eq!(red(0), (&json!("a"), &json!(9.0)));
    assert_eq!(red(1), (&json!("b"), &Value::Null));
    assert_eq!(wrong["verdict"], "error");
    assert!(
        wrong["error"].as_str().unwrap().starts_with("1:7"),
        "{wrong}"
    );
    assert_eq!(report["summary"]["error"], 1);
    let covered = &report["coverage"][2];
    assert_eq!(
        (&covered["watched"], &covered["of"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(stage.told(), []);
    assert_eq!(stage.monitors.alerts()[0]["state"], "pending");

    stage.pass(60);
    stage.load("a", 8.0).await;
    stage.load("b", 1.0).await;
    stage.monitors.report().await.unwrap();
    assert_eq!(stage.told(), [("a".to_owned(), AlertState::Firing, true)]);

    stage.pass(1);
    stage.declare(Ok(hosts(&[])));
    let report = stage.monitors.report().await.unwrap();
    assert_eq!(report["monitors"], json!([]));
    assert_eq!(stage.told(), [("a".to_owned(), AlertState::Resolved, true)]);
    assert_eq!(stage.monitors.alerts(), Vec::<Value>::new());
    assert_eq!(
        stage.monitors.counts(),
        MonitorCounts {
            rounds: 3,
            failures: 2
        }
    );
    stage.close().await;
}

#[tokio::test]
async fn a_catalog_that_cannot_be_read_is_told_and_forgets_nothing() {
    let stage = Stage::open(hosts(&[("load", "load")]));
    stage.load("a", 9.0).await;
    stage.monitors.report().await.unwrap();
    stage.declare(Err("the database is away".to_owned()));
    let answer = stage.monitors.report().await;
    assert_eq!(answer, Err("the database is away".to_owned()));
    stage.declare(Ok(hosts(&[("load", "load")])));
    stage.pass(30);
    let report = stage.monitors.report().await.unwrap();
    assert_eq!(report["monitors"][0]["red"][0]["since"], 1_000_000);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn monitors_are_judged_though_nobody_asks() {
    let stage = Stage::open(hosts(&[("load", "load")]));
    tokio::time::timeout(EVERY.duration() * 4, async {
        while stage.monitors.counts().rounds < 2 {
            tokio::time::sleep(EVERY.duration()).await;
        }
    })
    .await
    .unwrap();
    stage.close().await;
}
