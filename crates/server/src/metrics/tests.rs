use std::sync::Mutex;

use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
};
use mainstay_core::{
    Actor, Append, ChangeId, Entry, HostName, ServiceName, StreamId,
    ports::{
        BoxFuture, Changes, Clock, Declined, Identity, InstanceCounts, Ledger, LedgerError, No,
        Tables, TokenHolder, Views,
    },
};
use mainstay_ekg::{
    Ekg,
    adapter::{Known, Writer},
};
use mainstay_tsdb::{Head, HeadLimits, Labels};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::{Access, Intake, Streams, router};

/// Nothing but a clock that stands at 100 s.
struct Nothing;

fn no<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, LedgerError>> {
    Box::pin(async { Err(LedgerError::Unavailable("none".to_owned())) })
}

fn declined<'a>() -> BoxFuture<'a, Result<String, Declined>> {
    Box::pin(async { Err(Declined::new(No::Unavailable, "none", "none", "none")) })
}

impl Clock for Nothing {
    fn now(&self) -> Time {
        Time::from_millis(100_000)
    }
}

impl Ledger for Nothing {
    fn append(&self, _: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        no()
    }
    fn since(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        no()
    }
    fn stream<'a>(&'a self, _: &'a StreamId) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        no()
    }
}

impl Tables for Nothing {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>> {
        no()
    }
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, LedgerError>> {
        no()
    }
}

impl Identity for Nothing {
    fn holder<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>> {
        no()
    }
}

impl Changes for Nothing {
    fn propose(&self, _: String, _: Actor, _: String) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
    fn ready(&self) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async {
            let what = "the ledger's disk is full";
            Err(Declined::new(
                No::Unavailable,
                "ledger-unwritable",
                what,
                "free some",
            ))
        })
    }
    fn may_stop(&self, _: Vec<ServiceName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn may_scale(
        &self,
        _: Vec<(ServiceName, InstanceCounts)>,
    ) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn may_leave(&self, _: Vec<HostName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async { Ok(()) })
    }
    fn steer(
        &self,
        _: ChangeId,
        _: String,
        _: Actor,
        _: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
}

impl crate::Rules for Nothing {
    fn groups(&self, asked: crate::RulesAsked) -> Value {
        json!({ "kind": asked.kind, "rules": asked.rules })
    }
    fn alerts(&self) -> Value {
        Value::Null
    }
    fn alertmanagers(&self) -> Value {
        Value::Null
    }
    fn reload(&self) -> Result<(), String> {
        Err("rules.yml:3:5: a group needs a name".to_owned())
    }
}

impl crate::Incidents for Nothing {
    fn flaws(
        &self,
        _: &mainstay_core::Name,
        _: &mainstay_core::escalation::EscalationPolicySpec,
    ) -> Vec<mainstay_core::flaw::SpecFlaw> {
        Vec::new()
    }
    fn list(&self, _: crate::IncidentsAsked) -> BoxFuture<'_, Result<Vec<Value>, Declined>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn show(&self, _: ChangeId) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn open(&self, _: Actor, _: Value) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn act(
        &self,
        _: Actor,
        _: ChangeId,
        _: String,
        _: Value,
    ) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
    fn alerts(&self, _: Bytes) -> BoxFuture<'_, Result<Vec<String>, Declined>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn linked(&self, _: &str) -> Result<Value, Declined> {
        Err(no_incident())
    }
    fn acknowledge(&self, _: String) -> BoxFuture<'_, Result<Value, Declined>> {
        Box::pin(async { Err(no_incident()) })
    }
}

fn no_incident() -> Declined {
    Declined::new(No::Unknown, "unknown-incident", "there is none", "open one")
}

impl crate::Monitors for Nothing {
    fn report(&self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async { Err("the catalog cannot be read".to_owned()) })
    }
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

impl crate::Oncall for Nothing {
    fn flaws(
        &self,
        _: &mainstay_core::Name,
        _: &mainstay_core::catalog::Spec,
        _: &[mainstay_core::Name],
    ) -> Vec<mainstay_core::flaw::SpecFlaw> {
        Vec::new()
    }
    fn ask(
        &self,
        _: crate::OncallOf,
        _: crate::OncallAsked,
    ) -> BoxFuture<'_, Result<crate::OncallAnswer, Declined>> {
        Box::pin(async { Ok(crate::OncallAnswer::Json("{}".to_owned())) })
    }
    fn order(
        &self,
        _: mainstay_core::Name,
        _: String,
        _: Actor,
        _: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        declined()
    }
}

