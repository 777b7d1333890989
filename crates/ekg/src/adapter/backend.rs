//! Asks a Prometheus-compatible cluster, in Prometheus's HTTP API.
//!
//! Guarantees: bounded in time, in bytes and in number; who asks hears why there is no answer in the shape of one.
//! Whoever asks waits for it: on a thread that may block. Since when all samples are here is kept on disk, so that a
//! restart does not ask the cluster for what is here, nor believe to have what never was.

use std::{
    fmt,
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use mainstay_core::{Span, Time, ports::Clock};
use mainstay_promql::{Labels, MatchOp, Matcher, Series, StorageError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{RemoteStartError, fetch::SendClient};
use crate::{QUERY_WITHIN, backend::Backend, past::Past, remote::Remote};

/// Questions under way at once.
const AT_ONCE: usize = 32;
/// Questions that wait; with more the cluster is too slow for this server.
const WAITING_MAX: usize = 256;
/// Bytes of one answer: some ten million samples.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long before samples go from here they are no longer counted upon.
const MARGIN_MS: i64 = 5 * 60 * 1_000;

/// A cluster, to ask; shared.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    url: String,
    keep: Span,
    since_ms: i64,
    clock: Arc<dyn Clock>,
    questions: mpsc::Sender<Question>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.0.url)
    }
}

struct Question {
    /// Behind the address, with the query if it is a GET.
    path: String,
    /// A form; none for a GET.
    form: Option<String>,
    within: Duration,
    answer: SyncSender<Result<Vec<u8>, String>>,
}

/// What is kept of a cluster.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    since_ms: i64,
}

impl Cluster {
    /// Begins to use it; `file` keeps since when all samples are here.
    pub fn start(
        backend: &Backend,
        clock: &Arc<dyn Clock>,
        file: &Path,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, RemoteStartError> {
        let url = backend.url.clone();
        let client = backend.remote.tls().sender();
        let client = client.map_err(|error| RemoteStartError::Tls {
            url: url.clone(),
            error,
        })?;
        let since_ms = since(file, &url, clock.now()).map_err(|error| RemoteStartError::Keep {
            url: url.clone(),
            error: format!("{} cannot be kept: {error}", file.display()),
        })?;
        let (questions, asked) = mpsc::channel(WAITING_MAX);
        let asker = Asker {
            url: url.clone(),
            remote: backend.remote.clone(),
            client,
        };
        tasks.spawn(answer_all(Arc::new(asker), asked, stop.clone()));
        Ok(Self(Arc::new(Inner {
            url,
            keep: backend.keep,
            since_ms,
            clock: Arc::clone(clock),
            questions,
        })))
    }

    /// What it answers to a form that is posted, such as `/api/v1/query`; an error in the same shape otherwise.
    pub fn posted(&self, path: &str, pairs: &[(&str, String)], within: Span) -> Value {
        self.told(path.to_owned(), Some(form(pairs)), within)
    }

    /// What it answers where it takes no form.
    pub fn got(&self, path: &str, pairs: &[(&str, String)], within: Span) -> Value {
        self.told(format!("{path}?{}", form(pairs)), None, within)
    }

    /// How long samples stay here.
    pub fn keep(&self) -> Span {
        self.0.keep
    }

    fn told(&self, path: String, form: Option<String>, within: Span) -> Value {
        match self.ask(path, form, within) {
            Ok(mut answer) => {
                if let Some(kind) = answer["errorType"].as_str().and_then(known_type) {
                    answer["errorType"] = kind.into();
                }
                answer
            }
            Err(why) => json!({ "status": "error", "errorType": "unavailable", "error": why }),
        }
    }

    fn ask(&self, path: String, form: Option<String>, within: Span) -> Result<Value, String> {
        let within = within.min(QUERY_WITHIN).duration();
        let named = |why: &str| format!("the metrics backend {} {why}", self.0.url);
        let (answer, answered) = sync_channel(1);
        let question = Question {
            path,
            form,
            within,
            answer,
        };
        let sent = self.0.questions.try_send(question);
        sent.map_err(|_| named("is asked too much at once, or the server ends: try again"))?;
        let body = match answered.recv_timeout(within + Duration::from_secs(1)) {
            Ok(Ok(body)) => body,
            Ok(Err(why)) => return Err(named(&why)),
            Err(RecvTimeoutError::Timeout) => return Err(named("does not answer in time")),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(named("is not asked any more: the server ends"));
            }
        };
        serde_json::from_slice(&body)
            .map_err(|error| named(&format!("does not answer in Prometheus's JSON: {error}")))
    }
}

