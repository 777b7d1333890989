//! Mainstay and those it is measured beside, as processes: each on a free port, with a folder of its own.
//!
//! Guarantees: all get the same requests by the same protocol; what a peer needs to take them is said here and
//! nowhere else. A peer that is not installed is left out, and said to be.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use mainstay_siege::{Connection, Server, Usage, free_address, usage};
use serde_json::Value;
use tempfile::TempDir;

/// How long one may take to be ready.
const READY_WITHIN: Duration = Duration::from_mins(3);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Mainstay,
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Mainstay, Self::Prometheus, Self::VictoriaMetrics];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Mainstay => "mainstay",
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoriametrics",
        }
    }

    fn ready(self) -> &'static str {
        match self {
            Self::Mainstay | Self::Prometheus => "/-/ready",
            Self::VictoriaMetrics => "/health",
        }
    }

    fn binary(self, own: &Path) -> PathBuf {
        match self {
            Self::Mainstay => own.to_owned(),
            Self::Prometheus => "prometheus".into(),
            Self::VictoriaMetrics => "victoria-metrics".into(),
        }
    }

    /// Whether it can be started here.
    fn is_there(self, own: &Path) -> bool {
        let asked = Command::new(self.binary(own))
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !asked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) server: Server,
    home: TempDir,
}

impl Peer {
    /// Starts one with an empty folder; nothing where it is not installed.
    pub(super) fn start(kind: Kind, own: &Path) -> anyhow::Result<Option<Self>> {
        if !kind.is_there(own) {
            return Ok(None);
        }
        let home = tempfile::tempdir().context("cannot make a folder")?;
        let server = launch(kind, own, home.path())?;
        let mut peer = Self { kind, server, home };
        peer.wait_ready()?;
        Ok(Some(peer))
    }

    /// Starts it anew on what it has, after a kill; how long until it is ready.
    pub(super) fn restart(self, own: &Path) -> anyhow::Result<(Self, Duration)> {
        let Self { kind, server, home } = self;
        server.kill().context("cannot kill it")?;
        let server = launch(kind, own, home.path())?;
        let mut peer = Self { kind, server, home };
        let took = peer.wait_ready()?;
        Ok((peer, took))
    }

    fn wait_ready(&mut self) -> anyhow::Result<Duration> {
        let ready = self.server.wait_ready(self.kind.ready(), READY_WITHIN);
        ready.with_context(|| format!("{} does not start", self.kind))
    }

    pub(super) fn connection(&self) -> anyhow::Result<Connection> {
        Connection::open(self.server.address(), PATIENCE)
            .with_context(|| format!("{} is not reached", self.kind))
    }

    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.server.id()).with_context(|| format!("{} cannot be measured", self.kind))
    }

    /// The folder that it keeps its samples in.
    pub(super) fn data(&self) -> PathBuf {
        match self.kind {
            Kind::Mainstay => self.home.path().join("data/metrics"),
            Kind::Prometheus | Kind::VictoriaMetrics => self.home.path().join("data"),
        }
    }

    /// What a query answers, its `data.result`.
    pub(super) fn asked(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.connection()?.get(path);
        let answer = answer.with_context(|| format!("{} does not answer {path}", self.kind))?;
        ensure!(
            answer.is_good(),
            "{} answers {} to {path}: {}",
            self.kind,
            answer.status,
            answer.text()
        );
        let mut answered: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("{} answers no JSON to {path}", self.kind))?;
        Ok(answered["data"]["result"].take())
    }
}

fn launch(kind: Kind, own: &Path, home: &Path) -> anyhow::Result<Server> {
    let address = free_address().context("no free port")?;
    let mut command = Command::new(kind.binary(own));
    let data = home.join("data");
    match kind {
        Kind::Mainstay => {
            command.args(["serve", "--listen", &address.to_string(), "--data-dir"]);
            command.arg(data);
        }
        Kind::Prometheus => {
            let config = home.join("prometheus.yml");
            std::fs::write(&config, "global: {}\n").context("cannot write")?;
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address={address}"))
                .args([
                    "--web.enable-remote-write-receiver",
                    "--web.enable-admin-api",
                ])
                .arg("--query.max-samples=1000000000")
                .arg("--log.level=error");
        }
        Kind::VictoriaMetrics => {
            command
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr={address}"))
                .args(["-retentionPeriod=12", "-search.latencyOffset=0s"])
                .args([
                    "-search.maxUniqueTimeseries=3000000",
                    "-search.disableCache",
                ])
                .args([
                    "-search.maxSamplesPerQuery=2000000000",
                    "-search.maxQueryDuration=300s",
                ])
                .args(["-search.maxSeries=3000000", "-loggerLevel=ERROR"]);
        }
    }
    let log = home.join("log");
    Server::start(&mut command, address, &log).with_context(|| format!("{kind} does not start"))
}
