use super::world::*;

#[tokio::test]
async fn a_hung_service_exhausts_only_its_own_share() {
    let (hung, well) = (Upstream::hung().await, Upstream::well("well").await);
    let router = Arc::new(router().await);
    router
        .apply(table(
            1,
            vec![
                service("hung", 700, &[("v1", &hung.address)], &[("v1", 10_000)]),
                service("well", 5_000, &[("v1", &well.address)], &[("v1", 10_000)]),
            ],
        ))
        .unwrap();
    let asked: Vec<_> = (0..12)
        .map(|_| {
            let router = Arc::clone(&router);
            tokio::spawn(async move { get(&router, "/hung/", "u").await })
        })
        .collect();
    for _ in 0..20 {
        assert!(get(&router, "/well/", "u").await.ends_with("well"));
    }
    let (mut late, mut refused) = (0, 0);
    for answer in asked {
        let text = answer.await.unwrap();
        late += u32::from(text.starts_with("HTTP/1.1 504"));
        refused += u32::from(text.starts_with("HTTP/1.1 503") && text.contains("retry-after"));
    }
    assert_eq!((late, refused), (4, 8));
    let metrics = router.metrics();
    for line in [
        "mainstay_router_offered_total{service=\"hung\"} 12",
        "mainstay_router_rejects_total{service=\"hung\",reason=\"bulkhead\"} 8",
        "route=\"/hung/\",code=\"504\"} 4",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
}

#[tokio::test]
async fn without_protections_a_hung_service_takes_the_pool_and_others_queue_until_it_lets_go() {
    let (hung, well) = (Upstream::hung().await, Upstream::well("well").await);
    let router = Arc::new(router().await);
    let services = vec![
        service("hung", 700, &[("v1", &hung.address)], &[("v1", 10_000)]),
        service("well", 5_000, &[("v1", &well.address)], &[("v1", 10_000)]),
    ];
    router
        .apply(RouteTable {
            protected: false,
            ..table(1, services)
        })
        .unwrap();
    let mut patient = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let router = Arc::clone(&router);
        patient.spawn(async move { get(&router, "/hung/", "u").await });
    }
    until(|| {
        router
            .metrics()
            .contains("mainstay_router_shared_pool_held 256")
    })
    .await;
    let queued = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { get(&router, "/well/", "u").await })
    };
    until(|| {
        router
            .metrics()
            .contains("mainstay_router_queued{service=\"well\"} 1")
    })
    .await;
    let FromRouter::Report { hoarder, .. } = router.report() else {
        panic!("a report");
    };
    assert_eq!(hoarder.unwrap().as_str(), "hung");
    assert!(!queued.is_finished());
    // Their users give up, and only then the other service is served.
    patient.shutdown().await;
    let text = tokio::time::timeout(Duration::from_secs(10), queued);
    assert!(text.await.unwrap().unwrap().ends_with("well"));
}

#[tokio::test]
async fn a_deadline_of_nothing_is_answered_at_once_and_nonsense_is_ignored() {
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 3_000, &[&well])]).await;
    let ask = async |deadline: &str| {
        let head = "GET /a/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        say(
            &router,
            &format!("{head}x-mainstay-deadline-ms: {deadline}\r\n\r\n"),
        )
        .await
    };
    assert!(ask("0").await.starts_with("HTTP/1.1 504"));
    assert_eq!(well.requests(), 0);
    assert_eq!(
        metric(&router, "rejects_total{service=\"a\",reason=\"deadline\"}"),
        Some(1.0)
    );
    for nonsense in [
        "soon",
        "-5",
        "1e3",
        "",
        "99999999999999999999999",
        "18446744073709551615",
    ] {
        assert!(
            ask(nonsense).await.starts_with("HTTP/1.1 200"),
            "{nonsense}"
        );
    }
    assert!(ask("500").await.starts_with("HTTP/1.1 200"));
    let passed_on: Vec<u64> = well
        .heads
        .lock()
        .unwrap()
        .iter()
        .map(|head| {
            let values: Vec<&str> = head
                .lines()
                .filter_map(|line| line.strip_prefix("x-mainstay-deadline-ms: "))
                .collect();
            assert_eq!(values.len(), 1, "{head}");
            values[0].parse().unwrap()
        })
        .collect();
    assert_eq!(passed_on.len(), 7);
    assert!(
        passed_on[..6]
            .iter()
            .all(|left| (1_000..=3_000).contains(left)),
        "{passed_on:?}"
    );
    assert!((1..=500).contains(&passed_on[6]), "{passed_on:?}");
}

#[tokio::test]
async fn a_parents_short_budget_ends_a_request_and_is_not_held_against_the_backend() {
    let hung = Upstream::hung().await;
    let router = routing(vec![only("a", 10_000, &[&hung])]).await;
    let began = Instant::now();
    let text = say(
        &router,
        "GET /a/ HTTP/1.1\r\nhost: x\r\nx-mainstay-deadline-ms: 120\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!((100..3_000).contains(&(began.elapsed().as_millis() as u64)));
    let lost = "outcomes_total{service=\"a\",version=\"v1\",instance=\"a-0\",outcome=\"lost\"}";
    assert_eq!(metric(&router, lost), Some(0.0));
}

#[tokio::test]
async fn ordered_shedding_refuses_its_share_and_says_when_to_come_back() {
    let well = Upstream::well("well").await;
    let mut routes = only("a", 3_000, &[&well]);
    routes.shed = 5_000;
    let router = routing(vec![routes]).await;
    let mut refused = 0;
    for user in 0..200 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        refused += u32::from(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: 1"));
    }
    assert!((60..=140).contains(&refused), "{refused}");
    assert_eq!(
        metric(&router, "rejects_total{service=\"a\",reason=\"shed\"}"),
        Some(f64::from(refused))
    );
    assert_eq!(metric(&router, "shed_ratio{service=\"a\"}"), Some(0.5));
}

#[tokio::test]
async fn a_user_who_leaves_gives_the_place_back_and_blames_nobody() {
    let hung = Upstream::hung().await;
    let router = routing(vec![only("a", 60_000, &[&hung])]).await;
    let mut user = TcpStream::connect(router.address()).await.unwrap();
    user.write_all(b"GET /a/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(|| hung.requests() == 1).await;
    assert_eq!(backends(&router)[0].in_flight, 1);
    until(|| backends(&router)[0].oldest_in_flight > Span::ZERO).await;
    drop(user);
    until(|| backends(&router)[0].in_flight == 0).await;
    assert_eq!(backends(&router)[0].oldest_in_flight, Span::ZERO);
    assert_eq!(
        metric(&router, "service_in_flight{service=\"a\"}"),
        Some(0.0)
    );
    assert_eq!(metric(&router, "connections{service=\"a\"}"), Some(0.0));
    assert!(router.metrics().contains("route=\"/a/\",code=\"499\"} 1"));
    assert_eq!(backends(&router)[0].bad_rps, 0.0);
}
