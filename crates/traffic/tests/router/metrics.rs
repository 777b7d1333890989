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

#[tokio::test]
async fn requests_are_counted_by_the_version_of_their_client_wherever_it_says_it() {
    let upstream = Upstream::new(|head| {
        if head.contains("version: 8.0") {
            answer("500 Internal Server Error", "", "")
        } else {
            answer("200 OK", "", "")
        }
    })
    .await;
    let mut custom = only("b", 1_000, &[&upstream]);
    custom.client_version_header = "X-App-Version".to_owned();
    let router = routing(vec![only("a", 1_000, &[&upstream]), custom]).await;
    for (path, headers) in [
        ("/a/", "x-client-version: 8.0 (beta)\r\n"),
        ("/a/", "x-client-version: 8.1\r\nuser-agent: app/7\r\n"),
        ("/a/", "user-agent: app/7 (something; else)\r\n"),
        ("/a/", "x-client-version: \"}\r\n"),
        ("/a/", ""),
        ("/b/", "x-app-version: 8.0\r\nx-client-version: 9\r\n"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}");
        let _ = say(&router, &format!("{head}connection: close\r\n\r\n")).await;
    }
    let count = |service: &str, client: &str, code: &str| {
        let labels =
            format!("service=\"{service}\",version=\"v1\",client=\"{client}\",code=\"{code}\"");
        metric(&router, &format!("client_requests_total{{{labels}}}"))
    };
    for (service, client, code) in [
        ("a", "8.0", "5xx"),
        ("a", "8.1", "2xx"),
        ("a", "app/7", "2xx"),
        ("a", "other", "2xx"),
        ("a", "unknown", "2xx"),
        ("b", "8.0", "5xx"),
    ] {
        until(|| count(service, client, code) == Some(1.0)).await;
    }
    let all = router.metrics().matches("client_requests_total{").count();
    assert_eq!(all, 6);
}
