//! Native histograms and exemplars: sent, kept over a restart, and asked for.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use mainstay_core::{Span, Time, ports::Clock as _};
use mainstay_ekg::{
    Ekg,
    adapter::{Intake, Known, Writer},
    otlp::OtlpSettings,
};
use mainstay_tsdb::{Options, open};
use mainstay_wal::MemoryDisk;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{message::Message, world::WallClock};

struct Receiving {
    ekg: Ekg,
    intake: Intake,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Receiving {
    fn on(disk: &Arc<MemoryDisk>) -> Self {
        let (head, recovered) = open(disk.clone(), Options::default()).unwrap();
        assert_eq!((recovered.damaged.len(), recovered.lost), (0, 0));
        let ekg = Ekg::over(head.tsdb());
        let stop = CancellationToken::new();
        let (writer, writing) = Writer::new(ekg.clone(), head, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(writing);
        let metadata = Known::default().metadata;
        let settings = OtlpSettings::default();
        let intake = Intake::new(writer, Arc::new(WallClock), metadata, settings);
        Self {
            ekg,
            intake,
            tasks,
            stop,
        }
    }

    async fn write(&self, proto: &str, message: &Message) -> Response<Bytes> {
        let packed = snap::raw::Encoder::new().compress_vec(&message.0).unwrap();
        let content = format!("application/x-protobuf;proto={proto}");
        let request = Request::post("/")
            .header("content-type", content)
            .header("content-encoding", "snappy");
        self.intake
            .remote_write(request.body(packed.into()).unwrap())
            .await
    }

    fn ask(&self, expr: &str, at_ms: i64) -> Value {
        let answer = self.ekg.query(expr, Time::from_millis(at_ms)).json();
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"]["result"].clone()
    }

    fn value(&self, expr: &str, at_ms: i64) -> f64 {
        let result = self.ask(expr, at_ms);
        let value = result[0]["value"][1].as_str();
        value
            .unwrap_or_else(|| panic!("{expr}: {result}"))
            .parse()
            .unwrap()
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";

fn written(response: &Response<Bytes>) -> [&str; 3] {
    ["samples", "histograms", "exemplars"].map(|of| {
        let name = format!("x-prometheus-remote-write-{of}-written");
        response.headers()[name.as_str()].to_str().unwrap()
    })
}

fn label(name: &str, value: &str) -> Message {
    Message::default().bytes(1, name).bytes(2, value)
}

/// Schema 0, whole counts: `n` observations in (1, 2] and twice as many in (2, 4].
fn whole(n: i64, at_ms: i64) -> Message {
    Message::default()
        .uint(1, 3 * n as u64)
        .double(3, 7.5 * n as f64)
        .sint(4, 0)
        .double(5, 1e-128)
        .nested(11, Message::default().sint(1, 1).uint(2, 2))
        .sints(12, &[n, n])
        .uint(15, at_ms as u64)
}

/// The same with custom buckets and counts that need not be whole.
fn custom(n: f64, at_ms: i64) -> Message {
    let doubles =
        |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|it| it.to_le_bytes()).collect() };
    Message::default()
        .double(2, 3.0 * n)
        .double(3, n)
        .sint(4, -53)
        .nested(11, Message::default().uint(2, 2))
        .bytes(13, doubles(&[n, 2.0 * n]))
        .uint(15, at_ms as u64)
        .bytes(16, doubles(&[0.5, 1.0]))
}

fn exemplar(trace: &str, value: f64, at_ms: i64) -> Message {
    Message::default()
        .nested(1, label("trace_id", trace))
        .double(2, value)
        .uint(3, at_ms as u64)
}

#[tokio::test]
async fn histograms_of_remote_write_are_computed_with_and_survive_a_restart() {
    let disk = Arc::new(MemoryDisk::default());
    let mut server = Receiving::on(&disk);
    let now = WallClock.now().millis() / 1_000 * 1_000;
    let times = [now - 60_000, now - 30_000, now];
    let series = Message::default()
        .nested(1, label("__name__", "took"))
        .nested(1, label("job", "shop"));
    let series = times
        .into_iter()
        .zip([10, 20, 40])
        .fold(series, |all, (at_ms, n)| {
            all.nested(4, whole(n, at_ms))
                .nested(3, exemplar("a", 1.5, at_ms))
        });
    let response = server
        .write(V1, &Message::default().nested(1, series))
        .await;
    assert_eq!(response.status(), 204, "{response:?}");
    assert_eq!(written(&response), ["0", "3", "3"]);

    let symbols = ["", "__name__", "own", "job", "shop", "trace_id", "b"];
    let request = symbols
        .iter()
        .fold(Message::default(), |all, it| all.bytes(4, it));
    let series = Message::default().uints(1, &[1, 2, 3, 4]);
    let series = times
        .into_iter()
        .zip([1.0, 2.5, 4.0])
        .fold(series, |all, (at_ms, n)| {
            let exemplar = Message::default().uints(1, &[5, 6]).double(2, 0.7);
            all.nested(3, custom(n, at_ms))
                .nested(4, exemplar.uint(3, at_ms as u64))
        });
    let response = server.write(V2, &request.nested(5, series)).await;
    assert_eq!(response.status(), 204, "{response:?}");
    assert_eq!(written(&response), ["0", "3", "3"]);

    for is_restarted in [false, true] {
        assert_eq!(server.value("histogram_count(took)", now), 120.0);
        assert_eq!(server.value("histogram_sum(took)", now), 300.0);
        assert_eq!(server.value("histogram_avg(took)", now), 2.5);
        // A third is in (1, 2], the rest in (2, 4]: the median lies at a quarter of that, by powers.
        let median = server.value("histogram_quantile(0.5, rate(took[5m]))", now);
        assert!((median - 2.0 * 2_f64.powf(0.25)).abs() < 1e-9, "{median}");
        let share = server.value("histogram_fraction(0, 2, took)", now);
        assert!((share - 1.0 / 3.0).abs() < 1e-9, "{share}");
        assert_eq!(server.value("histogram_count(own)", now), 12.0);
        assert_eq!(server.value("histogram_quantile(0.25, own)", now), 0.375);
        let shown = server.ask("took", now);
        let histogram = json!({
            "count": "120", "sum": "300",
            "buckets": [[0, "1", "2", "40"], [0, "2", "4", "80"]],
        });
        assert_eq!(shown[0]["histogram"], json!([now / 1_000, histogram]));
        let time = Time::from_millis;
        let range = server
            .ekg
            .query_range("took", time(times[0]), time(now), Span::from_secs(30))
            .json();
        let points = range["data"]["result"][0]["histograms"].as_array().unwrap();
        assert_eq!(points.len(), 3, "{range}");
        assert_eq!(points[1][1]["count"], "60");
        assert_eq!(
            server.ekg.federate(&["{job=\"shop\"}"], time(now)).unwrap(),
            ""
        );
        if is_restarted {
            break;
        }
        server.end().await;
        server = Receiving::on(&disk);
    }
    server.end().await;
}

#[tokio::test]
async fn a_histogram_that_makes_no_sense_is_refused_by_name_and_the_rest_of_its_message_written() {
    let server = Receiving::on(&Arc::default());
    let now = WallClock.now().millis();
    let series = Message::default()
        .nested(1, label("__name__", "took"))
        .nested(4, whole(5, now - 2_000).uint(1, 16))
        .nested(4, whole(5, now - 1_000))
        .nested(4, whole(5, now - 5_000));
    let response = server
        .write(V1, &Message::default().nested(1, series))
        .await;
    let text = std::str::from_utf8(response.body()).unwrap();
    assert_eq!(response.status(), 400, "{text}");
    assert_eq!(written(&response), ["0", "1", "0"]);
    for said in [
        "1 samples are written",
        "1 invalid-histogram",
        "1 out-of-order",
        "took",
        "15 observations are in buckets, but the count is 16",
    ] {
        assert!(text.contains(said), "{text}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_series_may_become_a_histogram_and_a_number_again_and_ends_by_a_marker() {
    let disk = Arc::new(MemoryDisk::default());
    let server = Receiving::on(&disk);
    let now = WallClock.now().millis() / 1_000 * 1_000;
    let point = |value: f64, at_ms: i64| Message::default().double(1, value).uint(2, at_ms as u64);
    let named = || Message::default().nested(1, label("__name__", "took"));
    let ended = Message::default()
        .double(3, mainstay_tsdb::stale_marker())
        .uint(15, (now - 1_000) as u64);
    for series in [
        named().nested(2, point(1.0, now - 9_000)),
        named().nested(4, whole(1, now - 7_000)),
        named().nested(2, point(2.0, now - 5_000)),
        named().nested(4, whole(2, now - 3_000)),
        named().nested(4, ended),
    ] {
        let response = server
            .write(V1, &Message::default().nested(1, series))
            .await;
        assert_eq!(response.status(), 204, "{response:?}");
    }
    server.end().await;
    let server = Receiving::on(&disk);
    assert_eq!(server.value("took", now - 8_000), 1.0);
    assert_eq!(server.value("histogram_count(took)", now - 6_000), 3.0);
    assert_eq!(server.value("took", now - 4_000), 2.0);
    assert_eq!(server.value("histogram_count(took)", now - 2_000), 6.0);
    assert_eq!(server.ask("took", now), json!([]));
    let raw = server.ask("took[1m]", now);
    assert_eq!(raw[0]["values"].as_array().unwrap().len(), 2, "{raw}");
    assert_eq!(raw[0]["histograms"].as_array().unwrap().len(), 2, "{raw}");
    server.end().await;
}

#[tokio::test]
async fn exemplars_are_found_by_any_selector_of_a_query() {
    let server = Receiving::on(&Arc::default());
    let now = WallClock.now().millis() / 1_000 * 1_000;
    let series = |name: &str, trace: &str| {
        Message::default()
            .nested(1, label("__name__", name))
            .nested(2, Message::default().double(1, 1.0).uint(2, now as u64))
            .nested(3, exemplar(trace, 0.25, now - 500))
            .nested(3, exemplar(trace, 0.25, now - 500))
            .nested(3, exemplar(trace, 0.5, now))
    };
    let message = Message::default()
        .nested(1, series("a", "x"))
        .nested(1, series("b", "y"));
    let response = server.write(V1, &message).await;
    assert_eq!(response.status(), 204, "{response:?}");
    assert_eq!(written(&response), ["2", "0", "4"]);
    let found = |expr: &str, start: i64, end: i64| {
        let time = Time::from_millis;
        server.ekg.query_exemplars(expr, time(start), time(end))
    };
    let answer = found("rate(a[5m])", now - 1_000, now);
    let seconds = (now - 500) as f64 / 1_000.0;
    assert_eq!(
        answer,
        json!({ "status": "success", "data": [{
            "seriesLabels": { "__name__": "a" },
            "exemplars": [
                { "labels": { "trace_id": "x" }, "value": "0.25", "timestamp": seconds },
                { "labels": { "trace_id": "x" }, "value": "0.5", "timestamp": now / 1_000 },
            ],
        }] })
    );
    let both = found("a / on () sum(b)", now, now);
    assert_eq!(both["data"].as_array().unwrap().len(), 2, "{both}");
    assert_eq!(found("c", 0, now)["data"], json!([]));
    assert_eq!(found("a{", 0, now)["errorType"], "bad_data");
    server.end().await;
}
