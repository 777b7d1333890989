//! Entries as the database holds them: BIGINT and TEXT only.
//!
//! Guarantees: what is read back equals what was written, or is reported broken at its position; a row that
//! somebody edited never panics, and never hides the rows before it. SQLite keeps a value of any type in any
//! column, so that each column is asked for its own.
//!
//! Example: a body that was made a BLOB is a [`Broken`] entry, as is a hash of `zz`.

use mainstay_core::{Actor, Entry, Hash, StreamId, Time, ledger::Broken};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type, TypeInfo as _, ValueRef as _};

use crate::engine::Head;

/// The columns of an entry, as every statement lists them.
const COLUMNS: [&str; 11] = [
    "seq", "stream", "version", "at", "actor", "verified", "kind", "schema", "body", "prev", "hash",
];

/// A row of the table `entry`.
pub(crate) struct EntryRow {
    /// Its position, where it still has one.
    seq: Option<u64>,
    /// The entry, or why it cannot be read.
    entry: Result<Entry, String>,
}

impl<'r, R> FromRow<'r, R> for EntryRow
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let entry = entry(|index| column(row, index), |index| column(row, index));
        let seq = column(row, 0).and_then(|seq| number(0, seq)).ok();
        Ok(Self { seq, entry })
    }
}

/// The head's row, or what is wrong with it.
pub(crate) struct HeadRow(pub(crate) Result<Head, String>);

impl<'r, R> FromRow<'r, R> for HeadRow
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let seq = row.try_get::<i64, _>(0).ok();
        let hash = row.try_get::<String, _>(1).ok();
        let head = seq
            .and_then(|seq| u64::try_from(seq).ok())
            .zip(hash.and_then(|it| Hash::parse(&it)));
        let what = || "the ledger's head holds no position and hash".to_owned();
        Ok(Self(
            head.map(|(seq, hash)| Head { seq, hash }).ok_or_else(what),
        ))
    }
}

/// An entry of its columns, by their index.
fn entry(
    big: impl Fn(usize) -> Result<i64, String>,
    text: impl Fn(usize) -> Result<String, String>,
) -> Result<Entry, String> {
    Ok(Entry {
        seq: number(0, big(0)?)?,
        stream: StreamId::new(text(1)?),
        version: number(2, big(2)?)?,
        at: Time::from_millis(big(3)?),
        actor: Actor {
            id: text(4)?,
            verified: match big(5)? {
                0 => false,
                1 => true,
                _ => return Err(invalid(5)),
            },
        },
        kind: text(6)?,
        schema: number(7, big(7)?)?,
        body: text(8)?,
        prev: Hash::parse(&text(9)?).ok_or_else(|| invalid(9))?,
        hash: Hash::parse(&text(10)?).ok_or_else(|| invalid(10))?,
    })
}

/// The value of a column, or which column holds what instead.
fn column<'r, T, R>(row: &'r R, index: usize) -> Result<T, String>
where
    R: Row,
    usize: ColumnIndex<R>,
    T: Decode<'r, R::Database> + Type<R::Database>,
{
    row.try_get(index).map_err(|error| {
        let name = COLUMNS[index];
        match row.try_get_raw(index) {
            Ok(value) if value.is_null() => format!("its column {name} holds nothing"),
            Ok(value) if !T::compatible(&value.type_info()) => {
                let found = value.type_info().name().to_owned();
                let wanted = T::type_info();
                format!(
                    "its column {name} holds a {found} where {} belongs",
                    wanted.name()
                )
            }
            Ok(_) | Err(_) => format!("its column {name} cannot be read: {error}"),
        }
    })
}

fn number<T: TryFrom<i64>>(index: usize, value: i64) -> Result<T, String> {
    T::try_from(value).map_err(|_| invalid(index))
}

fn invalid(index: usize) -> String {
    format!("its column {} holds no valid value", COLUMNS[index])
}

/// The entries after position `since`, up to the first that cannot be read; that one is the error once none
/// stands before it.
pub(crate) fn following(since: u64, rows: Vec<EntryRow>) -> Result<Vec<Entry>, Broken> {
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        match row.entry {
            Ok(entry) => entries.push(entry),
            Err(_) if !entries.is_empty() => break,
            Err(what) => return Err(broken(since + 1, row.seq, what)),
        }
    }
    Ok(entries)
}

/// The entries of a stream, all of them or the first that cannot be read.
pub(crate) fn whole(rows: Vec<EntryRow>) -> Result<Vec<Entry>, Broken> {
    let entry = |row: EntryRow| {
        row.entry
            .map_err(|what| broken(row.seq.unwrap_or(0), row.seq, what))
    };
    rows.into_iter().map(entry).collect()
}

/// What stands at `seq`, by what was found there: a ledger has no gaps.
fn broken(seq: u64, found: Option<u64>, what: String) -> Broken {
    let what = match found {
        Some(found) if found != seq => {
            format!("missing; the next stored entry is {found}, and {what}")
        }
        Some(_) | None => what,
    };
    Broken { seq, what }
}

/// A position or count as the database stores it.
pub(crate) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A page's size as the database takes it.
pub(crate) fn page(limit: usize, limit_max: usize) -> i64 {
    i64::try_from(limit.min(limit_max)).unwrap_or(i64::MAX)
}
