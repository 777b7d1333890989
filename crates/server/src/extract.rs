//! Extractors whose refusals are problems, as every other error of the API is.

use std::{error::Error, fmt::Write as _};

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    response::IntoResponse,
};

use crate::problem::Problem;

/// The path or the query of a request, as `E` reads it.
pub(crate) struct Asked<E>(pub(crate) E);

/// The body of a request, as `E` reads it.
pub(crate) struct Sent<E>(pub(crate) E);

impl<S, E> FromRequestParts<S> for Asked<E>
where
    S: Send + Sync,
    E: FromRequestParts<S>,
    E::Rejection: Error,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        E::from_request_parts(parts, state)
            .await
            .map(Self)
            .map_err(refused)
    }
}

impl<S, E> FromRequest<S> for Sent<E>
where
    S: Send + Sync,
    E: FromRequest<S>,
    E::Rejection: Error,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        E::from_request(request, state)
            .await
            .map(Self)
            .map_err(refused)
    }
}

/// Every cause is named: the outer error says only that something could not be read, the inner ones where.
fn refused(rejection: impl Error + IntoResponse) -> Problem {
    let mut title = rejection.to_string();
    let mut cause = rejection.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !title.contains(&said) {
            let _ = write!(title, ": {said}");
        }
        cause = inner.source();
    }
    let status = rejection.into_response().status();
    let (code, remedy) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "send less at once"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("not-json", "send it with Content-Type: application/json")
        }
        _ => ("unreadable-request", "mend what the title names"),
    };
    Problem::new(status, code, title, remedy)
}