impl Views for Nothing {
    fn view<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }
}

impl Streams for Nothing {
    fn attend(&self, _: mpsc::Receiver<String>, _: mpsc::Sender<String>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Monitoring that waits for the test where the expression says so, and dies where it says so.
struct Asked {
    ekg: Ekg,
    known: Known,
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
    waiting: watch::Sender<usize>,
}

impl crate::Gauges for Nothing {
    fn gauges(&self) -> Vec<crate::Gauge> {
        let peers = |kind: &str| vec![("kind", kind.to_owned())];
        let gauge = |kind, value| crate::Gauge::new("mainstay_peers", "Peers.", peers(kind), value);
        vec![gauge("agent", 2.0), gauge("router", 1.0)]
    }
}

impl crate::Upkeep for Nothing {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }
    fn delete(&self, _: Vec<String>, _: Window) -> BoxFuture<'_, Result<(), crate::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn clean(&self) -> BoxFuture<'_, Result<(), crate::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn snapshot(&self, _: String, _: bool) -> BoxFuture<'_, Result<(), crate::Undone>> {
        Box::pin(async { Ok(()) })
    }
    fn import(
        &self,
        _: axum::http::Request<axum::body::Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<axum::body::Bytes>> {
        Box::pin(async { axum::http::Response::default() })
    }
    fn copies(&self) -> Value {
        Value::Null
    }
}

/// One request of remote read.
struct Reading {
    ekg: Ekg,
    request: mainstay_ekg::read::Request,
}

impl crate::Reading for Reading {
    fn is_streamed(&self) -> bool {
        self.request.is_streamed()
    }
    fn read(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<(), String> {
        let read = self.ekg.remote_read(&self.request, take);
        read.map_err(|error| error.to_string())
    }
}

fn computed_on(terms: &Terms) -> mainstay_ekg::Terms {
    mainstay_ekg::Terms {
        within: terms.within,
        gone: terms.gone.clone(),
        stats: match terms.stats.as_str() {
            "" => mainstay_ekg::Stats::None,
            "all" => mainstay_ekg::Stats::All,
            _ => mainstay_ekg::Stats::Sums,
        },
        analyze: terms.plan == crate::PlanAsked::Analyze,
    }
}

fn sent(shown: mainstay_ekg::Shown) -> Answer {
    Answer {
        envelope: shown.envelope,
        series: shown.series,
    }
}

impl Queries for Asked {
    fn query(&self, expr: &str, at: Time, terms: &Terms) -> Answer {
        match expr {
            "wait" => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                let gate = self.gate.lock().unwrap();
                gate.recv().unwrap();
                sent(self.ekg.query("1", at))
            }
            "die" => panic!("as asked"),
            _ => sent(self.ekg.on(computed_on(terms)).query(expr, at)),
        }
    }
    fn query_range(&self, expr: &str, window: Window, step: Span, terms: &Terms) -> Answer {
        let Window { start, end } = window;
        let ekg = self.ekg.on(computed_on(terms));
        sent(ekg.query_range(expr, start, end, step))
    }
    fn check(&self, expr: &str) -> Result<(), String> {
        let answer = self.ekg.query(expr, Nothing.now()).json();
        answer["error"]
            .as_str()
            .map_or(Ok(()), |wrong| Err(wrong.to_owned()))
    }
    fn format_query(&self, expr: &str) -> Value {
        self.ekg.format_query(expr)
    }
    fn parse_query(&self, expr: &str) -> Value {
        self.ekg.parse_query(expr)
    }
    fn query_exemplars(&self, expr: &str, window: Window) -> Value {
        self.ekg.query_exemplars(expr, window.start, window.end)
    }
    fn series(&self, selectors: &[&str], window: Window) -> Value {
        self.ekg.series(selectors, window.start, window.end)
    }
    fn labels(&self, selectors: &[&str], window: Window) -> Value {
        self.ekg.labels(selectors, window.start, window.end)
    }
    fn label_values(&self, name: &str, selectors: &[&str], window: Window) -> Value {
        let (start, end) = (window.start, window.end);
        self.ekg.label_values(name, selectors, start, end)
    }
    fn metadata(
        &self,
        metric: Option<&str>,
        limit: Option<usize>,
        per_metric: Option<usize>,
    ) -> Value {
        self.known.metadata.listed(metric, limit, per_metric)
    }
    fn targets(&self, pool: &str) -> Value {
        self.known.pools.listed(pool)
    }
    fn target_metadata(&self, selector: &str, metric: &str, limit: Option<usize>) -> Value {
        self.known.target_metadata(selector, metric, limit)
    }
    fn relabel_steps(&self, pool: &str, labels: &str) -> Value {
        self.known.relabel_steps(pool, labels)
    }
    fn pools(&self) -> Vec<String> {
        self.known.pools.names()
    }
    fn export(&self, _: &[&str], _: Window) -> Result<Box<dyn crate::Reading>, String> {
        Err("nothing is exported".to_owned())
    }
    fn remote_read(&self, body: &[u8]) -> Result<Box<dyn crate::Reading>, String> {
        let request =
            mainstay_ekg::read::Request::decode(body).map_err(|error| error.to_string())?;
        Ok(Box::new(Reading {
            ekg: self.ekg.clone(),
            request,
        }))
    }
    fn federate(&self, selectors: &[&str], at: Time) -> Result<String, Value> {
        self.ekg.federate(selectors, at)
    }
    fn cardinality(&self, limit: usize) -> Value {
        self.ekg.cardinality(limit, Nothing.now())
    }
    fn retention(&self) -> Span {
        Span::from_secs(7_200)
    }
    fn refused(&self) -> Vec<(&'static str, u64)> {
        vec![("duplicate-time", 3)]
    }
}

/// The real intake, which writes into the head that answers.
struct Taking(mainstay_ekg::adapter::Intake);

impl Intake for Taking {
    fn remote_write(&self, request: Request<Bytes>) -> BoxFuture<'_, axum::http::Response<Bytes>> {
        Box::pin(self.0.remote_write(request))
    }
    fn otlp(&self, request: Request<Bytes>) -> BoxFuture<'_, axum::http::Response<Bytes>> {
        Box::pin(self.0.otlp(request))
    }
    fn otlp_call(&self, request: Request<Bytes>) -> BoxFuture<'_, axum::http::Response<Bytes>> {
        Box::pin(self.0.otlp_call(request))
    }
    fn received(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0.received().listed()
    }
}

