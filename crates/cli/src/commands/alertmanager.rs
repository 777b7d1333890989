//! `mainstay alertmanager`: in place of the `alertmanager` binary, with its flags and its configuration file.
//!
//! **Guarantees.** SIGHUP and `POST /-/reload` read the configuration again, all or nothing; what was answered with
//! 200 survives a kill. **Never** takes a flag that it does not honour where that would change who is told: such a
//! flag is refused by its name.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use mainstay_core::Span;
use mainstay_oncall::adapter::{Options, Service};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::ending;

/// The subcommand's name.
const NAME: &str = "alertmanager";

/// The original's flags. Those of its cluster that only pace it are taken; those that would make one are refused.
#[derive(Debug, Args)]
pub(crate) struct Alertmanager {
    /// The configuration file.
    #[arg(long = "config.file", default_value = "alertmanager.yml")]
    config_file: PathBuf,
    /// Where silences, alerts and what was told are kept.
    #[arg(long = "storage.path", default_value = "data/")]
    storage: PathBuf,
    /// How long silences are kept after their end, and what was told.
    #[arg(long = "data.retention", default_value = "120h")]
    retention: Span,
    /// How often what is on disk is written anew.
    #[arg(long = "data.maintenance-interval", default_value = "15m")]
    maintenance_interval: Span,
    /// How often alerts that are over are forgotten.
    #[arg(long = "alerts.gc-interval", default_value = "30m")]
    gc_interval: Span,
    /// How long a silence may last at most; longer ones are refused.
    #[arg(long = "silences.max-duration")]
    longest_silence: Option<Span>,
    /// Where to listen; `:9093` is every address of this machine. May be repeated.
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9093", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Where others reach it; in links, and its path before all paths.
    #[arg(long = "web.external-url")]
    external_url: Option<String>,
    /// The path before all paths, where it is not that of the external URL.
    #[arg(long = "web.route-prefix")]
    route_prefix: Option<String>,
    /// How much is logged: debug, info, warn or error.
    #[arg(long = "log.level", default_value = "info", value_parser = ["debug", "info", "warn", "error"])]
    log_level: String,
    #[command(flatten)]
    taken: Taken,
    #[command(flatten)]
    refused: Refused,
}

/// Flags that are taken, so that a unit file stays as it is, and change nothing.
#[derive(Debug, Args)]
struct Taken {
    #[arg(long = "log.format", hide = true)]
    log_format: Option<String>,
    #[arg(long = "web.get-concurrency", hide = true)]
    get_concurrency: Option<i64>,
    #[arg(long = "web.timeout", hide = true)]
    timeout: Option<String>,
    #[arg(long = "web.ui-path", hide = true)]
    ui_path: Option<String>,
    #[arg(long = "cluster.listen-address", hide = true)]
    cluster_listen: Option<String>,
    #[arg(long = "cluster.advertise-address", hide = true)]
    advertise: Option<String>,
    #[arg(long = "cluster.peer-timeout", hide = true)]
    peer_timeout: Option<String>,
    #[arg(long = "cluster.gossip-interval", hide = true)]
    gossip: Option<String>,
    #[arg(long = "cluster.pushpull-interval", hide = true)]
    pushpull: Option<String>,
    #[arg(long = "cluster.tcp-timeout", hide = true)]
    tcp_timeout: Option<String>,
    #[arg(long = "cluster.probe-timeout", hide = true)]
    probe_timeout: Option<String>,
    #[arg(long = "cluster.probe-interval", hide = true)]
    probe_interval: Option<String>,
    #[arg(long = "cluster.settle-timeout", hide = true)]
    settle: Option<String>,
    #[arg(long = "cluster.reconnect-interval", hide = true)]
    reconnect_interval: Option<String>,
    #[arg(long = "cluster.reconnect-timeout", hide = true)]
    reconnect_timeout: Option<String>,
    #[arg(long = "cluster.label", hide = true)]
    label: Option<String>,
    #[arg(
        long = "cluster.allow-insecure-public-advertise-address-discovery",
        hide = true
    )]
    discovery: bool,
}

