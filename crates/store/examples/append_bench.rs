//! Appends a second on SQLite, flushed to disk: by one writer, by some, by as many as keep every commit full;
//! beside it what SQLite alone does with the same rows, in commits of as many.
//!
//! `cargo run --release -p mainstay-store --example append_bench [FOLDER]`; lines that begin with `figure` are
//! held against the budgets by `cargo xtask bench ledger-append`.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mainstay_core::{
    Actor, Append, Entry, Expected, NewEntry, StreamId, Time,
    ports::{Ledger, LedgerError},
};
use mainstay_store::{GROUP_APPENDS_MAX, Options, PAGE_ENTRIES_MAX, Store};
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

/// Writers at once. Four for each place in a group: while some read their answer, others fill the next group.
const WRITERS: [u64; 4] = [1, 16, 128, 4 * GROUP_APPENDS_MAX as u64];
/// How long each number of writers writes.
const ROUND: Duration = Duration::from_secs(3);
/// A disk's speed differs from one second to the next.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| place.path().to_owned(), PathBuf::from);
    let store = Store::sqlite(folder.join("append_bench.db"), Options::default()).await?;
    let mut rates = vec![Vec::new(); WRITERS.len()];
    let mut alone = Vec::new();
    for number in 0..ROUNDS {
        for (rates, writers) in rates.iter_mut().zip(WRITERS) {
            rates.push(round(&store, writers).await?);
        }
        let rows = store.since(0, PAGE_ENTRIES_MAX).await?;
        alone.push(sqlite_alone(&folder.join(format!("alone{number}.db")), &rows).await?);
    }
    let alone = median(&mut alone);
    let mut fastest = 0.0_f64;
    for (mut rates, writers) in rates.into_iter().zip(WRITERS) {
        let rate = median(&mut rates);
        fastest = fastest.max(rate);
        println!("figure ledger_appends_per_s_{writers} {rate:.0}");
    }
    println!("figure ledger_share_of_sqlite_alone {:.2}", fastest / alone);
    let started = Instant::now();
    let (entries, _) = Store::verify(&store).await?;
    let took = started.elapsed().as_secs_f64();
    println!("{entries} entries verified in {took:.2} s");
    println!("figure ledger_verify_per_s {:.0}", entries as f64 / took);
    store.close().await;
    Ok(())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn round(store: &Store, writers: u64) -> Result<f64, Box<dyn Error>> {
    let already = *store.subscribe().borrow();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut version = 0;
            while started.elapsed() < ROUND {
                let stream = StreamId::new(format!("bench/{already}/{writer}"));
                store.append(append(stream, version)).await?;
                version += 1;
            }
            Ok::<u64, LedgerError>(version)
        });
    }
    let mut appends = 0;
    while let Some(task) = tasks.join_next().await {
        appends += task??;
    }
    let rate = appends as f64 / started.elapsed().as_secs_f64();
    println!("{writers} writers: {appends} appends, {rate:.0} a second");
    Ok(rate)
}

fn append(stream: StreamId, version: u64) -> Append {
    Append {
        actor: Actor::verified("bench"),
        at: Time::from_millis(1),
        expected: vec![Expected {
            stream: stream.clone(),
            version,
        }],
        entries: vec![NewEntry {
            stream,
            kind: "bench.appended".to_owned(),
            schema: 1,
            body: format!("{{\"n\":{version},\"step\":\"verify\",\"verdict\":\"pass\"}}"),
        }],
    }
}

/// Rows a second that SQLite takes when one task writes finished rows, a group to a statement and a commit, each
/// row to a stream of its own, as a group of appends has them: what bounds both is that every stream dirties a
/// page of the index.
async fn sqlite_alone(file: &Path, rows: &[Entry]) -> Result<f64, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query(
        "CREATE TABLE entry (seq INTEGER PRIMARY KEY, stream TEXT NOT NULL, version BIGINT NOT NULL, \
         at BIGINT NOT NULL, actor TEXT NOT NULL, verified BIGINT NOT NULL, kind TEXT NOT NULL, \
         schema BIGINT NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, \
         UNIQUE (stream, version))",
    )
    .execute(&mut connection)
    .await?;
    let tuples = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; GROUP_APPENDS_MAX].join(", ");
    let insert = format!("INSERT OR ROLLBACK INTO entry VALUES {tuples}");
    let (mut seq, started) = (0_i64, Instant::now());
    while started.elapsed() < ROUND {
        let mut commit = connection.begin().await?;
        let mut query = sqlx::query(AssertSqlSafe(insert.as_str()));
        for (number, row) in rows.iter().cycle().take(GROUP_APPENDS_MAX).enumerate() {
            seq += 1;
            query = query
                .bind(seq)
                .bind(format!("bench/{number}"))
                .bind(seq)
                .bind(row.at.millis())
                .bind(&row.actor.id)
                .bind(1_i64)
                .bind(&row.kind)
                .bind(1_i64)
                .bind(&row.body)
                .bind(row.prev.to_string())
                .bind(row.hash.to_string());
        }
        query.execute(&mut *commit).await?;
        commit.commit().await?;
    }
    let rate = seq as f64 / started.elapsed().as_secs_f64();
    println!("SQLite alone, {GROUP_APPENDS_MAX} rows a commit: {rate:.0} a second");
    Ok(rate)
}