impl Past for Cluster {
    fn here_since_ms(&self) -> i64 {
        let kept = i64::try_from(self.0.keep.millis()).unwrap_or(i64::MAX);
        let oldest = self.0.clock.now().millis().saturating_sub(kept);
        self.0.since_ms.max(oldest.saturating_add(MARGIN_MS))
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        // A range is open at its beginning.
        let range_ms = end_ms.saturating_sub(start_ms).saturating_add(1);
        let pairs = [
            ("query", format!("{}[{range_ms}ms]", selector(matchers))),
            ("time", seconds(end_ms)),
        ];
        let answer = self
            .ask("/api/v1/query".to_owned(), Some(form(&pairs)), QUERY_WITHIN)
            .map_err(StorageError)?;
        if answer["status"] != "success" {
            let why = answer["error"].as_str().unwrap_or("for no reason");
            return Err(StorageError(format!("{} refuses: {why}", self.0.url)));
        }
        let result = answer["data"]["result"].as_array().into_iter().flatten();
        Ok(result.filter_map(|it| series(it, start_ms)).collect())
    }
}

/// The type of an error where a cluster gives its status instead, as VictoriaMetrics does.
fn known_type(status: &str) -> Option<&'static str> {
    match status.parse::<u16>().ok()? {
        400..=421 | 423..=499 => Some("bad_data"),
        // Mostly an expression that it cannot read.
        422 => Some("execution"),
        503 => Some("unavailable"),
        _ => Some("internal"),
    }
}

/// Seconds, as a time of the API.
pub fn seconds(ms: i64) -> String {
    (ms as f64 / 1_000.0).to_string()
}

/// A series of numbers out of a matrix, from `start_ms` on.
fn series(told: &Value, start_ms: i64) -> Option<Series> {
    let labels = told["metric"].as_object()?.iter();
    let labels = labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let labels = Labels::from_pairs(labels);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for point in told["values"].as_array()? {
        let at_ms = (point.get(0)?.as_f64()? * 1_000.0).round() as i64;
        let value: f64 = point.get(1)?.as_str()?.parse().ok()?;
        if at_ms >= start_ms {
            times.push(at_ms);
            values.push(value);
        }
    }
    (!times.is_empty()).then(|| Series::floats(labels, times.into(), values.into()))
}

/// Matchers as PromQL.
fn selector(matchers: &[Matcher]) -> String {
    let mut text = String::from("{");
    for (at, matcher) in matchers.iter().enumerate() {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let comma = if at == 0 { "" } else { "," };
        let (name, value) = (&matcher.name, &matcher.value);
        let is_plain = |(at, it): (usize, char)| {
            it == '_' || it.is_ascii_alphabetic() || at > 0 && it.is_ascii_digit()
        };
        // JSON's escapes are PromQL's too.
        let quoted = |text: &str| Value::from(text).to_string();
        let name = if name.char_indices().all(is_plain) {
            name.clone()
        } else {
            quoted(name)
        };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{name}{op}{}", quoted(value));
    }
    text.push('}');
    text
}

/// Pairs as a form writes them.
fn form(pairs: &[(&str, String)]) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        escape(name, &mut form);
        form.push('=');
        escape(value, &mut form);
    }
    form
}

fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// Since when all samples are here: since this cluster was used first.
fn since(file: &Path, url: &str, now: Time) -> std::io::Result<i64> {
    if let Ok(text) = std::fs::read(file)
        && let Ok(kept) = serde_json::from_slice::<Kept>(&text)
        && kept.url == url
    {
        return Ok(kept.since_ms);
    }
    let since_ms = now.millis();
    let kept = Kept {
        url: url.to_owned(),
        since_ms,
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_vec(&kept)?)?;
    std::fs::File::open(file)?.sync_all()?;
    Ok(since_ms)
}

