use super::world::*;

#[tokio::test]
async fn a_table_is_in_force_when_apply_returns_and_an_older_one_is_refused() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let router = router().await;
    let backends = [("v1", one.address.as_str()), ("v2", two.address.as_str())];
    for (counter, v) in [(1, "v1"), (2, "v2"), (3, "v1")] {
        router
            .apply(table(
                counter,
                vec![service("a", 1_000, &backends, &[(v, 10_000)])],
            ))
            .unwrap();
        let text = get(&router, "/a/x", "u1").await;
        assert!(
            text.ends_with(if v == "v1" { "one" } else { "two" }),
            "{text}"
        );
    }
    assert!(matches!(
        router.apply(table(2, vec![])),
        Err(RouterError::Stale { .. })
    ));
    assert!(get(&router, "/b/", "u").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_user_keeps_their_version_and_a_quarter_of_users_is_a_quarter() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let router = router().await;
    let backends = [("v1", one.address.as_str()), ("v2", two.address.as_str())];
    router
        .apply(table(
            1,
            vec![service(
                "a",
                5_000,
                &backends,
                &[("v1", 7_500), ("v2", 2_500)],
            )],
        ))
        .unwrap();
    let mut second = 0;
    for user in 0..1_000 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        second += u32::from(text.ends_with("two"));
        if user < 20 {
            assert_eq!(
                text.ends_with("two"),
                get(&router, "/a/", &format!("u{user}"))
                    .await
                    .ends_with("two")
            );
        }
    }
    // Three standard deviations of a binomial with n = 1000, p = 0.25.
    assert!((209..=291).contains(&second), "{second}");
}

#[tokio::test]
async fn users_move_only_to_the_version_that_grows_and_back_again() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let router = router().await;
    let backends = [("v1", one.address.as_str()), ("v2", two.address.as_str())];
    let mut met: Vec<Vec<bool>> = Vec::new();
    for (counter, canary) in [(1, 1_000), (2, 3_000), (3, 1_000)] {
        let weights = [("v1", 10_000 - canary), ("v2", canary)];
        let routes = service("a", 5_000, &backends, &weights);
        router.apply(table(counter, vec![routes])).unwrap();
        let mut now = Vec::new();
        for user in 0..150 {
            let text = get(&router, "/a/", &format!("u{user}")).await;
            now.push(text.ends_with("two"));
        }
        met.push(now);
    }
    let on_canary = |at: usize| met[at].iter().filter(|on| **on).count();
    assert!(on_canary(1) > on_canary(0));
    for ((before, canary), after) in met[0].iter().zip(&met[1]).zip(&met[2]) {
        assert!(!before || *canary, "a user left a version that grew");
        assert!(!after || *canary, "a user joined a version that shrank");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_after_a_flip_meets_the_new_weights_while_others_are_under_way() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let router = Arc::new(router().await);
    let mut routes = service(
        "a",
        5_000,
        &[("v1", one.address.as_str()), ("v2", two.address.as_str())],
        &[("v1", 10_000)],
    );
    routes.bulkhead = Bulkhead {
        connections: 64,
        in_flight: 64,
    };
    router.apply(table(1, vec![routes.clone()])).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let noise: Vec<_> = (0..4)
        .map(|user| {
            let (router, stop) = (Arc::clone(&router), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let text = get(&router, "/a/", &format!("n{user}")).await;
                    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                }
            })
        })
        .collect();
    for counter in 2..40 {
        let (v, body) = if counter % 2 == 0 {
            ("v2", "two")
        } else {
            ("v1", "one")
        };
        routes.weights = BTreeMap::from([(version(v), 10_000)]);
        router.apply(table(counter, vec![routes.clone()])).unwrap();
        let text = get(&router, "/a/", "u").await;
        assert!(text.ends_with(body), "{text}");
    }
    stop.store(true, Ordering::Relaxed);
    for user in noise {
        user.await.unwrap();
    }
}