struct Server {
    router: Router,
    leader: watch::Sender<crate::Leader>,
    open: std::sync::mpsc::Sender<()>,
    waiting: watch::Receiver<usize>,
}

/// A server whose head has `up` of `a` (1) and `b` (0) from 1 s to 100 s.
fn server() -> Server {
    let mut head = Head::new(HeadLimits::default());
    for seconds in 1..=100 {
        for (instance, value) in [("a", 1.0), ("b", 0.0)] {
            let labels = [("__name__", "up"), ("instance", instance)];
            let labels = Labels::from_pairs(labels).unwrap();
            head.append(&labels, seconds * 1_000, value).unwrap();
        }
    }
    let (open, gate) = std::sync::mpsc::channel();
    let (wait, waiting) = watch::channel(0);
    let nothing = Arc::new(Nothing);
    let ekg = Ekg::over(head.tsdb());
    let known = Known::default();
    let (writer, writing) = Writer::new(ekg.clone(), head, CancellationToken::new());
    tokio::spawn(writing);
    let intake = mainstay_ekg::adapter::Intake::new(
        writer,
        nothing.clone(),
        known.metadata.clone(),
        mainstay_ekg::otlp::OtlpSettings::default(),
    );
    let (leader, leads) = watch::channel(crate::Leader::Here);
    let app = App {
        leader: leads,
        gauges: nothing.clone(),
        config: "scrape: []\n".into(),
        ledger: nothing.clone(),
        tables: nothing.clone(),
        identity: nothing.clone(),
        clock: nothing.clone(),
        next_change_id: Arc::new(|| ChangeId::new("chg-a").unwrap()),
        newest: watch::channel(42).1,
        access: Access::OpenOnLoopback,
        changes: nothing.clone(),
        views: nothing.clone(),
        intake: Arc::new(Taking(intake)),
        queries: Arc::new(Asked {
            ekg,
            known,
            gate: Mutex::new(gate),
            waiting: wait,
        }),
        upkeep: nothing.clone(),
        rules: nothing.clone(),
        monitors: nothing.clone(),
        incidents: nothing.clone(),
        oncall: nothing.clone(),
        agents: nothing.clone(),
        routers: nothing,
    };
    Server {
        router: router(app),
        leader,
        open,
        waiting,
    }
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String, Response<()>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (parts.status, text, Response::from_parts(parts, ()))
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "127.0.0.1:7070");
    request.body(Body::empty()).unwrap()
}

