//! `serve` and `up`.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use mainstay_server::{ApplyRequest, ApplyResponse};
use mainstay_store::{Options, Store};

use crate::{
    args::{Format, Global, Serve},
    client::Client,
    config::Config,
    output, platform, yaml,
};

const EXAMPLE: &str = include_str!("../../../../examples/site.yaml");

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
    running.until_signal().await
}

pub(crate) async fn up(listen: SocketAddr, data_dir: Option<PathBuf>) -> anyhow::Result<()> {
    log_to_stderr();
    let temporary = data_dir.is_none();
    let data_dir = data_dir.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("mainstay-up-{}", std::process::id()))
    });
    let result = up_in(listen, &data_dir).await;
    if temporary && let Err(error) = std::fs::remove_dir_all(&data_dir) {
        tracing::warn!("cannot remove {}: {error}", data_dir.display());
    }
    result
}

async fn up_in(listen: SocketAddr, data_dir: &std::path::Path) -> anyhow::Result<()> {
    let running = platform::start(platform::open_data_dir(data_dir).await?, listen, false).await?;
    let server = format!("http://{}", running.address);
    let client = Client::new(&Global {
        server: server.clone(),
        token: None,
        output: Format::Table,
    })?;
    let resources = yaml::parse("examples/site.yaml", EXAMPLE)?;
    let request = ApplyRequest {
        resources,
        reason: "the example catalog".to_owned(),
        dry_run: false,
    };
    let applied: ApplyResponse = client.post("/api/v1/apply", &request).await?;
    output::print(&format!(
        "Mainstay is up at {server} with {} example resources.",
        applied.results.len()
    ))?;
    output::print("Try, in another terminal:")?;
    let flag = if listen.port() == 7070 {
        String::new()
    } else {
        format!(" --server {server}")
    };
    for command in [
        "get services",
        "changes",
        "ledger verify",
        "apply -f examples/site.yaml",
    ] {
        output::print(&format!("  mainstay {command}{flag}"))?;
    }
    output::print("Ctrl-C stops it.")?;
    running.until_signal().await
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
