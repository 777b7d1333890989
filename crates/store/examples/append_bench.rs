//! Appends a second on SQLite, flushed to disk, by writers that keep every commit full.
//!
//! `cargo run --release -p mainstay-store --example append_bench [FOLDER]`
//!
//! There are four writers for each place in a group: while some read their answer, others fill the next group.

use std::{error::Error, path::PathBuf, time::Instant};

use mainstay_core::{
    Actor, Append, Expected, NewEntry, StreamId, Time,
    ports::{Ledger, LedgerError},
};
use mainstay_store::{GROUP_APPENDS_MAX, Options, Store};

const WRITERS: u64 = 4 * GROUP_APPENDS_MAX as u64;
const APPENDS_EACH: u64 = 300;
/// A disk's speed differs from one second to the next.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| place.path().to_owned(), PathBuf::from);
    let store = Store::sqlite(folder.join("append_bench.db"), Options::default()).await?;
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rates.push(round(&store).await?);
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "figure ledger_appends_per_s {:.0} appends/s",
        rates[ROUNDS / 2]
    );
    let started = Instant::now();
    let (entries, _) = store.verify().await?;
    let took = started.elapsed().as_secs_f64();
    println!("{entries} entries verified in {took:.2} s");
    println!(
        "figure ledger_verify_per_s {:.0} entries/s",
        entries as f64 / took
    );
    store.close().await;
    Ok(())
}

async fn round(store: &Store) -> Result<f64, Box<dyn Error>> {
    let already = *store.subscribe().borrow();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for version in 0..APPENDS_EACH {
                let stream = StreamId::new(format!("bench/{already}/{writer}"));
                store.append(append(stream, version)).await?;
            }
            Ok::<(), LedgerError>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let took = started.elapsed().as_secs_f64();
    let appends = WRITERS * APPENDS_EACH;
    let rate = appends as f64 / took;
    println!("{appends} appends by {WRITERS} writers in {took:.2} s: {rate:.0} appends/s");
    Ok(rate)
}

fn append(stream: StreamId, version: u64) -> Append {
    Append {
        actor: Actor::system(),
        at: Time::from_millis(0),
        expected: vec![Expected {
            stream: stream.clone(),
            version,
        }],
        entries: vec![NewEntry {
            stream,
            kind: "bench.appended".to_owned(),
            schema: 1,
            body: format!("{{\"text\":\"{}\"}}", "x".repeat(200)),
        }],
    }
}