struct Asker {
    url: String,
    remote: Remote,
    client: SendClient,
}

/// Answers questions until `stop`, or until nobody can ask any more.
async fn answer_all(
    asker: Arc<Asker>,
    mut asked: mpsc::Receiver<Question>,
    stop: CancellationToken,
) {
    let mut running = JoinSet::new();
    while let Some(Some(question)) = stop.run_until_cancelled(asked.recv()).await {
        if running.len() >= AT_ONCE {
            running.join_next().await;
        }
        while running.try_join_next().is_some() {}
        let asker = Arc::clone(&asker);
        running.spawn(async move {
            let answered = timeout(question.within, asker.ask(&question.path, question.form)).await;
            let answered = answered.unwrap_or_else(|_| Err("does not answer in time".to_owned()));
            // Who asked may have given up.
            let _ = question.answer.send(answered);
        });
    }
    stop.cancelled().await;
}

impl Asker {
    async fn ask(&self, path: &str, form: Option<String>) -> Result<Vec<u8>, String> {
        let url = format!("{}{path}", self.url);
        let agent = concat!("Mainstay/", env!("CARGO_PKG_VERSION"));
        let request = match form {
            None => Request::get(url).body(Full::default()),
            Some(form) => Request::post(url)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form))),
        };
        let mut request = request.map_err(|error| format!("cannot be asked: {error}"))?;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static(agent));
        headers.extend(self.remote.headers.clone());
        if let Some(credentials) = &self.remote.credentials {
            let value = credentials.header().await;
            let value = value.map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let response = self.client.request(request).await;
        let response = response.map_err(|error| format!("cannot be reached: {error}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| {
            format!("gives no whole answer of at most {ANSWER_BYTES_MAX} bytes: {error}")
        })?;
        let body = body.to_bytes().to_vec();
        let has_shape = body.first() == Some(&b'{');
        if status != StatusCode::OK && !has_shape {
            let text = String::from_utf8_lossy(&body);
            let text: String = text.trim().chars().take(200).collect();
            return Err(format!("answers {status}: {text}"));
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_forms_are_written_as_prometheus_reads_them() {
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        let matchers = [
            matcher("__name__", MatchOp::Equal, "up"),
            matcher("job", MatchOp::Regex, "a|\"b\""),
            matcher("http.code", MatchOp::NotEqual, "\\d"),
        ];
        let text = selector(&matchers);
        assert_eq!(text, r#"{__name__="up",job=~"a|\"b\"","http.code"!="\\d"}"#);
        let parsed = mainstay_promql::parse(&text).unwrap();
        let mainstay_promql::ast::ExprKind::Selector(selector) = parsed.kind else {
            panic!("not a selector")
        };
        assert_eq!(selector.matchers, matchers);
        let pairs = [("match[]", "a b+{}".to_owned()), ("x", "1".to_owned())];
        assert_eq!(form(&pairs), "match%5B%5D=a%20b%2B%7B%7D&x=1");
        assert_eq!(
            (seconds(1_500), seconds(-1)),
            ("1.5".to_owned(), "-0.001".to_owned())
        );
    }

    #[test]
    fn it_is_remembered_since_when_all_is_here_and_of_which_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/backend.json");
        let at = Time::from_millis;
        assert_eq!(since(&file, "http://a", at(5)).unwrap(), 5);
        assert_eq!(since(&file, "http://a", at(9)).unwrap(), 5);
        assert_eq!(since(&file, "http://b", at(12)).unwrap(), 12);
    }

    #[test]
    fn samples_of_a_matrix_are_read_and_those_before_the_window_left_out() {
        let told =
            json!({ "metric": { "job": "a" }, "values": [[1, "1"], [1.5, "+Inf"], [2, "NaN"]] });
        let series = series(&told, 1_500).unwrap();
        assert_eq!(*series.timestamps, [1_500, 2_000]);
        assert!(series.values[0].is_infinite() && series.values[1].is_nan());
        assert_eq!(series.labels.get("job"), Some("a"));
    }
}
