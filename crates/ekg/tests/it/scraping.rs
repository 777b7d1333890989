//! A small server that is scraped, killed and left.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mainstay_core::{Span, ports::Clock as _};
use mainstay_ekg::{
    adapter::{Discovery, Pools, ScrapeConfig, Target},
    job::{Job, Section},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::world::{WallClock, World};

/// Answers with each body in turn, then with the last one again and again.
struct Site {
    url: String,
    answered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Site {
    async fn serve(bodies: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let answered = Arc::new(AtomicUsize::new(0));
        let (count, bodies) = (Arc::clone(&answered), Arc::new(Mutex::new(bodies)));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (count, bodies) = (Arc::clone(&count), Arc::clone(&bodies));
                let service = service_fn(move |_| {
                    let bodies = bodies.lock().unwrap();
                    let at = count.fetch_add(1, Ordering::SeqCst).min(bodies.len() - 1);
                    let body = Full::new(Bytes::from(bodies[at].clone()));
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                });
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            url,
            answered,
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
