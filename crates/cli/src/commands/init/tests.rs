//! A recorded Prometheus, asked over HTTP, and what is drafted from it.

use axum::{Json, Router, extract::Query, routing::get};
use serde_json::{Value, json};

use super::{draft::draft, survey::survey};
use crate::yaml;

fn answer(data: Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}

fn target(job: &str, at: &str, more: Value) -> Value {
    let mut labels = json!({ "job": job, "instance": at });
    labels
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "labels": labels, "scrapeUrl": format!("http://{at}/metrics"), "health": "up" })
}

fn series(name: &str) -> Value {
    match name {
        "http_requests_total" => json!([
            {"__name__": name, "job": "shop", "instance": "10.0.0.1:80", "status": "200", "version": "v1"},
            {"__name__": name, "job": "Cart_API", "instance": "10.0.0.3:80", "code": "200", "release": "x"},
        ]),
        "http_request_duration_seconds_bucket" => json!([
            {"__name__": name, "job": "shop", "instance": "10.0.0.1:80", "le": "0.1", "version": "v1"},
        ]),
        "cart_build_info" => json!([
            {"__name__": name, "job": "Cart_API", "instance": "10.0.0.3:80", "version": "1.2"},
        ]),
        "envoy_cluster_upstream_rq_xx" => json!([
            {"__name__": name, "job": "edge", "instance": "10.0.0.9:9901", "envoy_cluster_name": "till-v1"},
        ]),
        _ => json!([]),
    }
}

/// Serves what a Prometheus 2.42 answers; gives its URL.
async fn recorded(targets: Option<Value>) -> String {
    let names = json!([
        "up",
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "cart_build_info",
        "envoy_cluster_upstream_rq_xx",
        "promhttp_metric_handler_requests_total",
    ]);
    let series =
        |Query(asked): Query<Vec<(String, String)>>| async move { answer(series(&asked[0].1)) };
    let up = json!({"resultType": "vector", "result": [
        {"metric": {"__name__": "up", "job": "shop", "instance": "10.0.0.1:80"}, "value": [0, "1"]}]});
    let mut router = Router::new()
        .route("/api/v1/label/__name__/values", get(async || answer(names)))
        .route("/api/v1/query", get(async || answer(up)))
        .route("/api/v1/series", get(series));
    if let Some(targets) = targets {
        let data = json!({ "activeTargets": targets, "droppedTargets": [] });
        router = router.route("/api/v1/targets", get(async || answer(data)));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn text<'a>(draft: &'a super::draft::Draft, file: &str) -> &'a str {
    let found = draft.files.iter().find(|(name, _)| name == file);
    &found
        .unwrap_or_else(|| panic!("no {file} in {:?}", draft.files))
        .1
}

#[tokio::test]
async fn jobs_become_observed_services_with_their_instances_signals_and_grounds() {
    let lax = json!({ "datacenter": "LAX" });
    let targets = json!([
        target("shop", "10.0.0.1:80", lax.clone()),
        target("shop", "10.0.0.2:80", lax),
        target(
            "Cart_API",
            "10.0.0.3:80",
            json!({ "release": "from-the-target" })
        ),
        target("till", "10.0.0.4:80", json!({})),
        target("edge", "10.0.0.9:9901", json!({})),
    ]);
    let url = recorded(Some(targets)).await;
    let draft = draft(&survey(&url).await.unwrap());
    let names: Vec<&str> = draft.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "fabric-default.yaml",
            "fabric-lax.yaml",
            "service-cart-api.yaml",
            "service-shop.yaml",
            "service-till.yaml"
        ],
        "a proxy is no service, but counts for one"
    );
    for (name, text) in &draft.files {
        let all = yaml::parse(name, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(all.len(), 1);
    }
    let spec = |file: &str| {
        yaml::parse(file, text(&draft, file)).unwrap()[0]
            .spec
            .clone()
    };
    let shop = spec("service-shop.yaml");
    assert_eq!(shop["manage"], "observe");
    assert_eq!(shop["owner"], "unknown: fill in");
    assert_eq!(
        shop["observe"]["urls"],
        json!(["http://10.0.0.1:80", "http://10.0.0.2:80"])
    );
    assert_eq!(
        shop["observe"]["signals"],
        json!({"requests": {"selector": "http_requests_total{service=\"shop\"}", "codeLabel": "status",
            "versionLabel": "version"},
            "latency": {"selector": "http_request_duration_seconds_bucket{service=\"shop\"}"}})
    );
    assert!(text(&draft, "service-shop.yaml").contains("2 in fabric lax (label `datacenter`)"));
    let cart = spec("service-cart-api.yaml");
    assert_eq!(
        cart["observe"]["signals"]["version"],
        json!({"selector": "cart_build_info{service=\"cart-api\"}", "label": "version"}),
        "a label that Prometheus adds is not in what the instance says"
    );
    let till = spec("service-till.yaml");
    assert_eq!(till["observe"]["signals"], json!({ "from": "envoy" }));
    assert_eq!(
        till["observe"]["scrape"],
        json!(["http://10.0.0.9:9901/metrics"])
    );
    let missing: Vec<&[String]> = draft
        .services
        .iter()
        .map(|it| it.missing.as_slice())
        .collect();
    assert_eq!(missing[0], ["owner", "a histogram of latency"]);
    assert_eq!(missing[1], ["owner"]);
}

#[tokio::test]
async fn where_no_targets_are_listed_the_series_up_stands_in_for_them() {
    let url = recorded(None).await;
    let draft = draft(&survey(&url).await.unwrap());
    assert_eq!(draft.services.len(), 1);
    assert!(text(&draft, "service-shop.yaml").contains("- \"http://10.0.0.1:80\""));
}

#[tokio::test]
async fn a_file_that_exists_is_kept_and_then_nothing_is_written() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("b.yaml"), "mine").unwrap();
    let files = [("a.yaml", "new"), ("b.yaml", "new")].map(|(n, t)| (n.to_owned(), t.to_owned()));
    let mut args = super::Init {
        prometheus: String::new(),
        out: dir.path().to_owned(),
        overwrite: false,
    };
    let error = super::write(&args, &files).unwrap_err().to_string();
    assert!(
        error.contains("b.yaml") && error.contains("--overwrite"),
        "{error}"
    );
    assert!(!dir.path().join("a.yaml").exists());
    args.overwrite = true;
    super::write(&args, &files).unwrap();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("b.yaml")).unwrap(),
        "new"
    );
}
