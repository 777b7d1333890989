//! Errors over HTTP: RFC 9457, with a stable code and a remedy.

use axum::{
    Json,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use mainstay_core::{Verdict, ports::LedgerError};
use serde::Serialize;

/// One place in a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// `Kind/name`.
    pub resource: String,
    /// The field.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
}

/// An error as the client sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    code: &'static str,
    title: String,
    remedy: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Box<Verdict>>,
    #[serde(skip)]
    pub(crate) retry_after_secs: Option<u64>,
}

impl Problem {
    /// A problem with `code`, which never changes, what was wrong, and what to do.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title: title.into(),
            remedy: remedy.into(),
            errors: Vec::new(),
            verdict: None,
            retry_after_secs: None,
        }
    }
    /// Shows the verdict that denies it.
    pub(crate) fn because(mut self, verdict: Option<Box<Verdict>>) -> Self {
        self.verdict = verdict;
        self
    }
    /// What was wrong, in a sentence.
    pub(crate) fn into_title(self) -> String {
        self.title
    }
    /// Names the places.
    pub(crate) fn at(mut self, errors: Vec<Place>) -> Self {
        self.errors = errors;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/problem+json"),
        );
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(secs));
        }
        response
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let title = error.to_string();
        match error {
            LedgerError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                title,
                "somebody else wrote first: look again, then retry",
            ),
            LedgerError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                title,
                "split it into smaller parts",
            ),
            LedgerError::Full { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "ledger-full",
                title,
                "free disk space; rollbacks may still write",
            ),
            LedgerError::Overloaded { retry_after_ms, .. } => {
                let mut problem = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "overloaded",
                    title,
                    "retry later",
                );
                problem.retry_after_secs = Some(retry_after_ms.div_ceil(1_000).max(1));
                problem
            }
            LedgerError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ledger-unavailable",
                title,
                "see the server's log",
            ),
            LedgerError::Broken(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "ledger-broken",
                title,
                "somebody edited the database: put back a copy of it from before, then run \
                 `mainstay ledger verify`",
            ),
        }
    }
}

/// What a row of a projection that cannot be read says.
pub(crate) fn unreadable(what: &str, error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "unreadable-row",
        format!("{what} cannot be read: {error}"),
        "run `mainstay ledger verify`; if the chain holds, stop the server and run `mainstay ledger rebuild` with \
         its --data-dir or --config",
    )
}

pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-route",
        format!("there is nothing at {}", uri.path()),
        "see docs/api.md",
    )
}

/// The answer to a method that a route does not take, where it is one: it names those it takes.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri, answer: Response) -> Response {
    let Some(allowed) = answer.headers().get(header::ALLOW).cloned() else {
        return answer;
    };
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let listed = allowed.to_str().unwrap_or_default().replace(',', ", ");
    let mut answer = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} does not take {method}; it takes {listed}", uri.path()),
        format!("ask with one of {listed}; docs/api.md lists what each does"),
    )
    .into_response();
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}
