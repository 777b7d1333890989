//! Where the server is reached: its own port, and those that senders of OTLP know.
//!
//! Guarantees: a port that somebody asked for is listened on, or the start fails and says which. The well-known ports
//! of OTLP are taken where nobody asked and they are free; where they are not, that is logged and nothing else changes.
//! Never listens beyond loopback where no token is asked for.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use mainstay_server::Doors;
use tokio::net::TcpListener;

/// Ports of OTLP: gRPC, and HTTP.
const OTLP_PORTS: [u16; 2] = [4_317, 4_318];

/// Listens on `all`, and for OTLP on `otlp`, or where senders look without being told.
pub(crate) async fn open(
    all: SocketAddr,
    otlp: Option<&[SocketAddr]>,
    is_open: bool,
) -> anyhow::Result<Doors> {
    let listener = TcpListener::bind(all)
        .await
        .with_context(|| format!("cannot listen on {all}: choose another with --listen"))?;
    let otlp = match otlp {
        Some(asked) => asked_for(asked, is_open).await?,
        None => well_known(all).await,
    };
    Ok(Doors {
        all: listener,
        otlp,
    })
}

async fn asked_for(asked: &[SocketAddr], is_open: bool) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(asked.len());
    for address in asked {
        ensure!(
            !is_open || address.ip().is_loopback(),
            "refusing to take OTLP on {address} without authentication: set `require_token = true` in [server], or \
             name a loopback address in otlp_listen"
        );
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address} for OTLP: choose another in otlp_listen of [server]"
            )
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn well_known(beside: SocketAddr) -> Vec<TcpListener> {
    let mut listeners = Vec::new();
    for port in OTLP_PORTS {
        let address = SocketAddr::new(beside.ip(), port);
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => tracing::info!(
                %error,
                "OTLP is not taken on {address}; it is on the server's own port, and otlp_listen of [server] names others"
            ),
        }
    }
    listeners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_port_that_was_asked_for_is_had_or_the_start_says_which_is_not() {
        let doors = open(loopback(), Some(&[loopback()]), true).await.unwrap();
        let taken = doors.otlp[0].local_addr().unwrap();
        let error = open(loopback(), Some(&[taken]), true).await.unwrap_err();
        let says = format!("cannot listen on {taken} for OTLP");
        assert!(error.to_string().contains(&says), "{error}");
    }

    #[tokio::test]
    async fn without_authentication_nothing_is_taken_from_beyond_loopback() {
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let error = open(loopback(), Some(&[anywhere]), true).await.unwrap_err();
        assert!(error.to_string().contains("require_token"), "{error}");
        assert!(open(loopback(), Some(&[anywhere]), false).await.is_ok());
    }

    #[tokio::test]
    async fn none_are_opened_where_none_are_wanted() {
        let doors = open(loopback(), Some(&[]), true).await.unwrap();
        assert!(doors.otlp.is_empty());
    }
}
