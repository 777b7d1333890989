//! `serve`.

use std::io::IsTerminal as _;

use anyhow::Context;
use mainstay_store::{Options, Store};
use rustix::process::{Signal, getpid, kill_process};

use crate::{args::Serve, config::Config, ending, platform};

pub(crate) async fn serve(args: Serve) -> anyhow::Result<()> {
    log_to_stderr();
    let config = args
        .config
        .as_deref()
        .map(Config::read)
        .transpose()?
        .unwrap_or_default();
    let store = match &config.store.url {
        Some(url) => Store::postgres(url, Options::default())
            .await
            .context("cannot connect to the store")?,
        None => platform::open_data_dir(&args.data_dir).await?,
    };
    let listen = args.listen.unwrap_or(config.server.listen);
    let running = platform::start(store, listen, config.server.require_token).await?;
    tracing::info!("listening on http://{}", running.address);
    tokio::select! {
        ended = running.until_signal() => ended,
        // A signal follows, and with it the end above.
        () = leash(args.leash) => std::future::pending().await,
    }
}

/// On a leash, the end of standard input is a SIGTERM.
async fn leash(held: bool) {
    if !held {
        std::future::pending().await
    }
    ending::input_end().await;
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        tracing::error!("whoever started this is gone, and it cannot stop itself: {error}");
    }
}

pub(super) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    // An error only means that a subscriber is installed already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}
