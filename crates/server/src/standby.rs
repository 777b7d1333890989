//! What only the server that leads does: orders, declarations, and the connections of agents and routers.
//!
//! Guarantees: a server that stands by says 503 with who leads and when to ask again, before anything is read of the
//! request. One that does not know yet who leads makes the request wait for [`KNOWN_WITHIN`] first: that is the first
//! moment of a start. Reads are answered by any server.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use tokio::time::timeout;

use crate::{App, problem::Problem};

/// How long a request waits until it is known who leads.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// When to ask again, in seconds.
const AGAIN_SECS: u64 = 2;

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leader {
    /// This server.
    Here,
    /// Another one, reached there.
    At(String),
    /// It is being found out.
    Unknown,
}

/// Puts the question before every method of `route`.
pub(crate) fn guarded(route: MethodRouter<App>, app: &App) -> MethodRouter<App> {
    route.layer(middleware::from_fn_with_state(app.clone(), check))
}

async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut leader = app.leader.clone();
    let known = leader.wait_for(|it| *it != Leader::Unknown);
    let who = match timeout(KNOWN_WITHIN, known).await {
        Ok(Ok(who)) => who.clone(),
        Ok(Err(_)) | Err(_) => Leader::Unknown,
    };
    match refusal(who) {
        None => next.run(request).await,
        Some(problem) => problem.into_response(),
    }
}

fn refusal(who: Leader) -> Option<Problem> {
    let (what, remedy) = match who {
        Leader::Here => return None,
        Leader::At(place) => (
            format!("this server stands by; {place} leads"),
            format!("ask {place}, or name all servers: --server A,B"),
        ),
        Leader::Unknown => (
            "no server leads yet".to_owned(),
            "ask again in a moment".to_owned(),
        ),
    };
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "standby", what, remedy);
    problem.retry_after_secs = Some(AGAIN_SECS);
    Some(problem)
}
