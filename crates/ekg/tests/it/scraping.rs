//! A small server that is scraped, killed and left.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mainstay_core::{Span, Time, ports::Clock as _};
use mainstay_ekg::{
    adapter::{Discovery, Pools, ScrapeConfig, Target},
    job::{Job, Section},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::{
    message::Message,
    world::{WallClock, World},
};

/// Answers with each body in turn, then with the last one again and again.
struct Site {
    url: String,
    answered: Arc<AtomicUsize>,
    /// The formats that were asked for last.
    accepts: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Site {
    async fn serve(bodies: Vec<String>) -> Self {
        let bodies = bodies.into_iter().map(Bytes::from).collect();
        Self::serve_as("text/plain", bodies).await
    }

    async fn serve_as(content: &'static str, bodies: Vec<Bytes>) -> Self {
        let accepts = Arc::<Mutex<String>>::default();
        let asked = Arc::clone(&accepts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let answered = Arc::new(AtomicUsize::new(0));
        let (count, bodies) = (Arc::clone(&answered), Arc::new(Mutex::new(bodies)));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (count, bodies) = (Arc::clone(&count), Arc::clone(&bodies));
                let asked = Arc::clone(&asked);
                let service = service_fn(move |request: Request<Incoming>| {
                    let accept = request.headers()["accept"].to_str().unwrap();
                    accept.clone_into(&mut asked.lock().unwrap());
                    let bodies = bodies.lock().unwrap();
                    let at = count.fetch_add(1, Ordering::SeqCst).min(bodies.len() - 1);
                    let body = Full::new(bodies[at].clone());
                    let response = Response::builder().header("content-type", content);
                    async move { response.body(body) }
                });
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            url,
            answered,
            accepts,
            task,
        }
    }

    /// Listener and connections go at once.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn quick() -> ScrapeConfig {
    ScrapeConfig {
        interval: Span::from_millis(20),
        deadline: Span::from_secs(5),
        ..ScrapeConfig::default()
    }
}

fn hits(value: usize) -> String {
    format!("# TYPE hits_total counter\nhits_total{{job=\"own\"}} {value}\n")
}

#[tokio::test]
async fn a_killed_target_is_down_and_its_series_end_and_a_removed_one_leaves_nothing() {
    let site = Site::serve((0..10_000).map(|n| hits(n * 3)).collect()).await;
    let target = Target::new(&site.url, [("job", "shop")]).unwrap();
    let world = World::new(vec![target], quick());
    world.until("up", &["1"]).await;
    world
        .until("count_over_time(hits_total[1m]) > bool 4", &["1"])
        .await;
    let metric = &world.ask("hits_total")[0]["metric"];
    assert_eq!(
        (&metric["job"], &metric["exported_job"]),
        (&json!("shop"), &json!("own"))
    );
    let rate = world.ask("rate(hits_total[1m])")[0]["value"][1].clone();
    assert!(
        rate.as_str().unwrap().parse::<f64>().unwrap() > 0.0,
        "{rate}"
    );
    assert_eq!(world.ask("scrape_samples_scraped")[0]["value"][1], "1");
    let now = WallClock.now();
    let seen = world.ekg.eval("hits_total", now).unwrap();
    assert!(seen.is_fresh(now, Span::from_secs(10)));

    site.kill().await;
    world.until("up", &["0"]).await;
    assert_eq!(world.ask("hits_total"), json!([]));
    assert!(world.ekg.eval("hits_total", WallClock.now()).is_none());

    world.targets.send(Vec::new()).unwrap();
    world.until("up", &[]).await;
    assert_eq!(world.ask("scrape_duration_seconds"), json!([]));
    assert_eq!(world.ekg.refusals().total(), 0);
    world.end().await;
}

#[tokio::test]
async fn counts_over_scrapes_are_exact_across_a_counter_reset() {
    let from = WallClock.now();
    let site = Site::serve([4, 7, 7, 12, 2, 5].map(hits).to_vec()).await;
    let world = World::new(vec![Target::new(&site.url, []).unwrap()], quick());
    world.until("hits_total == 5", &["5"]).await;
    let to = WallClock.now();
    let count = world.ekg.counts("hits_total", from, to).unwrap();
    assert_eq!(count.total, Ok(3 + 5 + 2 + 3));
    assert_eq!((count.resets, count.coverage.whole), (1, 0));
    assert!(site.answered.load(Ordering::SeqCst) >= 6);
    world.end().await;
}

#[tokio::test]
async fn a_counter_that_appears_between_scrapes_is_counted_from_zero() {
    let from = WallClock.now();
    let errors = "# TYPE errors_total counter\nerrors_total 2\n".to_owned();
    let site = Site::serve(vec![hits(1), errors]).await;
    let world = World::new(vec![Target::new(&site.url, []).unwrap()], quick());
    world.until("errors_total", &["2"]).await;
    let count = world
        .ekg
        .counts("errors_total", from, WallClock.now())
        .unwrap();
    assert_eq!((count.total, count.coverage.is_whole()), (Ok(2), true));
    assert_eq!(world.ask("hits_total"), json!([]));
    world.end().await;
}

#[tokio::test]
async fn a_body_over_the_limit_counts_as_down() {
    let site = Site::serve(vec![hits(1).repeat(50)]).await;
    let config = ScrapeConfig {
        body_bytes: 1_000,
        ..quick()
    };
    let world = World::new(vec![Target::new(&site.url, []).unwrap()], config);
    world.until("up", &["0"]).await;
    assert!(site.answered.load(Ordering::SeqCst) >= 1);
    assert_eq!(world.ask("hits_total"), json!([]));
    world.end().await;
}

#[tokio::test]
async fn samples_out_of_order_and_targets_above_the_limit_are_counted() {
    let back = WallClock.now().millis() - 5_000;
    let bodies = [back, back - 1].map(|at_ms| format!("old 1 {at_ms}\n"));
    let back = Site::serve(bodies.to_vec()).await;
    let last = Target::new("http://localhost:9/never", []).unwrap();
    let targets = vec![last, Target::new(&back.url, []).unwrap()];
    let config = ScrapeConfig {
        targets: 1,
        ..quick()
    };
    let world = World::new(targets, config);
    world
        .until("count_over_time(up[1m]) > bool 3", &["1"])
        .await;
    let refused = world.ekg.refusals();
    assert!(refused.out_of_order >= 1, "{refused:?}");
    assert_eq!(refused.targets, 1);
    world.end().await;
}

#[tokio::test]
async fn a_jobs_targets_follow_its_files_and_a_broken_file_changes_nothing() {
    let site = Site::serve(vec!["# TYPE a gauge\na 1\nb 2\n".to_owned()]).await;
    let address = site.url.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yml");
    let list = |text: &str| std::fs::write(&file, text).unwrap();
    list(&format!(
        "- targets: [\"{address}\"]\n  labels: {{dc: lax}}\n"
    ));
    let section = json!({
        "job_name": "shop", "scrape_interval": "20ms",
        "file_sd_configs": [{ "files": [folder.path().join("*.yml")], "refresh_interval": "1s" }],
        "metric_relabel_configs": [{ "source_labels": ["__name__"], "regex": "b", "action": "drop" }],
    });
    let job = Job::try_from(serde_json::from_value::<Section>(section).unwrap()).unwrap();
    let world = World::new(Vec::new(), job.config().clone());
    let pools = Pools::default();
    let discovery = Discovery::new(job, pools)
        .unwrap()
        .run(world.targets.clone(), world.stop.clone());
    let discovering = tokio::spawn(discovery);
    world.until("up{dc=\"lax\",job=\"shop\"}", &["1"]).await;
    world.until("a", &["1"]).await;
    assert_eq!(world.ask("b"), json!([]));
    let seen = site.answered.load(Ordering::SeqCst);
    list("- targets: {");
    world
        .until("count_over_time(up[1m]) > bool 60", &["1"])
        .await;
    assert!(site.answered.load(Ordering::SeqCst) > seen);
    list("[]");
    world.until("up", &[]).await;
    world.end().await;
    discovering.await.unwrap();
}

/// A histogram of one bucket, native and classic, with `n` observations; and one that is classic only.
fn native(n: u64) -> Bytes {
    let bucket = |count, bound| Message::default().uint(1, count).double(2, bound);
    let stamp = Message::default().uint(1, n);
    let label = Message::default().bytes(1, "trace_id").bytes(2, "t");
    let exemplar = Message::default()
        .nested(1, label)
        .double(2, 1.5)
        .nested(3, stamp);
    let both = Message::default()
        .uint(1, n)
        .double(2, 1.5 * n as f64)
        .nested(3, bucket(n, 2.0))
        .sint(5, 0)
        .double(6, 1e-128)
        .nested(12, Message::default().sint(1, 1).uint(2, 1))
        .sints(13, &[n as i64])
        .nested(16, exemplar);
    let classic = Message::default()
        .uint(1, n)
        .double(2, n as f64)
        .nested(3, bucket(n / 2, 0.5));
    let family = |name: &str, histogram| {
        let family = Message::default().bytes(1, name).uint(3, 4);
        family
            .nested(4, Message::default().nested(7, histogram))
            .delimited()
    };
    [family("both", both), family("classic", classic)]
        .concat()
        .into()
}

#[tokio::test]
async fn native_histograms_are_scraped_in_protobuf_where_the_job_asks_for_it() {
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                    encoding=delimited";
    for (fields, own, buckets, converted) in [
        ("", None, "2", None),
        (r#""scrape_native_histograms": true,"#, Some("1"), "0", None),
        (
            r#""scrape_native_histograms": true, "always_scrape_classic_histograms": true,"#,
            Some("1"),
            "2",
            None,
        ),
        (
            r#""scrape_native_histograms": true, "convert_classic_histograms_to_nhcb": true,"#,
            Some("1"),
            "0",
            Some("1"),
        ),
    ] {
        let site = Site::serve_as(protobuf, (4..10_000).map(native).collect()).await;
        let section: Section = serde_json::from_str(&format!(
            r#"{{"job_name": "shop", {fields} "scrape_interval": "20ms", "scrape_timeout": "20ms"}}"#
        ))
        .unwrap();
        let job = Job::try_from(section).unwrap();
        let config = ScrapeConfig {
            deadline: Span::from_secs(5),
            ..job.config().clone()
        };
        let world = World::new(vec![Target::new(&site.url, []).unwrap()], config);
        world
            .until("count_over_time(up[1m]) > bool 4", &["1"])
            .await;
        world.until("up", &["1"]).await;
        let accepts = site.accepts.lock().unwrap().clone();
        assert_eq!(
            accepts.starts_with("application/vnd.google.protobuf;proto=io.prometheus.client"),
            own.is_some(),
            "{accepts}"
        );
        let count = |expr: &str| {
            let found = world.ask(&format!("count({expr})"));
            found[0]["value"][1].as_str().map(str::to_owned)
        };
        assert_eq!(count("both").as_deref(), own, "{fields}");
        let of_both = count("both_bucket").unwrap_or("0".to_owned());
        assert_eq!(of_both, buckets, "{fields}");
        assert_eq!(count("classic").as_deref(), converted, "{fields}");
        let classic = if converted.is_some() {
            None
        } else {
            Some("2".to_owned())
        };
        assert_eq!(count("classic_bucket"), classic, "{fields}");
        if own.is_some() {
            let grown = world.ask("histogram_count(increase(both[1m])) > bool 0");
            assert_eq!(grown[0]["value"][1], "1", "{grown}");
            let whole = (Time::from_millis(0), Time::from_millis(i64::MAX));
            let exemplars = world.ekg.query_exemplars("both", whole.0, whole.1);
            let first = &exemplars["data"][0]["exemplars"][0];
            assert_eq!(
                (&first["value"], &first["timestamp"]),
                (&json!("1.5"), &json!(4))
            );
        }
        if converted.is_some() {
            let half = world.ask("histogram_fraction(0, 0.5, classic) >= bool 0.4");
            assert_eq!(half[0]["value"][1], "1", "{half}");
        }
        site.kill().await;
        world.until("up", &["0"]).await;
        assert_eq!(world.ask("both"), json!([]), "ended");
        assert_eq!(world.ekg.refusals().invalid_histograms, 0);
        world.end().await;
    }
}
