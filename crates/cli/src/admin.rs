//! The listener beside the work: metrics and readiness of an agent or a router.
//!
//! **Guarantees.** What is told is computed on a thread that may block, at most [`SCRAPES_AT_ONCE`] at once;
//! beyond, whoever asks hears 503. **Never** serves users, and never listens where the server could not
//! find it.
//!
//! ```text
//! let admin = Admin::bind(args.admin).await?;
//! let url = admin.metrics_url();
//! let administered = admin.serve(Arc::new(teller), stop.clone());
//! ```

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, bail};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::{JoinHandle, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

/// Scrapes computed at once: two scrapers and a person, and one more.
const SCRAPES_AT_ONCE: usize = 4;

/// What has something to tell.
pub(crate) trait Tells: Send + Sync + 'static {
    /// Its metrics, in the Prometheus text format; may block.
    fn metrics(&self) -> String;
    /// Whether it does its work, or why not.
    fn ready(&self) -> Result<(), &'static str>;
}

/// A listener that nobody is answered on yet.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Listens on `address`; port 0 takes a free one.
    pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        if address.ip().is_unspecified() {
            bail!("--admin {address} names no address that the server can scrape: name one");
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another with --admin"))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where the metrics are scraped.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Answers until `stop`.
    pub(crate) fn serve(
        self,
        told: Arc<impl Tells>,
        stop: CancellationToken,
    ) -> JoinHandle<std::io::Result<()>> {
        let desk = Desk {
            told,
            scrapes: Arc::new(Semaphore::new(SCRAPES_AT_ONCE)),
        };
        let serving =
            axum::serve(self.listener, routes(desk)).with_graceful_shutdown(stop.cancelled_owned());
        tokio::spawn(serving.into_future())
    }
}

struct Desk<T> {
    told: Arc<T>,
    scrapes: Arc<Semaphore>,
}

impl<T> Clone for Desk<T> {
    fn clone(&self) -> Self {
        Self {
            told: Arc::clone(&self.told),
            scrapes: Arc::clone(&self.scrapes),
        }
    }
}

fn routes<T: Tells>(desk: Desk<T>) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(metrics::<T>))
        .route("/-/ready", get(ready::<T>))
        .route("/-/healthy", get(async || "healthy\n"))
        .with_state(desk)
}

async fn metrics<T: Tells>(State(desk): State<Desk<T>>) -> Response {
    let Ok(permit) = Arc::clone(&desk.scrapes).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many scrapes at once\n",
        )
            .into_response();
    };
    let told = spawn_blocking(move || {
        let _held_until_told = permit;
        desk.told.metrics()
    });
    match told.await {
        Ok(text) => {
            let kind = (
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            );
            ([kind], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be told");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready<T: Tells>(State(desk): State<Desk<T>>) -> (StatusCode, String) {
    match desk.told.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_nobody_could_scrape_is_refused() {
        let refused = Admin::bind(([0, 0, 0, 0], 0).into()).await.err().unwrap();
        assert!(
            refused.to_string().contains("names no address"),
            "{refused}"
        );
    }
}
