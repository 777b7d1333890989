//! Calls to the services that this one depends on, through the router.
//!
//! Guarantees: each call carries what is left of the caller's deadline, and the user's id; it ends
//! with the deadline. Never retries: retries are the router's business.
//! Example: with `ROUTER=http://127.0.0.1:7000`, dependency `identity` is `GET /identity/home` there.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::handler::{DEADLINE_HEADER, DEPENDENCIES_HEADER, USER_HEADER, VERSION_HEADER};
use crate::artifact::split_dependency;
use crate::loopback::Base;

/// What a call may take when the caller set no deadline.
const CALL_WITHIN: Duration = Duration::from_secs(2);
/// A dependency's answer is a small document; more is a failure.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Versions reported upwards; a site has fewer services than this.
const VERSIONS_MAX: usize = 16;

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) dependency: &'a str,
    pub(super) deadline: Option<Instant>,
    pub(super) user: Option<&'a HeaderValue>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    Failed,
    Late,
}

/// The way to the other services.
#[derive(Debug)]
pub(super) struct Upstream {
    router: Base,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Upstream {
    pub(super) fn new(router: Base) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .build_http();
        Self { router, client }
    }

    /// Makes one call, and notes which versions answered.
    pub(super) async fn call(&self, call: Call<'_>, versions: &mut Vec<String>) -> Answer {
        let deadline = call
            .deadline
            .unwrap_or_else(|| Instant::now() + CALL_WITHIN);
        match tokio::time::timeout_at(deadline, self.exchange(&call, deadline, versions)).await {
            Ok(Ok(true)) => Answer::Good,
            Ok(Ok(false) | Err(_)) => Answer::Failed,
            Err(_) => Answer::Late,
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        deadline: Instant,
        versions: &mut Vec<String>,
    ) -> anyhow::Result<bool> {
        let (service, route) = split_dependency(call.dependency);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = Request::get(self.router.join(&format!("/{service}/{route}"))?)
            .header(DEADLINE_HEADER, left.as_millis() as u64);
        if let Some(user) = call.user {
            request = request.header(USER_HEADER, user);
        }
        let response = self.client.request(request.body(Empty::new())?).await?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let direct = header(VERSION_HEADER).map(|version| format!("{service}={version}"));
        let indirect = header(DEPENDENCIES_HEADER)
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned);
        for version in direct.into_iter().chain(indirect) {
            if versions.len() < VERSIONS_MAX && !versions.contains(&version) {
                versions.push(version);
            }
        }
        let good = response.status().is_success();
        // The body is read so that the connection can be used again.
        Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))?;
        Ok(good)
    }
}