async fn ask(server: &Server, path: &str) -> (u16, Value) {
    let (status, text, _) = send(&server.router, get(path)).await;
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_query_is_answered_now_or_at_its_time() {
    let server = server();
    let (code, answer) = ask(&server, "/api/v1/query?query=up%3E0&unknown=1").await;
    assert_eq!(code, 200);
    let expected = json!({ "status": "success", "data": { "resultType": "vector", "result": [
        { "metric": { "__name__": "up", "instance": "a" }, "value": [100, "1"] },
    ] } });
    assert_eq!(answer, expected);
    let at = "/api/v1/query?query=up&time=1970-01-01T00:00:02.5Z&limit=1";
    let (_, answer) = ask(&server, at).await;
    assert_eq!(answer["data"]["result"][0]["value"][0], 2.5);
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(
        answer["warnings"],
        json!(["results truncated due to limit"])
    );
    let (_, answer) = ask(&server, "/api/v1/query?query=1&limit=1").await;
    assert_eq!(answer["data"]["result"], json!([100, "1"]));
}

#[tokio::test]
async fn whoever_asks_whether_it_is_ready_hears_what_keeps_it_from_its_work() {
    let server = server();
    let (code, answer) = ask(&server, "/-/ready").await;
    assert_eq!(code, 503);
    assert_eq!(
        (&answer["code"], &answer["title"], &answer["remedy"]),
        (
            &json!("ledger-unwritable"),
            &json!("the ledger's disk is full"),
            &json!("free some")
        )
    );
}

#[tokio::test]
async fn a_posted_form_is_a_query_too() {
    let server = server();
    let request = Request::post("/api/v1/query_range")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("query=sum(up)&start=10&end=20&step=5s"))
        .unwrap();
    let (status, text, _) = send(&server.router, request).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let values = json!([[10, "1"], [15, "1"], [20, "1"]]);
    assert_eq!(answer["data"]["result"][0]["values"], values);
}

#[tokio::test]
async fn a_query_is_formatted_and_parsed_and_a_wrong_one_names_its_place() {
    let server = server();
    let (code, answer) = ask(&server, "/api/v1/format_query?query=sum(%20up)by(job)").await;
    assert_eq!((code, &answer["data"]), (200, &json!("sum by (job) (up)")));
    let (code, answer) = ask(&server, "/api/v1/parse_query?query=-up").await;
    assert_eq!((code, &answer["data"]["type"]), (200, &json!("unaryExpr")));
    for route in ["format_query", "parse_query"] {
        let (code, answer) = ask(&server, &format!("/api/v1/{route}?query=sum(")).await;
        assert_eq!((code, &answer["errorType"]), (400, &json!("bad_data")));
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with("1:5: "), "{error}");
    }
}

#[tokio::test]
async fn a_leaders_routes_say_who_leads_and_reads_go_on_where_another_server_does() {
    let server = server();
    let leader = &server.leader;
    leader.send_replace(crate::Leader::At("http://a".to_owned()));
    let apply = || {
        Request::post("/api/v1/apply")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .unwrap()
    };
    let (status, text, response) = send(&server.router, apply()).await;
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (503, &json!("standby"))
    );
    assert!(
        problem["title"]
            .as_str()
            .unwrap()
            .contains("http://a leads"),
        "{text}"
    );
    assert_eq!(response.headers()["retry-after"], "2");
    let (status, _) = ask(&server, "/api/v1/query?query=up").await;
    assert_eq!(status, 200);
    leader.send_replace(crate::Leader::Here);
    let (status, text, _) = send(&server.router, apply()).await;
    assert_eq!(status, 422, "its body is read now: {text}");
}

