//! Rules and alerts over HTTP, in the shapes of Prometheus's API.
//!
//! Guarantees: what is answered is what the last evaluation of each group left; a reload that finds a file
//! wrong says where and changes nothing.
//!
//! ```text
//! curl 'http://127.0.0.1:7070/api/v1/rules?type=alert'
//! ```

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    App,
    metrics::{
        gzip::Accepts,
        params::{Params, Wrong},
        told,
    },
};

/// Which rules are asked for; an empty list asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesAsked {
    /// `alert`, `record` or nothing for both.
    pub kind: String,
    /// Rules by name.
    pub rules: Vec<String>,
    /// Groups by name.
    pub groups: Vec<String>,
    /// Files.
    pub files: Vec<String>,
    /// Leave the alerts out.
    pub without_alerts: bool,
    /// Selectors of the labels that rules set.
    pub selectors: Vec<String>,
}

/// A counter of the server's own metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The metric's name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Since the start.
    pub count: u64,
}

/// What evaluates rules.
pub trait Rules: Send + Sync {
    /// `/api/v1/rules`.
    fn groups(&self, asked: RulesAsked) -> Value;
    /// `/api/v1/alerts`.
    fn alerts(&self) -> Value;
    /// `/api/v1/alertmanagers`.
    fn alertmanagers(&self) -> Value;
    /// Reads the files again; what is wrong with them if they cannot be taken. May block.
    fn reload(&self) -> Result<(), String>;
    /// What it counted since the start, for `/metrics`.
    fn counted(&self) -> Vec<Counted> {
        Vec::new()
    }
}

/// `/api/v1/rules`, in pages of `group_limit` groups where that is given.
pub(crate) async fn groups(
    State(app): State<App>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let kind = params.text("type").to_owned();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        let why = format!("{kind:?} is neither alert nor record");
        return Err(Wrong::parameter("type", why));
    }
    let page = Page {
        limit: params.count("group_limit")?,
        after: params.text("group_next_token").to_owned(),
    };
    if page.limit.is_none() && !page.after.is_empty() {
        let why = "group_limit needs to be provided in order to paginate over the groups";
        return Err(Wrong::parameter("group_limit", why));
    }
    let all = |name: &str| params.all(name).map(str::to_owned).collect();
    let asked = RulesAsked {
        kind,
        rules: all("rule_name[]"),
        groups: all("rule_group[]"),
        files: all("file[]"),
        without_alerts: params.text("exclude_alerts") == "true",
        selectors: all("match[]"),
    };
    let compute = move || page.of(app.rules.groups(asked));
    Ok(told(accepts, compute).await)
}

/// A page of groups: so many, from the one that a token names.
struct Page {
    limit: Option<usize>,
    after: String,
}

impl Page {
    /// The page of an answer with all groups. Its `groupNextToken` names the first group of the next one.
    fn of(&self, mut answer: Value) -> Value {
        let Some(groups) = answer
            .pointer_mut("/data/groups")
            .and_then(Value::as_array_mut)
        else {
            return answer;
        };
        let Some(limit) = self.limit else {
            return answer;
        };
        let token = |group: &Value| {
            let text = |field: &str| group[field].as_str().unwrap_or_default().to_owned();
            format!("{};{}", text("file"), text("name"))
        };
        if !self.after.is_empty() {
            let Some(first) = groups.iter().position(|group| token(group) == self.after) else {
                let why = format!(
                    "invalid group_next_token '{}': were rule groups changed?",
                    self.after
                );
                return json!({ "status": "error", "errorType": "bad_data", "error": why });
            };
            groups.drain(..first);
        }
        let next = groups.get(limit).map(token);
        groups.truncate(limit);
        if let Some(next) = next {
            answer["data"]["groupNextToken"] = next.into();
        }
        answer
    }
}

/// `/api/v1/alerts`.
pub(crate) async fn alerts(State(app): State<App>, accepts: Accepts) -> Response {
    told(accepts, move || app.rules.alerts()).await
}

/// `/api/v1/alertmanagers`.
pub(crate) async fn alertmanagers(State(app): State<App>) -> Json<Value> {
    Json(app.rules.alertmanagers())
}

/// `POST /-/reload`.
pub(crate) async fn reload(State(app): State<App>) -> Response {
    let rules = Arc::clone(&app.rules);
    match spawn_blocking(move || rules.reload()).await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(wrong)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {wrong}\n"),
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the reload died");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the reload died; the server's log says how\n",
            )
                .into_response()
        }
    }
}
