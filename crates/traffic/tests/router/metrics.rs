use super::world::*;

#[tokio::test]
async fn each_family_says_what_it_is_once_and_no_series_is_there_twice() {
    let well = Upstream::well("well").await;
    let router = routing(vec![
        only("a", 1_000, &[&well, &well]),
        only("b", 1_000, &[]),
    ])
    .await;
    for path in ["/a/", "/a/\"x", "/b/", "/none"] {
        let _ = get(&router, path, "u").await;
    }
    let metrics = router.metrics();
    let (mut told, mut series) = (Vec::new(), std::collections::BTreeSet::new());
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!told.contains(&name), "{name} twice");
            told.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next(), told.last().copied());
        } else {
            let family = *told.last().unwrap();
            assert!(line.starts_with(family), "{line} is not of {family}");
            let (labels, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(labels.to_owned()), "{labels} twice");
        }
    }
    assert_eq!(metric(&router, "unrouted_total"), Some(1.0));
    assert_eq!(metric(&router, "offered_total{service=\"b\"}"), Some(1.0));
}

#[tokio::test]
async fn what_left_the_table_is_still_counted_and_goes_on_when_it_returns() {
    let (one, two) = (Upstream::well("one").await, Upstream::well("two").await);
    let router = routing(vec![only("a", 1_000, &[&one])]).await;
    let count =
        "requests_total{service=\"a\",version=\"v1\",instance=\"a-0\",route=\"/a/\",code=\"200\"}";
    for _ in 0..3 {
        let _ = get(&router, "/a/", "u").await;
    }
    until(|| metric(&router, count) == Some(3.0)).await;
    router.apply(table(2, vec![])).unwrap();
    assert_eq!(metric(&router, count), Some(3.0));
    assert_eq!(metric(&router, "offered_total{service=\"a\"}"), Some(3.0));
    assert_eq!(metric(&router, "connections{service=\"a\"}"), Some(0.0));
    // The next incarnation of the same version goes on from there.
    let mut routes = only("a", 1_000, &[&two]);
    routes.backends[0].incarnation = 2;
    router.apply(table(3, vec![routes])).unwrap();
    let _ = get(&router, "/a/", "u").await;
    until(|| metric(&router, count) == Some(4.0)).await;
    assert_eq!(router.metrics().matches(count).count(), 1);
    assert_eq!(metric(&router, "offered_total{service=\"a\"}"), Some(4.0));
}

#[tokio::test]
async fn the_histogram_counts_each_request_once_and_in_the_right_bucket() {
    let hung = Upstream::hung().await;
    let router = routing(vec![only("a", 150, &[&hung])]).await;
    let text = get(&router, "/a/x?y=1", "u").await;
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    let labels = "service=\"a\",version=\"v1\",instance=\"a-0\"";
    let bucket = |le: &str| {
        let series = format!("request_duration_seconds_bucket{{{labels},le=\"{le}\"}}");
        metric(&router, &series)
    };
    assert_eq!((bucket("0.1"), bucket("+Inf")), (Some(0.0), Some(1.0)));
    let sum = metric(
        &router,
        &format!("request_duration_seconds_sum{{{labels}}}"),
    );
    assert!(sum.is_some_and(|sum| (0.14..5.0).contains(&sum)), "{sum:?}");
    let lost = format!("outcomes_total{{{labels},outcome=\"lost\"}}");
    assert_eq!(metric(&router, &lost), Some(1.0));
    let code = format!("requests_total{{{labels},route=\"/a/x\",code=\"504\"}}");
    assert_eq!(metric(&router, &code), Some(1.0));
}