#[tokio::test]
async fn series_and_labels_are_listed_by_repeated_selectors() {
    let server = server();
    let two = "match[]=up{instance=%22a%22}&match%5B%5D=up{instance=%22b%22}";
    let two = two.replace('{', "%7B").replace('}', "%7D");
    let (code, answer) = ask(&server, &format!("/api/v1/series?{two}")).await;
    assert_eq!((code, answer["data"].as_array().unwrap().len()), (200, 2));
    let (_, answer) = ask(&server, &format!("/api/v1/series?{two}&limit=1&start=99")).await;
    assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    let (_, answer) = ask(&server, "/api/v1/labels").await;
    assert_eq!(answer["data"], json!(["__name__", "instance"]));
    let (_, answer) = ask(&server, "/api/v1/label/instance/values?match[]=up").await;
    assert_eq!(answer["data"], json!(["a", "b"]));
}

#[tokio::test]
async fn errors_have_the_types_and_codes_of_prometheus() {
    let server = server();
    let range = "/api/v1/query_range?query=up";
    let asked = [
        ("/api/v1/query?query=up%7B".to_owned(), 400, "bad_data"),
        ("/api/v1/query".to_owned(), 400, "bad_data"),
        ("/api/v1/query?query=up&time=x".to_owned(), 400, "bad_data"),
        (
            "/api/v1/query?query=up&limit=-1".to_owned(),
            400,
            "bad_data",
        ),
        (
            "/api/v1/query?query=up%2Bon()up".to_owned(),
            422,
            "execution",
        ),
        (range.to_owned(), 400, "bad_data"),
        (format!("{range}&start=2&end=1&step=1"), 400, "bad_data"),
        (format!("{range}&start=1&end=2&step=0"), 400, "bad_data"),
        (format!("{range}&start=1&end=11001&step=1"), 400, "bad_data"),
        ("/api/v1/series".to_owned(), 400, "bad_data"),
        ("/api/v1/metadata?limit=x".to_owned(), 400, "bad_data"),
        (
            "/api/v1/query_exemplars?query=up%7B".to_owned(),
            400,
            "bad_data",
        ),
        ("/api/v1/query?query=die".to_owned(), 500, "internal"),
    ];
    for (path, code, kind) in asked {
        let (got, answer) = ask(&server, &path).await;
        assert_eq!((got, &answer["status"]), (code, &json!("error")), "{path}");
        assert_eq!(answer["errorType"], kind, "{path}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|e| !e.is_empty()));
        assert!(answer.get("data").is_none(), "{path}: {answer}");
    }
    let most = format!("{range}&start=1&end=11000&step=1");
    assert_eq!(ask(&server, &most).await.0, 200);
}

#[tokio::test]
async fn one_query_too_many_is_refused_and_counted_and_room_comes_back() {
    let server = server();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..QUERIES_AT_ONCE {
        let router = server.router.clone();
        waiting.spawn(async move { send(&router, get("/api/v1/query?query=wait")).await.0 });
    }
    let mut waits = server.waiting.clone();
    let all = waits.wait_for(|waiting| *waiting == QUERIES_AT_ONCE);
    let deadline = std::time::Duration::from_secs(10);
    tokio::time::timeout(deadline, all).await.unwrap().unwrap();
    let (status, text, response) = send(&server.router, get("/api/v1/query?query=1")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{text}");
    assert_eq!(response.headers()["retry-after"], "1");
    for _ in 0..QUERIES_AT_ONCE {
        server.open.send(()).unwrap();
    }
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(ask(&server, "/api/v1/query?query=1").await.0, 200);
    let (_, text, _) = send(&server.router, get("/metrics")).await;
    assert!(
        text.contains("\nmainstay_queries_refused_total 1\n"),
        "{text}"
    );
}

#[tokio::test]
async fn the_server_measures_itself_in_a_format_its_own_scraper_reads() {
    let server = server();
    ask(&server, "/api/v1/query?query=1").await;
    ask(&server, "/api/v1/query?query=up%7B").await;
    send(&server.router, get("/made/up")).await;
    let (status, text, _) = send(&server.router, get("/metrics")).await;
    assert_eq!(status, 200);
    let seen =
        mainstay_ekg::text::scan(text.as_bytes(), &mainstay_ekg::text::TextLimits::default())
            .unwrap();
    let value = |wanted: &str| {
        let all: Vec<String> = seen.samples.iter().map(ToString::to_string).collect();
        let found = all.iter().find_map(|line| line.strip_prefix(wanted));
        let value: f64 = found
            .unwrap_or_else(|| panic!("{wanted} in {all:?}"))
            .trim()
            .parse()
            .unwrap();
        value
    };
    let requests = "mainstay_http_requests_total";
    assert_eq!(
        value(&format!(
            "{requests}{{route=\"/api/v1/query\",code=\"200\"}}"
        )),
        1.0
    );
    assert_eq!(
        value(&format!(
            "{requests}{{route=\"/api/v1/query\",code=\"400\"}}"
        )),
        1.0
    );
    assert_eq!(
        value(&format!("{requests}{{route=\"none\",code=\"404\"}}")),
        1.0
    );
    assert_eq!(value("mainstay_query_seconds_count"), 2.0);
    assert_eq!(value("mainstay_query_seconds_bucket{le=\"+Inf\"}"), 2.0);
    assert_eq!(value("mainstay_ledger_entries"), 42.0);
    assert_eq!(
        value("mainstay_samples_refused_total{reason=\"duplicate-time\"}"),
        3.0
    );
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_start_time_seconds") > 1e9);
}

#[tokio::test]
async fn what_dashboards_ask_first_is_answered() {
    let server = server();
    let (_, answer) = ask(&server, "/api/v1/status/buildinfo").await;
    assert_eq!(answer["data"]["application"], "mainstay");
    assert_eq!(answer["data"]["version"], env!("CARGO_PKG_VERSION"));
    let (_, answer) = ask(&server, "/api/v1/metadata?limit=1").await;
    assert_eq!(answer, json!({ "status": "success", "data": {} }));
}

#[tokio::test]
async fn a_query_ends_when_who_asks_waits_no_longer() {
    let server = server();
    let (status, answer) = ask(&server, "/api/v1/query?query=up&timeout=30s").await;
    assert_eq!((status, &answer["status"]), (200, &json!("success")));
    for path in [
        "query?query=up",
        "query_range?query=up&start=40&end=100&step=10",
    ] {
        let (status, answer) = ask(&server, &format!("/api/v1/{path}&timeout=0")).await;
        assert_eq!(
            (status, &answer["errorType"]),
            (503, &json!("timeout")),
            "{answer}"
        );
        let (status, answer) = ask(&server, &format!("/api/v1/{path}&timeout=soon")).await;
        assert_eq!((status, &answer["errorType"]), (400, &json!("bad_data")));
    }
}

#[tokio::test]
async fn what_an_answer_may_hide_is_said_beside_it_with_its_place() {
    let server = server();
    let (_, answer) = ask(&server, "/api/v1/query?query=quantile(2,up)").await;
    let said = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)";
    assert_eq!(answer["warnings"], json!([said]), "{answer}");
    assert_eq!(answer["infos"], Value::Null);
    let (_, answer) = ask(
        &server,
        "/api/v1/query_range?query=rate(up[1m])&start=40&end=100&step=60",
    )
    .await;
    let said = answer["infos"][0].as_str().unwrap_or_default();
    assert!(said.contains("might not be a counter"), "{answer}");
}

/// Field `number` of a message, holding bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    field.extend(bytes);
    field
}

