use mainstay_core::probe::ProbeSpec;
use mainstay_wire::router::Probing;

use super::world::*;

const CHANGE: &str = "chg-1";

/// `old` and `new` serve a shop of which all users see the old version; `probes` go to both.
fn shop(old: &Upstream, new: &Upstream, probes: &str, at_most: u64) -> ServiceRoutes {
    let backends = [("v1", old.address.as_str()), ("v2", new.address.as_str())];
    let probes: Vec<ProbeSpec> = serde_json::from_str(probes).unwrap();
    let of = |index: usize| vec![InstanceName::new(format!("shop-{index}")).unwrap()];
    ServiceRoutes {
        probing: Some(Probing {
            change: CHANGE.parse().unwrap(),
            probes,
            canary: of(1),
            control: of(0),
            at_most: Span::from_millis(at_most),
        }),
        ..service("shop", 1_000, &backends, &[("v1", 10_000)])
    }
}

fn counted(router: &Router, version: &str, outcome: &str) -> f64 {
    let metrics = router.metrics();
    let of = |line: &&str| {
        line.starts_with("mainstay_router_probes_total{")
            && line.contains(&format!("version=\"{version}\""))
            && line.contains(&format!("outcome=\"{outcome}\""))
    };
    let lines = metrics.lines().filter(of);
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn probes_reach_both_versions_alike_tagged_and_are_never_taken_for_users() {
    let old = Upstream::well("old").await;
    let new = Upstream::new(|head| {
        let status = if is_check(head) { "200 OK" } else { "500 Oh" };
        answer(status, "", "new")
    })
    .await;
    let probes = r#"[{"path": "/shop/home", "headers": {"accept": "text/html"}, "rate": 50}]"#;
    let router = routing(vec![shop(&old, &new, probes, 60_000)]).await;
    until(|| counted(&router, "v2", "bad") >= 10.0 && counted(&router, "v1", "good") >= 10.0).await;

    let heads = new.heads.lock().unwrap().clone();
    assert!(heads.iter().all(|head| {
        head.starts_with("GET /shop/home HTTP/1.1")
            && head.contains(&format!("x-mainstay-probe: {CHANGE}"))
            && head.contains("accept: text/html")
            && head.contains("x-mainstay-deadline")
    }));
    let (asked_new, asked_old) = (new.requests(), old.requests());
    assert!(
        asked_new.abs_diff(asked_old) <= 1,
        "{asked_new} and {asked_old}"
    );
    assert_eq!(
        counted(&router, "v1", "bad") + counted(&router, "v2", "good"),
        0.0
    );

    // No demand, no goodput, no verdict on health, no time of a user's request.
    assert_eq!(metric(&router, "offered_total{"), Some(0.0));
    assert!(!router.metrics().contains("mainstay_router_requests_total{"));
    for backend in backends(&router) {
        assert_eq!((backend.goodput_rps, backend.bad_rps), (0.0, 0.0));
        assert!(backend.in_rotation, "{backend:?}");
    }
}

#[tokio::test]
async fn a_user_cannot_pose_as_a_probe() {
    let old = Upstream::well("old").await;
    let router = routing(vec![only("shop", 1_000, &[&old])]).await;
    let head = "GET /shop/home HTTP/1.1\r\nhost: x\r\nx-mainstay-probe: chg-9\r\nconnection: close\r\n\r\n";
    assert!(say(&router, head).await.contains("200 OK"));
    let heads = old.heads.lock().unwrap().clone();
    assert!(!heads[0].contains("x-mainstay-probe"), "{heads:?}");
}

#[tokio::test]
async fn probes_go_to_both_or_to_none_and_stop_when_their_order_is_over() {
    let (old, new) = (Upstream::well("old").await, Upstream::well("new").await);
    let probes = r#"[{"path": "/shop/home", "expect": 204, "rate": 50}]"#;
    let mut alone = shop(&old, &new, probes, 60_000);
    alone.backends[1].draining = true;
    let router = routing(vec![alone]).await;
    until(|| metric(&router, "unsent_probes_total{").is_some_and(|it| it >= 5.0)).await;
    assert_eq!((old.requests(), new.requests()), (0, 0));

    router
        .apply(table(2, vec![shop(&old, &new, probes, 300)]))
        .unwrap();
    until(|| counted(&router, "v2", "bad") >= 1.0).await;
    assert_eq!(
        counted(&router, "v2", "good"),
        0.0,
        "204 was expected, 200 came"
    );
    // Over after 300 ms: from some moment on nothing comes, for longer than a probe takes to be due.
    let mut last = (new.requests(), Instant::now());
    until(|| {
        if new.requests() != last.0 {
            last = (new.requests(), Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(1)
    })
    .await;
}
