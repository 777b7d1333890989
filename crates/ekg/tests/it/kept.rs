//! Samples while the disk is full, and after it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use mainstay_core::ports::Clock as _;
use mainstay_ekg::{
    Ekg,
    adapter::{Intake, Known, NewSample, Writer},
    otlp::OtlpSettings,
};
use mainstay_tsdb::{Labels, Options, open};
use mainstay_wal::{MemoryDisk, Seen, replay};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::WallClock;

struct Kept {
    ekg: Ekg,
    writer: Writer,
    intake: Intake,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Kept {
    fn on(disk: &Arc<MemoryDisk>) -> Self {
        let (head, _) = open(disk.clone(), Options::default()).unwrap();
        let ekg = Ekg::over(head.tsdb());
        let stop = CancellationToken::new();
        let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(writing);
        let metadata = Known::default().metadata;
        let settings = OtlpSettings::default();
        let intake = Intake::new(writer.clone(), Arc::new(WallClock), metadata, settings);
        Self {
            ekg,
            writer,
            intake,
            tasks,
            stop,
        }
    }

    /// A delta of one, at `at_ms`.
    async fn send(&self, at_ms: i64) -> Response<Bytes> {
        let point = json!({ "timeUnixNano": (at_ms * 1_000_000).to_string(), "asDouble": 1.0 });
        let sum =
            json!({ "dataPoints": [point], "isMonotonic": true, "aggregationTemporality": 1 });
        let metric = json!({ "name": "sent", "sum": sum });
        let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
        let request = Request::post("/").header("content-type", "application/json");
        let request = request.body(body.to_string().into()).unwrap();
        self.intake.otlp(request).await
    }

    async fn scrape(&self, value: f64) {
        let now = WallClock.now();
        let sample = NewSample {
            labels: Labels::from_pairs([("__name__", "scraped")]).unwrap(),
            at_ms: now.millis(),
            value,
            born_from_zero: false,
            histogram: None,
        };
        let refused = self.writer.append(now, vec![sample]).await.unwrap();
        assert_eq!(refused.total(), 0);
    }

    fn value(&self, expr: &str) -> Value {
        let answer = self.ekg.query(expr, WallClock.now()).json();
        answer["data"]["result"][0]["value"][1].clone()
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Records of samples in the log.
fn groups_of_samples(disk: &MemoryDisk) -> usize {
    const SAMPLES: u8 = 4;
    let mut groups = 0;
    let counted = replay(disk, 0, &mut |seen| match seen {
        Seen::Frame { kind, .. } => groups += usize::from(kind == SAMPLES),
        Seen::Gap(_) => {}
    });
    counted.unwrap();
    groups
}

#[tokio::test]
async fn what_was_scraped_last_becomes_durable_though_nothing_follows() {
    let disk = Arc::new(MemoryDisk::default());
    let kept = Kept::on(&disk);
    kept.scrape(1.0).await;
    // Another time, and too soon after the first to be handed over by itself.
    tokio::time::sleep(Duration::from_millis(2)).await;
    kept.scrape(2.0).await;
    let logged = async {
        while groups_of_samples(&disk) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, logged).await.unwrap();
    kept.end().await;
}

#[tokio::test]
async fn while_the_disk_is_full_senders_are_told_when_to_come_again_and_rules_see_on() {
    let disk = Arc::new(MemoryDisk::default());
    let kept = Kept::on(&disk);
    let began_ms = WallClock.now().millis() - 10_000;
    assert_eq!(kept.send(began_ms).await.status(), 200);

    disk.limit_room(Some(0));
    for _ in 0..2 {
        let answer = kept.send(began_ms + 1).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        let told: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(told["code"], 14, "{told}");
    }
    kept.scrape(7.0).await;
    assert_eq!(kept.value("scraped"), "7");

    disk.limit_room(None);
    let again = async {
        while kept.send(began_ms + 1).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, again).await.unwrap();
    assert_eq!(kept.value("sent_total"), "2", "sent thrice, added once");
    kept.end().await;

    let kept = Kept::on(&disk);
    assert_eq!(kept.value("sent_total"), "2");
    kept.end().await;
}
