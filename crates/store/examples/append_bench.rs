//! Appends a second on SQLite, flushed to disk, with 128 writers at once.
//!
//! `cargo run --release -p mainstay-store --example append_bench [FOLDER]`

use std::{error::Error, path::PathBuf, time::Instant};

use mainstay_core::{Actor, Append, Expected, NewEntry, StreamId, Time, ports::Ledger};
use mainstay_store::{Options, Store};

const WRITERS: u64 = 128;
const APPENDS_EACH: u64 = 200;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| place.path().to_owned(), PathBuf::from);
    let store = Store::sqlite(folder.join("append_bench.db"), Options::default()).await?;
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
            Ok::<(), mainstay_core::ports::LedgerError>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let took = started.elapsed().as_secs_f64();
    let appends = WRITERS * APPENDS_EACH;
    let rate = appends as f64 / took;
    println!("{appends} appends by {WRITERS} writers in {took:.2} s: {rate:.0} appends/s");
    let started = Instant::now();
    let (entries, _) = store.verify().await?;
    println!(
        "{entries} entries verified in {:.2} s",
        started.elapsed().as_secs_f64()
    );
    store.close().await;
    Ok(())
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
