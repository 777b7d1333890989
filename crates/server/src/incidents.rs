//! Incidents over HTTP: opened, listed, shown, acted on, acknowledged by link; and alerts that open them.
//!
//! Guarantees: whatever is answered with 2xx is in the ledger. Every route but those of links asks who comes; a link
//! is its own proof, of one person and one incident. A page that only looks at a link changes nothing: what reads
//! links ahead acknowledges nothing.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use mainstay_core::{
    Actor, ChangeId, Name,
    escalation::{EscalationPolicySpec, Severity},
    flaw::SpecFlaw,
    ports::{BoxFuture, Declined, No},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    extract::{Asked, Count, Queried, Sent},
    problem::Problem,
};

/// Incidents in an answer that names no limit.
const LIST_USUAL: usize = 100;

/// Which incidents are asked for.
#[derive(Debug, Clone, Default)]
pub struct IncidentsAsked {
    /// `open` and the like.
    pub status: Option<String>,
    /// How bad.
    pub severity: Option<Severity>,
    /// At most so many.
    pub limit: usize,
}

/// Who keeps incidents. Requests and answers are JSON that the owning room reads.
pub trait Incidents: Send + Sync {
    /// What is wrong with a policy that is declared, beside what its spec says of itself.
    fn flaws(&self, name: &Name, policy: &EscalationPolicySpec) -> Vec<SpecFlaw>;
    /// Those that are asked for.
    fn list(&self, asked: IncidentsAsked) -> BoxFuture<'_, Result<Vec<Value>, Declined>>;
    /// One with its timeline.
    fn show(&self, id: ChangeId) -> BoxFuture<'_, Result<Value, Declined>>;
    /// Opens one.
    fn open(&self, actor: Actor, request: Value) -> BoxFuture<'_, Result<Value, Declined>>;
    /// Does something with one.
    fn act(
        &self,
        actor: Actor,
        id: ChangeId,
        verb: String,
        request: Value,
    ) -> BoxFuture<'_, Result<Value, Declined>>;
    /// Takes alerts as Alertmanager's API does; what is wrong with those that are none.
    fn alerts(&self, body: Bytes) -> BoxFuture<'_, Result<Vec<String>, Declined>>;
    /// What a link is about.
    fn linked(&self, token: &str) -> Result<Value, Declined>;
    /// Acknowledges by a link.
    fn acknowledge(&self, token: String) -> BoxFuture<'_, Result<Value, Declined>>;
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    status: Option<String>,
    severity: Option<Severity>,
    limit: Option<Count<usize>>,
}

/// `GET /api/v1/incidents`.
pub(crate) async fn list(
    State(app): State<App>,
    Queried(filter): Queried<Filter>,
) -> Result<Json<Vec<Value>>, Problem> {
    let asked = IncidentsAsked {
        status: filter.status,
        severity: filter.severity,
        limit: filter.limit.map_or(LIST_USUAL, |it| it.0),
    };
    Ok(Json(app.incidents.list(asked).await?))
}

/// `GET /api/v1/incidents/ID`.
pub(crate) async fn show(
    State(app): State<App>,
    Asked(Path(id)): Asked<Path<ChangeId>>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.incidents.show(id).await?))
}

/// `POST /api/v1/incidents`.
pub(crate) async fn open(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Sent(Json(request)): Sent<Json<Value>>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.incidents.open(actor, request).await?))
}

/// `POST /api/v1/incidents/ID/VERB`.
pub(crate) async fn act(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Asked(Path((id, verb))): Asked<Path<(ChangeId, String)>>,
    Sent(request): Sent<Option<Json<Value>>>,
) -> Result<Json<Value>, Problem> {
    let request = request.map_or(Value::Null, |Json(it)| it);
    Ok(Json(app.incidents.act(actor, id, verb, request).await?))
}

/// `POST /api/v2/alerts`: 200 when what concerns incidents is in the ledger; errors as Alertmanager writes them.
pub(crate) async fn alerts(State(app): State<App>, body: Bytes) -> Response {
    let refused = |status: StatusCode, what: String| (status, Json(what)).into_response();
    match app.incidents.alerts(body).await {
        Ok(wrong) if wrong.is_empty() => StatusCode::OK.into_response(),
        Ok(wrong) => refused(StatusCode::BAD_REQUEST, wrong.join("; ")),
        Err(declined) if declined.no == No::Invalid => {
            refused(StatusCode::BAD_REQUEST, declined.what)
        }
        Err(declined) => refused(StatusCode::SERVICE_UNAVAILABLE, declined.what),
    }
}

/// `GET /api/v1/acknowledge/TOKEN`: a page that asks; looking at it changes nothing.
pub(crate) async fn link(
    State(app): State<App>,
    Asked(Path(token)): Asked<Path<String>>,
) -> Result<Html<String>, Problem> {
    let about = app.incidents.linked(&token)?;
    let text = |field: &str| escaped(about[field].as_str().unwrap_or_default());
    let (title, severity, person) = (text("title"), text("severity"), text("person"));
    let status = text("status");
    let act = if about["isCurrent"] == json!(true) {
        format!("<form method=\"post\"><button>Acknowledge as {person}</button></form>")
    } else {
        "<p>This link is of an earlier message, or it is over.</p>".to_owned()
    };
    Ok(page(&format!(
        "<h1>{severity} {title}</h1><p>{status}</p>{act}"
    )))
}

/// `POST /api/v1/acknowledge/TOKEN`.
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Asked(Path(token)): Asked<Path<String>>,
) -> Result<Html<String>, Problem> {
    let about = app.incidents.acknowledge(token).await?;
    let text = |field: &str| escaped(about[field].as_str().unwrap_or_default());
    Ok(page(&format!(
        "<h1>{} {}</h1><p>{}</p>",
        text("severity"),
        text("title"),
        text("status")
    )))
}

fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Mainstay</title>{body}</html>\n"
    ))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_title_is_text_whatever_it_holds() {
        assert_eq!(
            escaped("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
    }
}