/// A request of remote write 1.0 with one sample of `name` at each of `times_ms`, in snappy's block format.
fn written(name: &str, times_ms: &[u8]) -> Vec<u8> {
    let label = [field(1, b"__name__"), field(2, name.as_bytes())].concat();
    let mut series = field(1, &label);
    for at_ms in times_ms {
        series.extend(field(
            2,
            &[&[0x09_u8][..], &3_f64.to_le_bytes(), &[0x10, *at_ms]].concat(),
        ));
    }
    let message = field(1, &series);
    // One literal: its length of the whole, then in the tag.
    let length = u8::try_from(message.len()).unwrap();
    [&[length, 60 << 2, length - 1][..], &message].concat()
}

fn write(body: Vec<u8>, content_type: &str) -> Request<Body> {
    Request::post("/api/v1/write")
        .header("host", "localhost")
        .header("content-type", content_type)
        .header("content-encoding", "snappy")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn remote_write_writes_what_is_good_and_counts_what_is_not() {
    let server = server();
    let protobuf = "application/x-protobuf";
    let (status, text, response) = send(
        &server.router,
        write(written("sent", &[100, 101]), protobuf),
    )
    .await;
    assert_eq!((status.as_u16(), text.as_str()), (204, ""));
    let samples = "x-prometheus-remote-write-samples-written";
    assert_eq!(response.headers()[samples], "2");
    let (_, answer) = ask(&server, "/api/v1/query?query=sent&time=0.101").await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "3");

    let partly = write(written("sent", &[99, 102]), protobuf);
    let (status, text, response) = send(&server.router, partly).await;
    assert_eq!(status, 400);
    assert_eq!(response.headers()[samples], "1");
    assert!(
        text.contains("1 samples are written") && text.contains("1 out-of-order"),
        "{text}"
    );
    let (status, text, _) = send(&server.router, write(b"\x05ab".to_vec(), protobuf)).await;
    assert_eq!(status, 400, "{text}");
    let (status, text, _) = send(&server.router, write(Vec::new(), "text/plain")).await;
    assert_eq!(status, 415, "{text}");
    let (_, text, _) = send(&server.router, get("/metrics")).await;
    for (outcome, count) in [("written", 3), ("out-of-order", 1)] {
        let labels = format!("by=\"remote-write-1\",outcome=\"{outcome}\"");
        let line = format!("\nmainstay_received_total{{{labels}}} {count}\n");
        assert!(text.contains(&line), "{text}");
    }
}

