//! The two databases behind one small surface: pools, the schema, and transactions.
//!
//! Guarantees: every statement but the schema's and the lock's is the same text on both; a
//! transaction that begins here holds the chain's head until it ends, so that entries become
//! visible in the order of their positions. Never leaves a half-made schema.
//!
//! Example: `let mut tx = engine.begin().await?; let head = tx.lock_head().await?;`

use std::{path::Path, time::Duration};

use mainstay_core::{Entry, Hash, StreamId};
use sqlx::{
    PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::StoreError,
    many::{Many, list, nameless, texts, tuples},
    rows::{self, EntryRow, HeadRow, big},
};

/// The schema this program reads and writes.
const FORMAT: i64 = 1;
/// Readers of one database: more only queue inside it.
const READ_CONNECTIONS_MAX: u32 = 4;
/// Connections to PostgreSQL of one process.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;
/// How long to wait for another process that writes.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// `$key` orders by bytes: SQLite does, PostgreSQL has to be told. `$seq` has 64 bits; SQLite's `INTEGER` is the
/// row's own place, which saves an index.
macro_rules! schema {
    ($key:literal, $seq:literal) => {
        [
            "CREATE TABLE IF NOT EXISTS head (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, \
             hash TEXT NOT NULL, format BIGINT NOT NULL)",
            concat!("CREATE TABLE IF NOT EXISTS entry (seq ", $seq, " PRIMARY KEY, stream TEXT NOT NULL, \
             version BIGINT NOT NULL, at BIGINT NOT NULL, actor TEXT NOT NULL, \
             verified BIGINT NOT NULL, kind TEXT NOT NULL, schema BIGINT NOT NULL, \
             body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (stream, version))"),
            concat!(
                "CREATE TABLE IF NOT EXISTS projection (name TEXT NOT NULL, key ",
                $key,
                " NOT NULL, body TEXT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (name, key))"
            ),
            "CREATE TABLE IF NOT EXISTS projected (name TEXT PRIMARY KEY)",
            "CREATE TABLE IF NOT EXISTS held (name TEXT PRIMARY KEY, owner TEXT NOT NULL, \
             epoch BIGINT NOT NULL, beats BIGINT NOT NULL, place TEXT NOT NULL)",
            concat!(
                "CREATE TABLE IF NOT EXISTS timer (id ",
                $key,
                " PRIMARY KEY, due_at BIGINT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)"
            ),
            "CREATE INDEX IF NOT EXISTS timer_due ON timer (due_at, id)",
            concat!(
                "CREATE TABLE IF NOT EXISTS token (name ",
                $key,
                " PRIMARY KEY, digest TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, \
                 created_at BIGINT NOT NULL)"
            ),
            "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        ]
    };
}

/// Runs a body of statements on the pool for reading.
macro_rules! reading {
    ($engine:expr, $pool:ident => $body:expr) => {
        match $engine {
            $crate::engine::Engine::Sqlite { read: $pool, .. } => $body,
            $crate::engine::Engine::Postgres($pool) => $body,
        }
    };
}

/// Runs a body of single statements on the pool for writing.
macro_rules! writing {
    ($engine:expr, $pool:ident => $body:expr) => {
        match $engine {
            $crate::engine::Engine::Sqlite { write: $pool, .. } => $body,
            $crate::engine::Engine::Postgres($pool) => $body,
        }
    };
}

/// Runs a body of statements within a transaction.
macro_rules! within {
    ($tx:expr, $connection:ident => $body:expr) => {
        match $tx {
            $crate::engine::Tx::Sqlite(tx) => {
                let $connection = &mut **tx;
                $body
            }
            $crate::engine::Tx::Postgres(tx) => {
                let $connection = &mut **tx;
                $body
            }
        }
    };
}

pub(crate) use {reading, within, writing};

const SINCE: &str = "SELECT seq, stream, version, at, actor, verified, kind, schema, body, prev, \
                     hash FROM entry WHERE seq > $1 ORDER BY seq LIMIT $2";
const STREAM: &str = "SELECT seq, stream, version, at, actor, verified, kind, schema, body, prev, \
                      hash FROM entry WHERE stream = $1 ORDER BY version";

static VERSIONS: Many = Many::new(|| {
    texts(|streams| {
        let streams = list(1, streams);
        format!("SELECT stream, MAX(version) FROM entry WHERE stream IN {streams} GROUP BY stream")
    })
});
const ENTRY: &str =
    "entry (seq, stream, version, at, actor, verified, kind, schema, body, prev, hash)";
static INSERT: Many =
    Many::new(|| texts(|rows| format!("INSERT INTO {ENTRY} VALUES {}", tuples(rows, 11))));
/// SQLite copies every page that a statement of many rows changes, so that the statement alone can be undone,
/// unless a conflict undoes the whole transaction; here it does anyway. And it looks names of values up one after
/// another: these have none.
static INSERT_SQLITE: Many = Many::new(|| {
    texts(|rows| {
        format!(
            "INSERT OR ROLLBACK INTO {ENTRY} VALUES {}",
            nameless(rows, 11)
        )
    })
});

/// A database.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// One connection writes, several read.
    Sqlite { write: SqlitePool, read: SqlitePool },
    /// The database sorts writers out.
    Postgres(PgPool),
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Engine {
    pub(crate) async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS_MAX)
            .connect_with(options)
            .await?;
        Self::Sqlite { write, read }.ready().await
    }

    /// A SQLite database that is one connection: it lives as long as the connection does.
    pub(crate) async fn memory() -> Result<Self, StoreError> {
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(SqliteConnectOptions::new().in_memory(true))
            .await?;
        let read = write.clone();
        Self::Sqlite { write, read }.ready().await
    }

    pub(crate) async fn postgres(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .acquire_timeout(LOCK_WAIT)
            .connect_with(options)
            .await?;
        Self::Postgres(pool).ready().await
    }

    async fn ready(self) -> Result<Self, StoreError> {
        let mut tx = self.begin().await?;
        if let Tx::Postgres(tx) = &mut tx {
            sqlx::query("SELECT pg_advisory_xact_lock(5566101)")
                .execute(&mut **tx)
                .await?;
        }
        let schema = match &tx {
            Tx::Sqlite(_) => schema!("TEXT", "INTEGER"),
            Tx::Postgres(_) => schema!("TEXT COLLATE \"C\"", "BIGINT"),
        };
        for statement in schema {
            within!(&mut tx, connection => {
                sqlx::query(statement).execute(connection).await?;
            });
        }
        let found: i64 = within!(&mut tx, connection => {
            sqlx::query(
                "INSERT INTO head (id, seq, hash, format) VALUES (1, 0, $1, $2) \
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(Hash::GENESIS.to_string())
            .bind(FORMAT)
            .execute(&mut *connection)
            .await?;
            sqlx::query_scalar("SELECT format FROM head WHERE id = 1")
                .fetch_one(&mut *connection)
                .await?
        });
        if found != FORMAT {
            return Err(StoreError::Format {
                found,
                known: FORMAT,
            });
        }
        tx.commit().await?;
        Ok(self)
    }

    pub(crate) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        Ok(match self {
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Where the chain ends, or what is wrong with the row that says so.
    pub(crate) async fn head(&self) -> Result<Result<Head, String>, StoreError> {
        let HeadRow(head) = reading!(self, pool => {
            sqlx::query_as("SELECT seq, hash FROM head WHERE id = 1").fetch_one(pool).await?
        });
        Ok(head)
    }

    /// The newest position; none where the head cannot be read, which appends and `verify` report.
    pub(crate) async fn newest(&self) -> Result<u64, StoreError> {
        Ok(self.head().await?.map_or(0, |head| head.seq))
    }

    pub(crate) async fn since(&self, seq: u64, limit: i64) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<EntryRow> = reading!(self, pool => {
            sqlx::query_as(SINCE).bind(big(seq)).bind(limit).fetch_all(pool).await?
        });
        Ok(rows::following(seq, rows)?)
    }

    pub(crate) async fn stream(&self, stream: &StreamId) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<EntryRow> = reading!(self, pool => {
            sqlx::query_as(STREAM).bind(stream.as_str()).fetch_all(pool).await?
        });
        Ok(rows::whole(rows)?)
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction that may write.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// Reads the head and keeps all other writers out until the end of the transaction.
    pub(crate) async fn lock_head(&mut self) -> Result<Head, sqlx::Error> {
        let HeadRow(head) = match self {
            // BEGIN IMMEDIATE holds SQLite's only write lock already.
            Self::Sqlite(tx) => {
                sqlx::query_as("SELECT seq, hash FROM head WHERE id = 1")
                    .fetch_one(&mut **tx)
                    .await?
            }
            Self::Postgres(tx) => {
                sqlx::query_as("SELECT seq, hash FROM head WHERE id = 1 FOR UPDATE")
                    .fetch_one(&mut **tx)
                    .await?
            }
        };
        head.map_err(|what| sqlx::Error::Decode(what.into()))
    }

    pub(crate) async fn set_head(&mut self, head: Head) -> Result<(), sqlx::Error> {
        within!(self, connection => {
            sqlx::query("UPDATE head SET seq = $1, hash = $2 WHERE id = 1")
                .bind(big(head.seq))
                .bind(head.hash.to_string())
                .execute(connection)
                .await?;
        });
        Ok(())
    }

    /// The versions of those of `streams` that have entries.
    pub(crate) async fn versions(
        &mut self,
        streams: &[&StreamId],
    ) -> Result<Vec<(StreamId, u64)>, sqlx::Error> {
        let mut versions = Vec::with_capacity(streams.len());
        for (text, run) in VERSIONS.runs(streams) {
            let rows: Vec<(String, i64)> = within!(self, connection => {
                let mut query = sqlx::query_as(text);
                for stream in run {
                    query = query.bind(stream.as_str());
                }
                query.fetch_all(connection).await?
            });
            versions.extend(rows.into_iter().map(|(stream, version)| {
                (StreamId::new(stream), u64::try_from(version).unwrap_or(0))
            }));
        }
        Ok(versions)
    }

    pub(crate) async fn insert(&mut self, entries: &[&Entry]) -> Result<(), sqlx::Error> {
        let insert = match self {
            Self::Sqlite(_) => &INSERT_SQLITE,
            Self::Postgres(_) => &INSERT,
        };
        for (text, run) in insert.runs(entries) {
            within!(self, connection => {
                let mut query = sqlx::query(text);
                for entry in run {
                    query = query
                        .bind(big(entry.seq))
                        .bind(entry.stream.as_str())
                        .bind(big(entry.version))
                        .bind(entry.at.millis())
                        .bind(&entry.actor.id)
                        .bind(i64::from(entry.actor.verified))
                        .bind(&entry.kind)
                        .bind(i64::from(entry.schema))
                        .bind(&entry.body)
                        .bind(entry.prev.to_string())
                        .bind(entry.hash.to_string());
                }
                query.execute(connection).await?;
            });
        }
        Ok(())
    }

    pub(crate) async fn since(&mut self, seq: u64, limit: i64) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<EntryRow> = within!(self, connection => {
            sqlx::query_as(SINCE).bind(big(seq)).bind(limit).fetch_all(connection).await?
        });
        Ok(rows::following(seq, rows)?)
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }
}
