//! What leaves the process, at real receivers; and the original beside it.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

mod channels;
mod original;

use std::{net::SocketAddr, path::Path, time::Duration};

use mainstay_core::Span;
use mainstay_oncall::adapter::{Options, Service};
use tokio_util::sync::CancellationToken;

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// A service for `am.yml` in a folder; where it listens.
async fn ours(folder: &Path) -> SocketAddr {
    let service = Service::start(Options {
        config_file: folder.join("am.yml"),
        storage: folder.join("ours"),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        external_url: Some("http://am.example/".to_owned()),
        route_prefix: Some("/".to_owned()),
        retention: Span::from_secs(3600),
        maintenance_interval: Span::from_secs(900),
        gc_interval: Span::from_secs(1800),
        longest_silence: None,
    });
    let service = service.await.unwrap();
    let address = service.addresses()[0];
    tokio::spawn(service.run(CancellationToken::new()));
    address
}
