//! A process killed with SIGKILL while it appends loses nothing it acknowledged.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use mainstay_core::ports::Ledger;
use mainstay_store::Store;

use crate::support::{one, options};

/// Set in the child: the database to append to.
const DATABASE: &str = "MAINSTAY_STORE_KILLED";
/// Streams the child appends to at once.
const WRITERS: usize = 16;
/// Acknowledged entries after which the child is killed; it is in the middle of the next group.
const KILLED_AFTER: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_kill_nine_is_there_on_reopening() {
    if let Some(database) = std::env::var_os(DATABASE) {
        return append_until_killed(Path::new(&database)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut acknowledged = BTreeMap::new();
    for _ in 0..3 {
        acknowledged.extend(run_and_kill(&path));
        let store = Store::sqlite(&path, options()).await.unwrap();
        let (count, _) = store.verify().await.unwrap();
        let mut stored = BTreeMap::new();
        while (stored.len() as u64) < count {
            let page = store.since(stored.len() as u64, 1_000).await.unwrap();
            stored.extend(page.into_iter().map(|e| (e.seq, e.hash.to_string())));
        }
        for (seq, hash) in &acknowledged {
            assert_eq!(stored.get(seq), Some(hash), "entry {seq} was acknowledged");
        }
        let rows = store.list("counts", "w/", None, WRITERS).await.unwrap();
        let folded: u64 = rows
            .iter()
            .map(|row| row.body.parse::<u64>().unwrap())
            .sum();
        assert_eq!(folded, count, "a projection and its entries parted");
        store.close().await;
    }
}

/// Position and hash of every entry the child acknowledged before it died.
fn run_and_kill(path: &Path) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("killed::what_was_acknowledged_before_kill_nine_is_there_on_reopening")
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut entries = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((seq, hash)) = line
            .strip_prefix("acknowledged ")
            .and_then(|entry| entry.split_once(' '))
        {
            entries.push((seq.parse().unwrap(), hash.to_owned()));
        }
        if entries.len() == KILLED_AFTER {
            // SIGKILL; what the pipe still holds was acknowledged too and is read below.
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(entries.len() >= KILLED_AFTER);
    entries
}

async fn append_until_killed(path: &Path) {
    let store = Store::sqlite(path, options()).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        let stream = format!("w/{writer}");
        let row = store.get("counts", &stream).await.unwrap();
        let mut version = row.map_or(0, |row| row.body.parse().unwrap());
        tasks.spawn(async move {
            loop {
                let written = store.append(one(&stream, version)).await.unwrap();
                version += 1;
                let line = format!("acknowledged {} {}\n", written[0].seq, written[0].hash);
                // The parent is gone: so is the reason to go on.
                if std::io::stdout().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
    tasks.join_all().await;
}
