//! Extractors whose refusals are problems, as every other error of the API is.

use std::{error::Error, fmt::Write as _, str::FromStr};

use axum::{
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{StatusCode, Uri, request::Parts},
    response::IntoResponse,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::problem::Problem;

/// Characters shown of a value that is refused.
const SHOWN_MAX: usize = 64;

/// The path of a request, as `E` reads it.
pub(crate) struct Asked<E>(pub(crate) E);

/// The query of a request. A refusal names the parameter, its value, and what it may be.
pub(crate) struct Queried<T>(pub(crate) T);

/// How many: a whole number, as a query writes it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Count<T>(pub(crate) T)
where
    T: FromStr;

impl<T: FromStr> TryFrom<String> for Count<T> {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let count = text.parse().map_err(|_| "expected a whole number from 0")?;
        Ok(Self(count))
    }
}

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

impl<S, T> FromRequestParts<S> for Queried<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        let Query(read) = query
            .map_err(|rejection| at_fault::<T>(&parts.uri).unwrap_or_else(|| refused(rejection)))?;
        Ok(Self(read))
    }
}

/// What is wrong with the first parameter that cannot be read by itself, as all are optional.
fn at_fault<T: DeserializeOwned>(uri: &Uri) -> Option<Problem> {
    uri.query()?.split('&').find_map(|parameter| {
        let alone: Uri = format!("/?{parameter}").parse().ok()?;
        let rejection = Query::<T>::try_from_uri(&alone).err()?;
        let why = rejection
            .source()
            .map_or_else(|| rejection.to_string(), ToString::to_string);
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&alone).ok()?;
        let (name, value) = pairs.first()?;
        let why = why.strip_prefix(&format!("{name}: ")).unwrap_or(&why);
        let value: String = value.chars().take(SHOWN_MAX).collect();
        Some(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-parameter",
            format!("the parameter `{name}` cannot be `{value}`: {why}"),
            "mend that parameter; docs/api.md lists those of each route",
        ))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase", deny_unknown_fields)]
    struct Wanted {
        _color: Option<Color>,
        _limit: Option<Count<usize>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
        Green,
    }

    fn fault(query: &str) -> String {
        let uri = format!("/x?{query}").parse().unwrap();
        let problem = at_fault::<Wanted>(&uri).map(|problem| serde_json::json!(problem));
        problem.map_or_else(String::new, |it| it["title"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named_with_its_value_and_what_it_may_be() {
        assert_eq!(
            fault("_limit=3&_color=blue"),
            "the parameter `_color` cannot be `blue`: unknown variant `blue`, expected `red` or `green`"
        );
        assert_eq!(
            fault("_color=red&_limit=a%20lot"),
            "the parameter `_limit` cannot be `a lot`: expected a whole number from 0"
        );
        assert_eq!(
            fault("size=3"),
            "the parameter `size` cannot be `3`: unknown field `size`, expected `_color` or `_limit`"
        );
        assert_eq!(fault("_color=red&_limit=3"), "");
    }
}
