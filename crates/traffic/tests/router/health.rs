use super::world::*;

#[tokio::test]
async fn a_lying_backend_is_found_out_and_leaves_rotation() {
    let (liar, well) = (
        Upstream::new(|head| {
            if is_check(head) {
                answer("200 OK", "", "")
            } else {
                answer("500 Internal Server Error", "", "")
            }
        })
        .await,
        Upstream::well("well").await,
    );
    let router = router().await;
    let backends = [
        ("v1", liar.address.as_str()),
        ("v1", &well.address),
        ("v1", &well.address),
        ("v1", &well.address),
    ];
    router
        .apply(table(
            1,
            vec![service("a", 1_000, &backends, &[("v1", 10_000)])],
        ))
        .unwrap();
    let found = async {
        loop {
            let _ = get(&router, "/a/", "u").await;
            let FromRouter::Report { backends, .. } = router.report() else {
                continue;
            };
            let seen = &backends.values().next().unwrap()[0];
            if seen.verdict == HealthVerdict::Lying && !seen.in_rotation {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(15), found)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_instance_without_users_is_known_by_its_health_check_until_a_user_hears_otherwise() {
    let upstream = Upstream::new(|head| {
        let version = if is_check(head) { "v1" } else { "v2" };
        answer("200 OK", &format!("x-service-version: {version}\r\n"), "ok")
    })
    .await;
    let router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    until(|| backends(&router)[0].seen_version == Some(version("v1"))).await;
    assert_eq!(upstream.requests(), 0);
    let _ = get(&router, "/a/", "u").await;
    assert_eq!(backends(&router)[0].seen_version, Some(version("v2")));
    // Without users the check is believed again.
    until(|| backends(&router)[0].seen_version == Some(version("v1"))).await;
}

#[tokio::test]
async fn health_checks_cost_one_connection_a_backend_and_one_request_a_second() {
    let checks = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&checks);
    let upstream = Upstream::new(move |head| {
        counted.fetch_add(u32::from(is_check(head)), Ordering::Relaxed);
        answer("200 OK", "", "fine")
    })
    .await;
    let began = Instant::now();
    let _router = routing(vec![only("a", 1_000, &[&upstream])]).await;
    until(|| checks.load(Ordering::Relaxed) >= 4).await;
    assert!(began.elapsed() > Duration::from_millis(2_500));
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_hung_health_check_fails_within_its_deadline() {
    let hung = Upstream::new(|_| Act::Hang).await;
    let router = routing(vec![only("a", 1_000, &[&hung])]).await;
    until(|| backends(&router)[0].verdict == HealthVerdict::Unhealthy).await;
    assert!(backends(&router)[0].in_rotation, "the only one stays");
}

#[tokio::test]
async fn an_ejected_backend_is_probed_by_what_users_ask_and_comes_back_when_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&is_well);
    let sick = Upstream::new(move |head| {
        if is_check(head) || state.load(Ordering::Relaxed) {
            answer("200 OK", "", "sick")
        } else if head.starts_with("GET /a/ ") {
            // As a server does whose workers hang: it needs none to say so.
            answer("404 Not Found", "", "")
        } else {
            answer("500 Internal Server Error", "", "")
        }
    })
    .await;
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&sick, &well, &well, &well])]).await;
    let ejected = async {
        while backends(&router)[0].in_rotation {
            let _ = get(&router, "/a/home?for=u", "u").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ejected)
        .await
        .unwrap();
    let labels = "{service=\"a\",version=\"v1\",instance=\"a-0\"}";
    assert_eq!(
        metric(&router, &format!("ejections_total{labels}")),
        Some(1.0)
    );
    assert_eq!(metric(&router, &format!("in_rotation{labels}")), Some(0.0));
    let before = sick.requests();
    for user in 0..20 {
        assert!(
            get(&router, "/a/home", &format!("u{user}"))
                .await
                .ends_with("well")
        );
    }
    until(|| sick.requests() >= before + 8).await;
    assert!(!backends(&router)[0].in_rotation, "no probe went well");
    is_well.store(true, Ordering::Relaxed);
    until(|| backends(&router)[0].verdict == HealthVerdict::Recovering).await;
    let heads = sick.heads.lock().unwrap();
    let probes: Vec<_> = heads[before..].iter().collect();
    assert!(probes.len() >= 3);
    let users = |head: &&&String| head.starts_with("GET /a/home ");
    assert!(
        probes
            .iter()
            .filter(|it| !is_check(it))
            .all(|it| users(&it))
    );
    assert!(probes.iter().all(|head| head.contains("mainstay-router")));
}