#[tokio::test]
async fn a_flip_of_a_thousand_backends_is_in_force_within_100_ms() {
    let well = Upstream::well("well").await;
    let router = router().await;
    let names: Vec<(&str, &str)> = (0..1_000)
        .map(|i| (if i % 2 == 0 { "v1" } else { "v2" }, well.address.as_str()))
        .collect();
    // The quickest of several: a busy machine is no slow router.
    let quickest = (1..10_u64)
        .map(|counter| {
            let canary = counter as u32 * 1_000;
            let weights = [("v1", 10_000 - canary), ("v2", canary)];
            let next = table(counter, vec![service("a", 1_000, &names, &weights)]);
            let began = Instant::now();
            router.apply(next).unwrap();
            began.elapsed()
        })
        .min()
        .unwrap();
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
}

#[tokio::test]
async fn a_draining_backend_finishes_what_it_has_and_gets_nothing_new() {
    let slow = Upstream::hung().await;
    let well = Upstream::well("well").await;
    let router = Arc::new(routing(vec![only("a", 20_000, &[&slow])]).await);
    let asked = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { get(&router, "/a/", "u").await })
    };
    until(|| slow.requests() == 1).await;
    let mut routes = only("a", 20_000, &[&slow, &well]);
    routes.backends[0].draining = true;
    router.apply(table(2, vec![routes.clone()])).unwrap();
    for user in 0..30 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        assert!(text.ends_with("well"), "{text}");
    }
    assert_eq!((slow.requests(), backends(&router)[0].in_flight), (1, 1));
    assert!(!asked.is_finished());
    asked.abort();
    routes.backends[1].draining = true;
    router.apply(table(3, vec![routes])).unwrap();
    let text = get(&router, "/a/", "u").await;
    assert!(
        text.starts_with("HTTP/1.1 503") && text.contains("draining"),
        "{text}"
    );
    assert_eq!(
        metric(&router, "rejects_total{service=\"a\",reason=\"draining\"}"),
        Some(1.0)
    );
}

#[tokio::test]
async fn a_version_without_backends_falls_back_to_another_with_weight_and_that_is_counted() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let pairs = [("v1", one.address.as_str()), ("v2", two.address.as_str())];
    let mut routes = service("a", 1_000, &pairs, &[("v1", 5_000), ("v2", 5_000)]);
    routes.backends[1].draining = true;
    let router = routing(vec![routes.clone()]).await;
    for user in 0..20 {
        assert!(
            get(&router, "/a/", &format!("u{user}"))
                .await
                .ends_with("one")
        );
    }
    let fallback = "version_fallback_total{service=\"a\"}";
    assert!(metric(&router, fallback).unwrap() >= 1.0);
    // A version without weight is no fallback: it was taken from its users on purpose.
    routes.backends[1].draining = false;
    routes.backends[0].draining = true;
    routes.weights = BTreeMap::from([(version("v1"), 10_000), (version("v2"), 0)]);
    router.apply(table(2, vec![routes])).unwrap();
    assert!(get(&router, "/a/", "u").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_broken_get_is_tried_once_more_elsewhere_and_a_post_is_not() {
    let broken = Upstream::new(|head| {
        if is_check(head) {
            answer("200 OK", "", "")
        } else {
            Act::Close
        }
    })
    .await;
    let well = Upstream::well("well").await;
    let router = routing(vec![only("a", 5_000, &[&broken, &well])]).await;
    let mut refused = 0;
    for user in 0..4 {
        let text = get(&router, "/a/", &format!("u{user}")).await;
        refused += u32::from(!text.ends_with("well"));
    }
    // The budget of so little traffic is one retry in ten seconds.
    let retried = metric(&router, "retries_total{service=\"a\"}").unwrap();
    assert!(retried <= 1.0);
    let broken_gets = broken.requests() as u32;
    assert_eq!(refused, broken_gets.saturating_sub(retried as u32));
    let router = routing(vec![only("a", 5_000, &[&broken])]).await;
    let post = "POST /a/ HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    assert!(say(&router, post).await.starts_with("HTTP/1.1 502"));
    assert_eq!(metric(&router, "retries_total{service=\"a\"}"), Some(0.0));
    assert_eq!(backends(&router)[0].in_flight, 0);
}
