//! What is asked of each operation, and with which status it answers.

use serde_json::{Value, json};

use crate::site::Site;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) method: &'static str,
    /// As the document writes it.
    pub(crate) path: &'static str,
    /// As it is asked.
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
    pub(crate) status: u16,
    /// Asked on the port of OTLP.
    pub(crate) on_otlp_port: bool,
}

impl Case {
    fn new(method: &'static str, path: &'static str, url: impl Into<String>) -> Self {
        Self {
            method,
            path,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            status: 200,
            on_otlp_port: false,
        }
    }

    pub(crate) fn get(path: &str, url: impl Into<String>) -> Self {
        // Paths of helpers outlive nothing; only those of the table are looked up.
        let known = mainstay_server::operations().find(|it| it.path == path);
        Self::new("GET", known.map_or("", |it| it.path), url)
    }

    fn form(path: &'static str, body: &str) -> Self {
        let mut case = Self::new("POST", path, path);
        case.headers
            .push(("content-type", "application/x-www-form-urlencoded"));
        case.body = body.as_bytes().to_vec();
        case
    }

    fn post(path: &'static str, url: impl Into<String>, body: &Value) -> Self {
        let mut case = Self::new("POST", path, url);
        case.headers.push(("content-type", "application/json"));
        case.body = body.to_string().into_bytes();
        case
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn web_socket(path: &'static str) -> Self {
        Self::get(path, path)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .status(101)
    }
}

fn get(path: &str) -> Case {
    let plain = path.split('?').next().unwrap_or(path);
    Case::get(plain, path)
}

fn acted(site: &Site, verb: &str, body: &Value) -> Case {
    let url = format!("/api/v1/incidents/{}/{verb}", site.incident);
    Case::post("/api/v1/incidents/{id}/{verb}", url, body)
}

type Make = fn(&Site) -> Case;

/// In this order: later ones may use what earlier ones made.
pub(crate) const ALL: &[Make] = &[
    // Queries.
    |_| get("/api/v1/query?query=orders_total&stats=all"),
    |_| get("/api/v1/query?query=quantile(2,orders_total)"),
    |_| get("/api/v1/query?query=orders_total[1m]"),
    |_| get("/api/v1/query?query=%22text%22"),
    |_| get("/api/v1/query?query=sum(").status(400),
    |_| get("/api/v1/query?query=sum(rate(orders_total[1m]))&plan=estimate"),
    |_| get("/api/v1/query?query=up&plan=soon").status(400),
    |_| {
        get(
            "/api/v1/query_range?query=sum(rate(orders_total[1m]))&start=0&end=60&step=15&plan=analyze",
        )
    },
    |_| get("/api/v1/query?query=orders_total%2Bon()up").status(422),
    |_| Case::form("/api/v1/query", "query=1"),
    |_| get("/api/v1/query_range?query=rate(orders_total[1m])&start=1&end=9&step=1&stats=all"),
    |_| get("/api/v1/query_range?query=up").status(400),
    |_| {
        Case::form(
            "/api/v1/query_range",
            "query=vector(1)&start=0&end=60&step=15s",
        )
    },
    |_| get("/api/v1/query_exemplars?query=up"),
    |_| get("/api/v1/query_exemplars?query=up(").status(400),
    |_| Case::form("/api/v1/query_exemplars", "query=up"),
    |_| get("/api/v1/format_query?query=sum(up)by(job)"),
    |_| Case::form("/api/v1/format_query", "query=sum(").status(400),
    |_| get("/api/v1/parse_query?query=sum(up)"),
    |_| Case::form("/api/v1/parse_query", "query=rate(up[5m])"),
    |_| get("/api/v1/series?match[]=up&limit=1"),
    |_| get("/api/v1/series").status(400),
    |_| Case::form("/api/v1/series", "match[]=up"),
    |_| get("/api/v1/labels"),
    |_| Case::form("/api/v1/labels", "match[]=up"),
    |_| {
        Case::get(
            "/api/v1/label/{name}/values",
            "/api/v1/label/job/values?match[]=up",
        )
    },
    |_| get("/federate?match[]=up"),
    |_| get("/federate").status(400),
    |_| get("/api/v1/export?match[]=orders_total&start=0"),
    |_| get("/api/v1/export?match[]=up&start=0&format=csv").status(400),
    |_| get("/api/v1/export?match[]=up(&start=0").status(400),
    // What is scraped and evaluated.
    |_| get("/api/v1/metadata"),
    |_| get("/api/v1/metadata?limit=x").status(400),
    |_| get("/api/v1/targets"),
    |_| get("/api/v1/targets/metadata?metric=orders_total"),
    |_| get("/api/v1/targets/metadata?match_target=%7Bjob=%22shop%22%7D&limit=1"),
    |_| get("/api/v1/targets/metadata?match_target=%7B").status(400),
    |_| {
        get(
            "/api/v1/targets/relabel_steps?scrapePool=shop&labels=%7B%22__address__%22:%22dropped:1%22%7D",
        )
    },
    |_| get("/api/v1/targets/relabel_steps?scrapePool=nobody&labels=%7B%7D").status(400),
    |_| get("/api/v1/scrape_pools"),
    |_| get("/api/v1/rules"),
    |_| get("/api/v1/rules?type=alert&match[]=%7Bseverity=%22page%22%7D"),
    |_| get("/api/v1/rules?group_limit=1"),
    |_| get("/api/v1/rules?group_next_token=x").status(400),
    |_| get("/api/v1/alerts").header("accept-encoding", "gzip;q=0"),
    |_| get("/api/v1/alertmanagers"),
    // What runs.
    |_| get("/api/v1/status/config"),
    |_| get("/api/v1/status/flags"),
    |_| get("/api/v1/status/runtimeinfo"),
    |_| get("/api/v1/status/buildinfo"),
    |_| get("/api/v1/status/tsdb"),
    |_| get("/api/v1/status/walreplay"),
    |_| get("/api/v1/status/tenants?limit=3"),
    |_| get("/api/v1/status/copies"),
    |_| get("/-/healthy"),
    |_| get("/-/ready"),
    |_| Case::new("POST", "/-/reload", "/-/reload"),
    |_| Case::new("PUT", "/-/reload", "/-/reload"),
    |_| get("/metrics"),
    |_| get("/api/openapi.json"),
    // What others send.
    |_| {
        let mut case = Case::new("POST", "/api/v1/write", "/api/v1/write").status(204);
        case.headers
            .push(("content-type", "application/x-protobuf"));
        case.headers.push(("content-encoding", "snappy"));
        // An empty request, in snappy's block format.
        case.body = vec![0];
        case
    },
    |_| Case::new("POST", "/api/v1/write", "/api/v1/write").status(415),
    |_| {
        Case::post(
            "/api/v1/otlp/v1/metrics",
            "/api/v1/otlp/v1/metrics",
            &json!({}),
        )
    },
    |_| {
        let wrong = json!({ "resourceMetrics": 1 });
        Case::post("/api/v1/otlp/v1/metrics", "/api/v1/otlp/v1/metrics", &wrong).status(400)
    },
    |_| {
        let mut case = Case::new("POST", "/api/v1/read", "/api/v1/read");
        // Neither a query nor a type of answers, in snappy's block format.
        case.body = vec![0];
        case
    },
    |_| {
        let mut case = Case::new("POST", "/api/v1/read", "/api/v1/read");
        // STREAMED_XOR_CHUNKS are accepted.
        case.body = vec![2, 4, 0x10, 1];
        case
    },
    |_| Case::new("POST", "/api/v1/read", "/api/v1/read").status(400),
    |_| {
        let mut case = Case::post("/v1/metrics", "/v1/metrics", &json!({}));
        case.on_otlp_port = true;
        case
    },
    |_| {
        let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        let mut case = Case::new("POST", path, path).header("content-type", "application/grpc");
        // An empty message that is not packed.
        case.body = vec![0; 5];
        case
    },
    // What becomes of samples.
    |_| {
        let path = "/api/v1/admin/tsdb/delete_series";
        Case::new(
            "POST",
            path,
            format!("{path}?match[]=nothing_is_called_so&reason=test"),
        )
        .status(204)
    },
    |_| {
        let path = "/api/v1/admin/tsdb/delete_series";
        Case::new("PUT", path, path).status(400)
    },
    |_| {
        let path = "/api/v1/admin/tsdb/clean_tombstones";
        Case::new("POST", path, path).status(204)
    },
    |_| {
        let path = "/api/v1/admin/tsdb/clean_tombstones";
        Case::new("PUT", path, path).status(204)
    },
    |_| {
        Case::new(
            "POST",
            "/api/v1/admin/tsdb/snapshot",
            "/api/v1/admin/tsdb/snapshot",
        )
    },
    |_| {
        let path = "/api/v1/admin/tsdb/snapshot";
        Case::new("PUT", path, format!("{path}?skip_head=perhaps")).status(400)
    },
    |_| {
        let mut case = Case::new("POST", "/api/v1/import", "/api/v1/import");
        case.headers.push(("content-type", "text/plain"));
        case.body = b"imported_total 3 1700000000000\nimported_total 4\n".to_vec();
        case
    },
    |_| {
        let mut case = Case::new("POST", "/api/v1/import", "/api/v1/import");
        case.headers.push(("content-type", "text/plain"));
        case.body = b"no text\n".to_vec();
        case.status(400)
    },
    // The catalog.
    |_| {
        let guard = json!({ "apiVersion": "mainstay/v1", "kind": "Fabric", "metadata": { "name": "ord" }, "spec": {} });
        let body = json!({ "resources": [guard], "dryRun": true });
        Case::post("/api/v1/apply", "/api/v1/apply", &body)
    },
    |_| {
        let host = json!({ "apiVersion": "mainstay/v1", "kind": "Host", "metadata": { "name": "h2" }, "spec": { "fabric": "nowhere" } });
        Case::post(
            "/api/v1/apply",
            "/api/v1/apply",
            &json!({ "resources": [host] }),
        )
        .status(422)
    },
    |_| Case::get("/api/v1/resources/{kind}", "/api/v1/resources/services"),
    |_| Case::get("/api/v1/resources/{kind}", "/api/v1/resources/pods").status(404),
    |_| {
        Case::get(
            "/api/v1/resources/{kind}/{name}",
            "/api/v1/resources/Service/feed",
        )
    },
    |_| {
        Case::get(
            "/api/v1/resources/{kind}/{name}",
            "/api/v1/resources/Service/none",
        )
        .status(404)
    },
    |_| {
        let path = "/api/v1/resources/{kind}/{name}/delete";
        Case::post(
            path,
            "/api/v1/resources/Fabric/iad/delete",
            &json!({ "reason": "gone" }),
        )
    },
    |_| Case::get("/api/v1/schemas/{kind}", "/api/v1/schemas/Service"),
    // Changes.
    |_| get("/api/v1/changes?kind=apply&limit=2"),
    |_| get("/api/v1/changes?kind=BAD").status(400),
    |site| {
        Case::get(
            "/api/v1/changes/{id}",
            format!("/api/v1/changes/{}", site.first_change),
        )
    },
    |_| Case::get("/api/v1/changes/{id}", "/api/v1/changes/chg-none").status(404),
    |_| {
        let record = json!({ "title": "a switch was replaced", "reason": "it was broken", "services": ["feed"] });
        Case::post("/api/v1/changes/record", "/api/v1/changes/record", &record)
    },
    |_| {
        let order = json!({ "service": "nobody", "version": "v1" });
        Case::post("/api/v1/actions/{kind}", "/api/v1/actions/rollout", &order).status(404)
    },
    |_| {
        let order = json!({ "service": "shop", "reason": "as asked" });
        Case::post("/api/v1/actions/{kind}", "/api/v1/actions/restart", &order).status(422)
    },
    |site| {
        let path = "/api/v1/changes/{id}/{verb}";
        let url = format!("/api/v1/changes/{}/abort", site.change);
        Case::post(path, url, &json!({ "reason": "as asked" })).status(404)
    },
    // Views.
    |_| Case::get("/api/v1/views/{name}", "/api/v1/views/status"),
    |_| Case::get("/api/v1/views/{name}", "/api/v1/views/instances"),
    |_| Case::get("/api/v1/views/{name}", "/api/v1/views/shadow"),
    |_| Case::get("/api/v1/views/{name}/{key}", "/api/v1/views/shadow/shop"),
    |_| Case::get("/api/v1/views/{name}/{key}", "/api/v1/views/shadow/none").status(404),
    |_| get("/api/v1/monitors"),
    // Who is on call.
    |_| get("/api/v1/oncall"),
    |_| get("/api/v1/oncall?schedule=feed&severity=p0&at=2026-03-29T01:30:00Z"),
    |_| get("/api/v1/oncall?at=soon").status(400),
    |_| get("/api/v1/oncall?schedule=none").status(404),
    |_| get("/api/v1/oncall/gaps?until=4102444800000&from=4099766400000"),
    |_| get("/api/v1/oncall/gaps?from=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z").status(422),
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "person": "bob", "until": "2100-01-01T00:00:00Z" });
        Case::post(path, "/api/v1/oncall/schedules/feed/override", &order).status(422)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "person": "bob", "role": "manager", "from": 4_102_444_800_000_u64,
            "until": 4_102_448_400_000_u64, "reason": "as asked" });
        Case::post(path, "/api/v1/oncall/schedules/feed/override", &order)
    },
    |site| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "change": site.change });
        Case::post(path, "/api/v1/oncall/schedules/feed/withdraw", &order)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "person": "alice", "with": "bob", "from": 4_102_444_800_000_u64,
            "until": 4_102_531_200_000_u64 });
        Case::post(path, "/api/v1/oncall/schedules/feed/swap", &order)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "person": "bob", "role": "secondary" });
        Case::post(path, "/api/v1/oncall/schedules/feed/take", &order).status(409)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        let order = json!({ "calendar": "BEGIN:VCALENDAR" });
        Case::post(path, "/api/v1/oncall/schedules/feed/import", &order).status(422)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}/{verb}";
        Case::post(path, "/api/v1/oncall/schedules/feed/dance", &json!({})).status(404)
    },
    |_| {
        let path = "/api/v1/oncall/schedules/{name}";
        Case::get(
            path,
            "/api/v1/oncall/schedules/feed?from=4102444800000&until=4102531200000",
        )
    },
    |_| {
        Case::get(
            "/api/v1/oncall/schedules/{name}",
            "/api/v1/oncall/schedules/feed.ics",
        )
    },
    |_| {
        Case::get(
            "/api/v1/oncall/schedules/{name}",
            "/api/v1/oncall/schedules/none.ics",
        )
        .status(404)
    },
    |_| {
        Case::get(
            "/api/v1/oncall/people/{name}",
            "/api/v1/oncall/people/alice?role=primary",
        )
    },
    |_| {
        Case::get(
            "/api/v1/oncall/people/{name}",
            "/api/v1/oncall/people/bob.ics",
        )
    },
    |_| Case::get("/api/v1/oncall/people/{name}", "/api/v1/oncall/people/none").status(404),
    // Incidents.
    |_| {
        let body = json!({ "title": "the shop is slow", "policy": "web", "severity": "P1", "reason": "as asked" });
        Case::post("/api/v1/incidents", "/api/v1/incidents", &body)
    },
    |_| {
        let body = json!({ "title": "the shop is slow", "policy": "nobody" });
        Case::post("/api/v1/incidents", "/api/v1/incidents", &body).status(422)
    },
    |_| get("/api/v1/incidents?status=triggered&severity=P1&limit=5"),
    |_| get("/api/v1/incidents?status=dancing").status(422),
    |site| {
        Case::get(
            "/api/v1/incidents/{id}",
            format!("/api/v1/incidents/{}", site.incident),
        )
    },
    |_| Case::get("/api/v1/incidents/{id}", "/api/v1/incidents/inc-none").status(404),
    |site| acted(site, "acknowledge", &json!({ "via": "test" })),
    |site| acted(site, "escalate", &json!({ "reason": "more eyes" })),
    |site| {
        acted(
            site,
            "severity",
            &json!({ "severity": "P0", "reason": "worse" }),
        )
    },
    |site| acted(site, "role", &json!({ "role": "scribe", "person": "bob" })),
    |site| {
        acted(
            site,
            "task",
            &json!({ "text": "raise the limit", "assignee": "bob" }),
        )
    },
    |site| acted(site, "finish", &json!({ "task": 1 })),
    |site| acted(site, "finish", &json!({ "task": 9 })).status(409),
    |site| {
        acted(
            site,
            "note",
            &json!({ "text": "p99 is 3 s", "kind": "measurement" }),
        )
    },
    |site| acted(site, "relate", &json!({ "incident": "inc-other" })).status(404),
    |site| acted(site, "resolve", &json!({ "reason": "rolled back" })),
    |site| acted(site, "escalate", &json!({})).status(409),
    |site| acted(site, "reopen", &json!({ "reason": "not yet" })),
    |site| acted(site, "dance", &json!({})).status(404),
    |site| acted(site, "role", &json!({ "role": "king" })).status(422),
    |_| {
        Case::get(
            "/api/v1/acknowledge/{token}",
            "/api/v1/acknowledge/inc-1~0~alice~00",
        )
        .status(404)
    },
    |_| {
        Case::new(
            "POST",
            "/api/v1/acknowledge/{token}",
            "/api/v1/acknowledge/inc-1~0~alice~00",
        )
        .status(404)
    },
    |_| {
        let alerts =
            json!([{ "labels": { "alertname": "Slow", "team": "web", "severity": "page" } }]);
        Case::post("/api/v2/alerts", "/api/v2/alerts", &alerts)
    },
    |_| Case::post("/api/v2/alerts", "/api/v2/alerts", &json!({ "alerts": 1 })).status(400),
    // The ledger.
    |_| get("/api/v1/ledger?since=1&limit=2"),
    |_| get("/api/v1/ledger?since=x").status(400),
    |_| get("/api/v1/ledger/feed"),
    |_| get("/api/v1/ledger/verify"),
    // Streams.
    |_| Case::web_socket("/api/v1/streams/agent"),
    |_| Case::web_socket("/api/v1/streams/router"),
];
