use super::world::*;
use mainstay_wire::router::Limit;

const LATE_MS: u64 = 100;

fn guarded(upstreams: &[&Upstream], share: f64) -> ServiceRoutes {
    let mut routes = only("feed", 5_000, upstreams);
    routes.bulkhead = Bulkhead {
        connections: 200,
        in_flight: 200,
    };
    routes.backends[0].share = share;
    routes.backends[0].limit = Some(Limit {
        error_ratio: 0.01,
        latency_p99_ms: LATE_MS,
    });
    routes
}

/// One that answers 2 ms after it was asked, and after 400 ms once it is `slow`.
async fn slowable(slow: &Arc<AtomicBool>) -> Upstream {
    let slow = Arc::clone(slow);
    Upstream::new(move |head| {
        let is_slow = slow.load(Ordering::Relaxed) && !is_check(head);
        let Act::Answer(text) = answer("200 OK", "", "well") else {
            panic!("an answer");
        };
        Act::Late(Duration::from_millis(if is_slow { 400 } else { 2 }), text)
    })
    .await
}

fn first(router: &Router) -> BackendReport {
    let mut all = backends(router);
    all.sort_by(|a, b| a.instance.cmp(&b.instance));
    all.remove(0)
}

/// Asks 200 times a second, whether or not answers come.
fn load(router: &Arc<Router>) -> tokio::task::JoinHandle<()> {
    let router = Arc::clone(router);
    tokio::spawn(async move {
        let mut asked = tokio::task::JoinSet::new();
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        loop {
            beat.tick().await;
            let router = Arc::clone(&router);
            asked.spawn(async move { get(&router, "/feed/", "u").await });
            while asked.try_join_next().is_some() {}
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_above_a_full_one_ends_as_soon_as_its_backend_gets_slow_and_stays_ended() {
    let slow = Arc::<AtomicBool>::default();
    let (tried, other) = (slowable(&slow).await, Upstream::well("well").await);
    let router = Arc::new(routing(vec![guarded(&[&tried, &other], 3.0)]).await);
    let load = load(&router);
    until(|| tried.requests() >= 100).await;
    // Three quarters of a load that both carry easily.
    let (got, rest) = (tried.requests() as f64, other.requests() as f64);
    assert!(got / (got + rest) > 0.6, "{got} and {rest}");
    assert!(!first(&router).limit_broken);
    slow.store(true, Ordering::Relaxed);
    let began = Instant::now();
    // What is older than the limit without an answer counts at once, so that the limit breaks three requests
    // and one limit after the first that is slow.
    let breached = Duration::from_millis(LATE_MS);
    until(|| first(&router).limit_broken).await;
    let took = began.elapsed().saturating_sub(breached);
    println!("from the first overdue request to a full share: {took:?}");
    assert!(took <= Duration::from_millis(300), "{took:?}");
    slow.store(false, Ordering::Relaxed);
    let (from, beside) = (tried.requests(), other.requests());
    until(|| other.requests() >= beside + 200).await;
    let share = (tried.requests() - from) as f64 / 400.0;
    assert!((0.0..0.65).contains(&share), "{share}");
    // The same share in a newer table is no news; another is.
    router
        .apply(table(2, vec![guarded(&[&tried, &other], 3.0)]))
        .unwrap();
    assert!(first(&router).limit_broken);
    router
        .apply(table(3, vec![guarded(&[&tried, &other], 1.0)]))
        .unwrap();
    assert!(!first(&router).limit_broken);
    load.abort();
}

#[tokio::test]
async fn what_was_measured_just_now_is_reported() {
    let well = Upstream::well("well").await;
    let router = routing(vec![guarded(&[&well], 1.0)]).await;
    until(|| first(&router).p99_ms.is_none()).await;
    for _ in 0..20 {
        get(&router, "/feed/", "u").await;
    }
    let p99 = first(&router).p99_ms.unwrap();
    assert!((0.0..1_000.0).contains(&p99), "{p99}");
    until(|| first(&router).recent_rps > 0.0).await;
    assert!(first(&router).recent_rps <= 4.0);
}
