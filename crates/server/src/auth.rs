//! Who asks, and whether they may.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use mainstay_core::Actor;

use crate::{App, problem::Problem};

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Looks.
    Read,
    /// Changes production.
    Write,
    /// Reports for a host or a fabric, and takes its orders.
    Host,
    /// Sends measurements, and nothing else.
    Send,
}

impl Scope {
    fn allowed_by(self, scopes: &[String]) -> bool {
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        match self {
            Self::Read => has("read") || has("write") || has("admin"),
            Self::Write => has("write") || has("admin"),
            Self::Host => has("host") || has("admin"),
            Self::Send => has("send") || has("write") || has("admin"),
        }
    }
    /// As tokens name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Host => "host",
            Self::Send => "send",
        }
    }
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A loopback listener with no authentication configured.
    OpenOnLoopback,
    /// Only with a token.
    Tokens,
}

/// Longest name of an actor that a client may claim.
const ACTOR_BYTES_MAX: usize = 64;

/// Puts `scope` before every method of `route`.
pub(crate) fn guarded(route: MethodRouter<App>, app: &App, scope: Scope) -> MethodRouter<App> {
    let app = app.clone();
    route.layer(middleware::from_fn_with_state((app, scope), check))
}

async fn check(
    State((app, scope)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    // HTTP/2 has the host in the address.
    let authority = request.uri().authority().map(|it| it.as_str().to_owned());
    match actor(&app, scope, request.headers(), authority.as_deref()).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn actor(
    app: &App,
    scope: Scope,
    headers: &HeaderMap,
    authority: Option<&str>,
) -> Result<Actor, Problem> {
    if let Some(secret) = bearer(headers) {
        let holder = app.identity.holder(secret).await?.ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "unknown-token",
                "the token is not known",
                "create one, or correct it",
            )
        })?;
        if !scope.allowed_by(&holder.scopes) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "scope",
                format!("token `{}` lacks the scope `{}`", holder.name, scope.name()),
                "ask with a token that has it",
            ));
        }
        return Ok(Actor::verified(holder.name));
    }
    match app.access {
        Access::Tokens => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "token-needed",
            "this server asks for a token",
            "send `Authorization: Bearer TOKEN`",
        )),
        Access::OpenOnLoopback => {
            same_origin(headers, authority)?;
            let claimed = headers
                .get("x-mainstay-actor")
                .and_then(|value| value.to_str().ok());
            let Some(claimed) = claimed else {
                return Ok(Actor::anonymous());
            };
            let clean: String = claimed
                .chars()
                .filter(|c| !c.is_control())
                .take(ACTOR_BYTES_MAX)
                .collect();
            Ok(Actor::unverified(clean))
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// A page on another site cannot set `Host` to loopback, nor hide its `Origin`.
fn same_origin(headers: &HeaderMap, authority: Option<&str>) -> Result<(), Problem> {
    let refuse = |what: String| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            what,
            "ask by the loopback address, or with a token",
        ))
    };
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    let hosts = [text(header::HOST), authority];
    if hosts == [None, None] {
        return refuse("a request without a Host".to_owned());
    }
    if let Some(host) = hosts.into_iter().flatten().find(|it| !is_loopback(it)) {
        return refuse(format!("Host `{host}` is not a loopback address"));
    }
    match text(header::ORIGIN)
        .map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host))
    {
        Some(origin) if !is_loopback(origin) => {
            refuse(format!("Origin `{origin}` is not this server"))
        }
        _ => Ok(()),
    }
}

fn is_loopback(host_and_port: &str) -> bool {
    let host = match host_and_port.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host_and_port.split(':').next().unwrap_or(""),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_loopback() {
        for host in ["localhost:7070", "127.0.0.1", "127.8.9.1:1", "[::1]:7070"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:7070",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
