//! Entries as the database holds them: BIGINT and TEXT only.
//!
//! Guarantees: what is read back equals what was written, or is reported broken at its position;
//! a row somebody edited never panics. Example: a hash column of `zz` is a [`Broken`] entry.

use mainstay_core::{Actor, Entry, Hash, StreamId, Time, ledger::Broken};

/// seq, stream, version, at, actor, verified, kind, schema, body, prev, hash.
pub(crate) type EntryRow = (
    i64,
    String,
    i64,
    i64,
    String,
    i64,
    String,
    i64,
    String,
    String,
    String,
);

pub(crate) fn entry(row: EntryRow) -> Result<Entry, Broken> {
    let (seq, stream, version, at, actor, verified, kind, schema, body, prev, hash) = row;
    let seq = u64::try_from(seq).unwrap_or(0);
    let broken = |column: &str| Broken {
        seq,
        what: format!("its column {column} holds no valid value"),
    };
    Ok(Entry {
        seq,
        stream: StreamId::new(stream),
        version: u64::try_from(version).map_err(|_| broken("version"))?,
        at: Time::from_millis(at),
        actor: Actor {
            id: actor,
            verified: match verified {
                0 => false,
                1 => true,
                _ => return Err(broken("verified")),
            },
        },
        kind,
        schema: u16::try_from(schema).map_err(|_| broken("schema"))?,
        body,
        prev: Hash::parse(&prev).ok_or_else(|| broken("prev"))?,
        hash: Hash::parse(&hash).ok_or_else(|| broken("hash"))?,
    })
}

pub(crate) fn entries(rows: Vec<EntryRow>) -> Result<Vec<Entry>, Broken> {
    rows.into_iter().map(entry).collect()
}

/// A position or count as the database stores it.
pub(crate) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A page's size as the database takes it.
pub(crate) fn page(limit: usize, limit_max: usize) -> i64 {
    i64::try_from(limit.min(limit_max)).unwrap_or(i64::MAX)
}