#[tokio::test]
async fn where_probes_are_declared_they_decide_who_comes_back() {
    let is_well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&is_well);
    let sick = Upstream::new(move |head| {
        let well = state.load(Ordering::Relaxed);
        match (head.starts_with("GET /a/report?deep "), well) {
            (true, true) => answer("202 Accepted", "", ""),
            // Whoever has not logged in is turned away without a worker.
            (true, false) => answer("401 Unauthorized", "", ""),
            (false, _) if is_check(head) => answer("200 OK", "", ""),
            (false, true) => answer("200 OK", "", ""),
            (false, false) => answer("500 Internal Server Error", "", ""),
        }
    })
    .await;
    let well = Upstream::well("well").await;
    let probe = r#"[{"path":"/a/report?deep","expect":202,"headers":{"authorization":"probe"}}]"#;
    let routes = ServiceRoutes {
        probes: serde_json::from_str(probe).unwrap(),
        ..only("a", 1_000, &[&sick, &well, &well, &well])
    };
    let router = routing(vec![routes]).await;
    let ejected = async {
        while backends(&router)[0].in_rotation {
            let _ = get(&router, "/a/home", "u").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ejected)
        .await
        .unwrap();
    let probed = || {
        let heads = sick.heads.lock().unwrap();
        let heads = heads
            .iter()
            .filter(|it| it.starts_with("GET /a/report?deep "));
        let tagged = |it: &&String| {
            it.contains("x-mainstay-probe: ejection") && it.contains("authorization: probe")
        };
        heads.filter(tagged).count()
    };
    until(|| probed() >= 4).await;
    assert!(
        !backends(&router)[0].in_rotation,
        "401 is not what is expected"
    );
    is_well.store(true, Ordering::Relaxed);
    until(|| backends(&router)[0].verdict == HealthVerdict::Recovering).await;
}

#[tokio::test]
async fn a_failing_health_check_alone_leaves_an_instance_in_rotation() {
    let modest = Upstream::new(|head| {
        if is_check(head) {
            answer("503 Service Unavailable", "", "")
        } else {
            answer("200 OK", "", "modest")
        }
    })
    .await;
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&modest, &well, &well, &well])]).await;
    until(|| backends(&router)[0].verdict == HealthVerdict::Unhealthy).await;
    let before = modest.requests();
    let mut user = 0;
    let answered = async {
        while modest.requests() < before + 8 {
            user += 1;
            let _ = get(&router, "/a/home", &format!("u{user}")).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered)
        .await
        .unwrap();
    let seen = &backends(&router)[0];
    assert_eq!(
        (seen.in_rotation, seen.claimed),
        (true, ClaimedHealth::Failing)
    );
}

#[tokio::test]
async fn a_new_incarnation_starts_without_the_past_of_the_one_before() {
    let failing =
        Upstream::new(|_| answer("500 Internal Server Error", "x-service-version: v0\r\n", ""))
            .await;
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 1_000, &[&failing])]).await;
    until(|| backends(&router)[0].verdict == HealthVerdict::Unhealthy).await;
    assert_eq!(backends(&router)[0].seen_version, Some(version("v0")));
    let mut routes = only("a", 1_000, &[&well]);
    routes.backends[0].incarnation = 2;
    router.apply(table(2, vec![routes])).unwrap();
    let seen = &backends(&router)[0];
    assert_eq!((seen.incarnation, &seen.seen_version), (2, &None));
    assert_eq!(seen.verdict, HealthVerdict::Unknown);
    let flips = "health_flips_total{service=\"a\",version=\"v1\",instance=\"a-0\"}";
    assert_eq!(metric(&router, flips), Some(0.0));
}
