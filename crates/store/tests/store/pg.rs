//! A real PostgreSQL of a test's own, started for it and ended with it.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// Where distributions put the server's programs.
const VERSIONS: &str = "/usr/lib/postgresql";
/// How often a starting server is asked whether it answers: for a minute.
const ATTEMPTS_MAX: u32 = 3_000;

/// A server that ends with this value; its files go with the folder.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends it at once: the files are thrown away, nothing needs a clean end.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.process.wait();
    }
}

fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir(VERSIONS).into_iter().flatten();
    std::env::split_paths(&on_path)
        .chain(
            installed
                .flatten()
                .map(|version| version.path().join("bin")),
        )
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .map(|folder| std::fs::canonicalize(folder.join("postgres")).unwrap())
        .and_then(|program| program.parent().map(Path::to_owned))
}

/// The uid and gid to run as: the server refuses root.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody"))
}

fn command(program: PathBuf, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

pub(crate) async fn start() -> Result<Server, String> {
    let programs = programs().ok_or("no initdb and postgres on PATH or in /usr/lib/postgresql")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    if let Some((uid, gid)) = account() {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
            .map_err(|error| error.to_string())?;
    }
    let made = command(programs.join("initdb"), folder.path())
        .args([
            "-D", "data", "-U", "mainstay", "-A", "trust", "-N", "-E", "UTF8",
        ])
        .output()
        .map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    let process = command(programs.join("postgres"), folder.path())
        .args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off"])
        .args(["-c", "max_connections=200", "-k"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut server = Server { process, folder };
    let url = server.url("postgres");
    let mut attempts = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..ATTEMPTS_MAX {
        attempts.tick().await;
        if let Ok(connection) = PgConnection::connect(&url).await {
            connection
                .close()
                .await
                .map_err(|error| error.to_string())?;
            return Ok(server);
        }
        if let Ok(Some(status)) = server.process.try_wait() {
            return Err(format!("postgres ended with {status}"));
        }
    }
    Err("postgres accepts no connection".to_owned())
}

impl Server {
    pub(crate) fn url(&self, database: &str) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://mainstay@{socket}/{database}")
    }

    /// An empty database, known by its number.
    pub(crate) async fn fresh(&self, number: usize) -> String {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE d{number}")))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        self.url(&format!("d{number}"))
    }
}

/// Says what was not checked; where nothing may be skipped, that is a failure.
pub(crate) fn skipped(what: &str, why: &str) {
    let said = format!("skipped: {what} on PostgreSQL: {why}");
    assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
    println!("{said}");
}
