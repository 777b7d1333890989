//! The conformance suite on a real PostgreSQL, started for it and ended with it.

use std::{
    future::Future,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mainstay_core::ports::Ledger;
use mainstay_store::{Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::{
    ledger, records,
    support::{one, options},
};

/// Where distributions put the server's programs.
const VERSIONS: &str = "/usr/lib/postgresql";
/// How often a starting server is asked whether it answers: for a minute.
const ATTEMPTS_MAX: u32 = 3_000;

/// A server that ends with this value; its files go with the folder.
struct Server {
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

async fn start() -> Result<Server, String> {
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
    fn url(&self, database: &str) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://mainstay@{socket}/{database}")
    }

    /// An empty database, known by its number.
    async fn fresh(&self, number: usize) -> String {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE d{number}")))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        self.url(&format!("d{number}"))
    }

    async fn check<F: Future<Output = ()>>(&self, number: usize, check: impl FnOnce(Store) -> F) {
        let url = self.fresh(number).await;
        let store = Store::postgres(&url, options()).await.unwrap();
        check(store.clone()).await;
        store.close().await;
    }
}

macro_rules! one_after_another {
    ($($group:ident::$check:ident,)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres_passes_the_same_suite() {
            let server = match start().await {
                Ok(server) => server,
                Err(why) => return skipped(&[$(stringify!($check)),*], &why),
            };
            let mut number = 0;
            $(
                eprintln!("{}", stringify!($check));
                server.check(number, $group::$check).await;
                number += 1;
            )*
            two_processes_share_one_ledger(&server.fresh(number).await).await;
            let url = server.fresh(number + 1).await;
            let left = Store::postgres(&url, options()).await.unwrap();
            let right = Store::postgres(&url, options()).await.unwrap();
            ledger::a_writer_that_another_overtook_knows_it(left, right).await;
            a_column_of_another_type_is_the_first_broken_entry(&server.fresh(number + 2).await).await;
        }
    };
}
crate::conformance::checks!(one_after_another);

/// Says what was not checked; where nothing may be skipped, that is a failure.
fn skipped(checks: &[&str], why: &str) {
    let said = format!("skipped: {} checks on PostgreSQL: {why}", checks.len());
    assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
    println!("{said}");
}

/// Two stores on one database are what two processes are.
async fn two_processes_share_one_ledger(url: &str) {
    let (left, right) = tokio::join!(
        Store::postgres(url, options()),
        Store::postgres(url, options())
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    let mut feed = right.subscribe();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = if n % 2 == 0 {
            left.clone()
        } else {
            right.clone()
        };
        tasks.spawn(async move {
            store.append(one(&format!("s/{n}"), 0)).await.unwrap();
            store.append(one("raced", 0)).await.is_ok()
        });
    }
    let won = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
    let (count, head) = left.verify().await.unwrap();
    assert_eq!(count, 41);
    assert_eq!(right.verify().await.unwrap(), (count, head));
    left.append(one("news", 0)).await.unwrap();
    feed.wait_for(|seq| *seq == 42).await.unwrap();
    let rows = right.list("counts", "s/", None, 100).await.unwrap();
    assert_eq!(rows.len(), 40);
}

async fn a_column_of_another_type_is_the_first_broken_entry(url: &str) {
    let store = Store::postgres(url, options()).await.unwrap();
    for version in 0..3 {
        store.append(one("a", version)).await.unwrap();
    }
    store.close().await;
    for (statements, what) in [
        (
            "ALTER TABLE entry ALTER kind DROP NOT NULL; UPDATE entry SET kind = NULL WHERE seq = 2",
            "entry 2: its column kind holds nothing",
        ),
        (
            "ALTER TABLE entry ALTER body TYPE BYTEA USING body::BYTEA",
            "entry 1: its column body holds a BYTEA where TEXT belongs",
        ),
    ] {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let store = Store::postgres(url, options()).await.unwrap();
        let StoreError::Broken(broken) = Store::verify(&store).await.unwrap_err() else {
            panic!("an entry that cannot be read breaks the chain");
        };
        assert_eq!(broken.to_string(), what);
        store.close().await;
    }
}
