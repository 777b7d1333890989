//! What only a database file shows: tampering, reopening, a full disk.

use std::path::Path;

use mainstay_core::{
    StreamId,
    ports::{Ledger, LedgerError},
};
use mainstay_store::{Options, Store, StoreError};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    ledger,
    support::{one, options},
};

async fn tamper(path: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let changed = sqlx::query(statement).execute(&mut connection).await;
    assert!(changed.unwrap().rows_affected() > 0);
    connection.close().await.unwrap();
}

async fn broken_at(statement: &'static str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Store::sqlite(&path, options()).await.unwrap();
    for version in 0..5 {
        store.append(one("a", version)).await.unwrap();
    }
    assert_eq!(store.verify().await.unwrap().0, 5);
    tamper(&path, statement).await;
    match store.verify().await.unwrap_err() {
        StoreError::Broken(broken) => broken.seq,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn whatever_is_tampered_with_breaks_the_chain_at_its_place() {
    for (statement, seq) in [
        ("UPDATE entry SET body = '{\"n\":2}' WHERE seq = 3", 3),
        ("UPDATE entry SET actor = 'eve' WHERE seq = 1", 1),
        ("UPDATE entry SET verified = 7 WHERE seq = 2", 2),
        ("UPDATE entry SET hash = 'zz' WHERE seq = 4", 4),
        ("DELETE FROM entry WHERE seq = 2", 2),
        ("DELETE FROM entry WHERE seq = 5", 5),
        ("UPDATE head SET seq = 4", 6),
        ("UPDATE head SET hash = 'zz'", 6),
        ("UPDATE head SET hash = x'00'", 6),
        ("UPDATE head SET seq = 'five'", 6),
        (
            "UPDATE entry SET body = CAST(body AS BLOB) WHERE seq = 3",
            3,
        ),
        (
            "UPDATE entry SET body = CAST(x'ff' AS TEXT) WHERE seq = 3",
            3,
        ),
        ("UPDATE entry SET stream = x'61' WHERE seq = 5", 5),
        ("UPDATE entry SET at = 'noon' WHERE seq = 2", 2),
        // A position that is no integer is refused by SQLite itself.
        ("UPDATE entry SET seq = 40 WHERE seq = 4", 4),
        (
            "UPDATE entry SET body = CASE seq WHEN 2 THEN 'x' ELSE x'78' END WHERE seq IN (2, 4)",
            2,
        ),
    ] {
        assert_eq!(broken_at(statement).await, seq, "{statement}");
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_named_and_hides_none_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Store::sqlite(&path, options()).await.unwrap();
    for version in 0..5 {
        store.append(one("a", version)).await.unwrap();
    }
    tamper(&path, "UPDATE entry SET body = x'7b7d' WHERE seq = 4").await;
    assert_eq!(store.since(0, 10).await.unwrap().len(), 3);
    let LedgerError::Broken(broken) = store.since(3, 10).await.unwrap_err() else {
        panic!("an entry that cannot be read breaks the ledger");
    };
    assert_eq!(
        broken.to_string(),
        "entry 4: its column body holds a BLOB where TEXT belongs"
    );
    let unreadable = store.stream(&StreamId::new("a")).await.unwrap_err();
    assert_eq!(unreadable, LedgerError::Broken(broken));
}

#[tokio::test]
async fn nothing_is_chained_to_a_head_that_somebody_edited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Store::sqlite(&path, options()).await.unwrap();
    store.append(one("a", 0)).await.unwrap();
    tamper(&path, "UPDATE head SET hash = 'zz'").await;
    let refused = store.append(one("a", 1)).await.unwrap_err();
    assert!(
        refused.to_string().contains("the ledger's head"),
        "{refused}"
    );
    assert_eq!(store.since(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reopened_ledger_continues_its_chain_and_builds_projections_it_never_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Store::sqlite(&path, Options::default()).await.unwrap();
    store.append(one("a", 0)).await.unwrap();
    store.close().await;
    let store = Store::sqlite(&path, options()).await.unwrap();
    assert_eq!(*store.subscribe().borrow(), 1);
    assert_eq!(store.get("counts", "a").await.unwrap().unwrap().body, "1");
    store.append(one("a", 1)).await.unwrap();
    assert_eq!(store.get("counts", "a").await.unwrap().unwrap().body, "2");
    assert_eq!(store.verify().await.unwrap().0, 2);
}

#[tokio::test]
async fn two_stores_on_one_file_write_one_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let left = Store::sqlite(&path, options()).await.unwrap();
    let right = Store::sqlite(&path, options()).await.unwrap();
    ledger::a_writer_that_another_overtook_knows_it(left, right).await;
}

#[tokio::test]
async fn only_restoring_appends_may_use_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        reserve_bytes: u64::MAX,
        ..Options::default()
    };
    let path = folder.path().join("ledger.db");
    let store = Store::sqlite(&path, options).await.unwrap();
    let refused = store.append(one("a", 0)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Full { .. }), "{refused}");
    store.append_restoring(one("a", 0)).await.unwrap();
    assert_eq!(store.verify().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    Store::sqlite(&path, options()).await.unwrap().close().await;
    tamper(&path, "UPDATE head SET format = 2").await;
    let refused = Store::sqlite(&path, options()).await.err().unwrap();
    assert!(matches!(refused, StoreError::Format { found: 2, .. }));
}

/// One thread: the writer cannot run before all have been offered.
#[tokio::test]
async fn more_writers_than_the_queue_holds_are_told_to_try_again() {
    let store = Store::memory(options()).await.unwrap();
    let appends = (0..1_100).map(|n| {
        let store = store.clone();
        async move { store.append(one(&format!("s/{n}"), 0)).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for append in appends {
        tasks.spawn(append);
    }
    let outcomes = tasks.join_all().await;
    let overloaded = |outcome: &&Result<_, LedgerError>| {
        matches!(outcome, Err(LedgerError::Overloaded { waiting: 1_024, .. }))
    };
    let refused = outcomes.iter().filter(overloaded).count();
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(refused > 0);
    assert_eq!(refused + written, 1_100);
    assert_eq!(store.verify().await.unwrap().0, written as u64);
}