fn otlp(body: Vec<u8>, content_type: &str, encoding: &str) -> Request<Body> {
    Request::post("/api/v1/otlp/v1/metrics")
        .header("host", "localhost")
        .header("content-type", content_type)
        .header("content-encoding", encoding)
        .body(Body::from(body))
        .unwrap()
}

/// A gauge at each of these times, and a level told by its changes, which has no place; in JSON.
fn gauge(times_ms: &[u64]) -> Vec<u8> {
    let point =
        |at_ms: &u64| json!({ "asInt": "7", "timeUnixNano": (at_ms * 1_000_000).to_string() });
    let points: Vec<Value> = times_ms.iter().map(point).collect();
    let metrics = json!([
        { "name": "queue.length", "gauge": { "dataPoints": points } },
        { "name": "level", "sum": { "aggregationTemporality": 1, "dataPoints": [{}] } },
    ]);
    let service = json!({ "key": "service.name", "value": { "stringValue": "cart" } });
    let resource = json!({ "attributes": [service] });
    let resource = json!({ "resource": resource, "scopeMetrics": [{ "metrics": metrics }] });
    let request = json!({ "resourceMetrics": [resource] });
    request.to_string().into_bytes()
}

#[tokio::test]
async fn otlp_is_written_and_answered_in_the_encoding_it_came_in() {
    use std::io::Write as _;
    let server = server();
    let json = "application/json";
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&gauge(&[100, 101, 99])).unwrap();
    let packed = otlp(packer.finish().unwrap(), json, "gzip");
    let (status, text, response) = send(&server.router, packed).await;
    assert_eq!(
        (status.as_u16(), &response.headers()["content-type"]),
        (200, &json.parse().unwrap())
    );
    let answer: Value = serde_json::from_str(&text).unwrap();
    let partial = &answer["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "2", "{text}");
    let why = partial["errorMessage"].as_str().unwrap_or_default();
    assert!(why.starts_with("1 delta-level, 1 out-of-order"), "{text}");
    let (_, answer) = ask(&server, "/api/v1/query?query=queue_length&time=0.101").await;
    let found = &answer["data"]["result"][0];
    assert_eq!(
        (&found["metric"]["job"], &found["value"][1]),
        (&json!("cart"), &json!("7"))
    );

    let protobuf = "application/x-protobuf";
    let (status, text, _) = send(&server.router, otlp(Vec::new(), protobuf, "")).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, ""));
    let (status, text, response) = send(&server.router, otlp(vec![b'x'], protobuf, "")).await;
    assert_eq!(
        (status.as_u16(), &response.headers()["content-type"]),
        (400, &protobuf.parse().unwrap())
    );
    assert!(text.contains("byte 1"), "{text}");
    for (content_type, encoding) in [("text/plain", ""), (json, "zstd")] {
        let (status, text, _) = send(&server.router, otlp(vec![], content_type, encoding)).await;
        assert_eq!(status, 415, "{text}");
    }
    let (_, text, _) = send(&server.router, get("/metrics")).await;
    let line = "\nmainstay_received_total{by=\"otlp\",outcome=\"written\"} 2\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn what_tools_ask_beside_queries_has_prometheus_shape() {
    let server = server();
    let (status, text, _) = send(&server.router, get("/federate?match[]=up")).await;
    let told = "# TYPE up untyped\nup{instance=\"a\"} 1 100000\nup{instance=\"b\"} 0 100000\n";
    assert_eq!((status.as_u16(), text.as_str()), (200, told));
    let (status, text, _) = send(&server.router, get("/federate")).await;
    assert_eq!(status, 400, "{text}");
    let (_, answer) = ask(&server, "/api/v1/status/tsdb?limit=1").await;
    let most = json!([{ "name": "up", "value": 2 }]);
    assert_eq!(answer["data"]["seriesCountByMetricName"], most);
    assert_eq!(
        answer["data"]["labelValueCountByLabelName"],
        json!([{ "name": "instance", "value": 2 }])
    );
    let (_, answer) = ask(&server, "/api/v1/status/runtimeinfo").await;
    assert_eq!(answer["data"]["storageRetention"], "2h");
    assert_eq!(answer["data"]["serverTime"], "1970-01-01T00:01:40Z");
    let (_, answer) = ask(&server, "/api/v1/query_exemplars?query=up").await;
    assert_eq!(answer, json!({ "status": "success", "data": [] }));
    let (_, answer) = ask(&server, "/api/v1/targets?state=active").await;
    assert_eq!(answer["data"]["activeTargets"], json!([]));
    let (_, answer) = ask(&server, "/api/v1/label/U__instance/values").await;
    assert_eq!(answer["data"], json!(["a", "b"]));
    let (_, answer) = ask(&server, "/api/v1/query?query=up&stats=all").await;
    assert!(
        answer["data"]["stats"]["timings"]["evalTotalTime"]
            .as_f64()
            .is_some(),
        "{answer}"
    );
}

#[tokio::test]
async fn rules_are_asked_for_by_type_and_name_and_a_wrong_file_is_said_on_reload() {
    let server = server();
    let (status, answer) = ask(&server, "/api/v1/rules?type=alert&rule_name[]=Down").await;
    assert_eq!((status, &answer["kind"]), (200, &json!("alert")));
    assert_eq!(answer["rules"], json!(["Down"]));
    let (status, answer) = ask(&server, "/api/v1/rules?type=both").await;
    assert_eq!((status, &answer["errorType"]), (400, &json!("bad_data")));
    let reload = Request::post("/-/reload").header("host", "127.0.0.1:7070");
    let (status, text, _) = send(&server.router, reload.body(Body::empty()).unwrap()).await;
    assert_eq!(status.as_u16(), 500);
    assert!(text.contains("rules.yml:3:5"), "{text}");
}

#[tokio::test]
async fn monitors_over_a_catalog_that_cannot_be_read_are_told_as_unavailable() {
    let server = server();
    let (code, problem) = ask(&server, "/api/v1/monitors").await;
    assert_eq!(
        (code, &problem["code"]),
        (503, &json!("monitors-unavailable"))
    );
    assert_eq!(problem["title"], "the catalog cannot be read");
}