/// Flags that would change who is told, or who may ask.
#[derive(Debug, Args)]
struct Refused {
    #[arg(long = "cluster.peer", hide = true)]
    peers: Vec<String>,
    #[arg(long = "cluster.tls-config", hide = true)]
    cluster_tls: Option<String>,
    #[arg(long = "web.config.file", hide = true)]
    web_config: Option<String>,
    #[arg(long = "web.systemd-socket", hide = true)]
    systemd_socket: bool,
}

impl Refused {
    fn check(&self) -> anyhow::Result<()> {
        let said = |text: &Option<String>| text.as_deref().is_some_and(|it| !it.is_empty());
        ensure!(
            self.peers.is_empty(),
            "--cluster.peer: several instances do not yet know of each other, and each would tell everybody\n  \
             remedy: run one, and let its supervisor restart it; nothing that it accepted is lost"
        );
        ensure!(
            !said(&self.cluster_tls),
            "--cluster.tls-config: there is no cluster to encrypt\n  remedy: remove the flag"
        );
        ensure!(
            !said(&self.web_config),
            "--web.config.file: TLS and passwords are not served here\n  \
             remedy: listen on loopback behind a proxy that does both"
        );
        ensure!(
            !self.systemd_socket,
            "--web.systemd-socket: sockets of systemd are not taken\n  remedy: use --web.listen-address"
        );
        Ok(())
    }
}

/// An address as Go writes it: without a host it is every address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.replace("localhost:", "127.0.0.1:"),
    };
    whole
        .parse()
        .map_err(|_| format!("`{text}` is no address such as 127.0.0.1:9093 or :9093"))
}

/// The command line, where flags with one dash and a dot in their name are those with two.
pub(crate) fn with_two_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_ours = false;
    args.into_iter()
        .map(|arg| {
            let text = arg.to_str().unwrap_or_default();
            let is_long = text.starts_with('-')
                && !text.starts_with("--")
                && text
                    .split('=')
                    .next()
                    .is_some_and(|name| name.contains('.'));
            let doubled = (is_ours && is_long).then(|| OsString::from(format!("-{text}")));
            is_ours |= text == NAME;
            doubled.unwrap_or(arg)
        })
        .collect()
}

pub(crate) async fn run(args: Alertmanager) -> anyhow::Result<()> {
    super::log_to_stderr(&args.log_level);
    args.refused.check()?;
    drop(args.taken);
    let service = Service::start(Options {
        config_file: args.config_file,
        storage: args.storage,
        listen: args.listen,
        external_url: args.external_url,
        route_prefix: args.route_prefix,
        retention: args.retention,
        maintenance_interval: args.maintenance_interval,
        gc_interval: args.gc_interval,
        longest_silence: args.longest_silence,
    })
    .await?;
    for address in service.addresses() {
        tracing::info!("alerts are taken on http://{address}");
        if !address.ip().is_loopback() {
            tracing::warn!(
                "{address} is not loopback: whoever reaches it may silence everything, as with the original"
            );
        }
    }
    let stop = CancellationToken::new();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut serving = tokio::spawn(std::sync::Arc::clone(&service).run(stop.clone()));
    let told = ending::told(false);
    tokio::pin!(told);
    loop {
        tokio::select! {
            ended = &mut serving => return ended?.context("serving ended"),
            told = &mut told => {
                told?;
                stop.cancel();
                return serving.await?.context("serving ended");
            }
            // What is wrong is logged, and everything stays as it was.
            _ = hangup.recv() => drop(service.reload()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        let line = [
            "mainstay",
            "alertmanager",
            "-config.file=a.yml",
            "-h",
            "--storage.path",
            "x",
        ];
        let expected = [
            "mainstay",
            "alertmanager",
            "--config.file=a.yml",
            "-h",
            "--storage.path",
            "x",
        ];
        assert_eq!(
            with_two_dashes(line.map(OsString::from)),
            expected.map(OsString::from)
        );
        let other = ["mainstay", "query", "-a.b"].map(OsString::from);
        assert_eq!(with_two_dashes(other.clone()), other);
    }

    #[test]
    fn an_address_without_a_host_is_every_address() {
        assert_eq!(address(":9093").unwrap().to_string(), "0.0.0.0:9093");
        assert_eq!(address("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert!(address("9093").unwrap_err().contains(":9093"));
    }
}
