//! Tables folded from the ledger, in the transaction that writes the entries.
//!
//! Guarantees: a projection's rows are what its [`Projection::fold`] makes of all entries in order,
//! whether followed live or rebuilt; all processes on one database pass the same projections.
//! Never reads anything but the row it folds and the entry.
//!
//! Example: a projection that counts entries a stream has
//! `keys = |entry| vec![entry.stream.to_string()]` and `fold = |_, n, _| Some(n + 1)`.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::Entry;

use crate::{
    engine::{Engine, Tx, reading, within},
    error::StoreError,
    limits::{LIST_ROWS_MAX, PAGE_ENTRIES_MAX},
    many::{Many, list, texts, tuples},
    rows::{big, page},
};

/// How entries become rows. Pure: the same entries always give the same rows.
pub trait Projection: Send + Sync {
    /// Its name, by which rows are asked for.
    fn name(&self) -> &'static str;
    /// The rows this entry touches; never empty texts, and none larger than an index takes.
    fn keys(&self, entry: &Entry) -> Vec<String>;
    /// What the row holds after this entry; `None` deletes it.
    fn fold(&self, key: &str, current: Option<&str>, entry: &Entry) -> Option<String>;
}

/// A row of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// Its key.
    pub key: String,
    /// What was folded.
    pub body: String,
    /// The entry that touched it last.
    pub seq: u64,
}

/// A row of a projection as a transaction leaves it, and the entry that touched it last.
type Row = (Option<String>, u64);

/// Folds `entries` into all rows they touch: each is read once, and written once.
pub(crate) async fn fold(
    tx: &mut Tx,
    projections: &[Arc<dyn Projection>],
    entries: &[&Entry],
) -> Result<(), sqlx::Error> {
    for projection in projections {
        let touched: Vec<(String, &Entry)> = entries
            .iter()
            .flat_map(|entry| {
                let keys = projection.keys(entry).into_iter();
                keys.map(move |key| (key, *entry))
            })
            .collect();
        if touched.is_empty() {
            continue;
        }
        let mut rows: BTreeMap<String, Row> = touched
            .iter()
            .map(|(key, _)| (key.clone(), (None, 0)))
            .collect();
        let name = projection.name();
        let keys: Vec<&String> = rows.keys().collect();
        for (key, body) in tx.projected(name, &keys).await? {
            rows.insert(key, (Some(body), 0));
        }
        for (key, entry) in touched {
            let (body, seq) = rows.entry(key.clone()).or_default();
            *body = projection.fold(&key, body.as_deref(), entry);
            *seq = entry.seq;
        }
        let (kept, gone): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, (body, _))| body.is_some());
        tx.put_projected(name, &kept).await?;
        let gone: Vec<&String> = gone.into_iter().map(|(key, _)| key).collect();
        tx.delete_projected(name, &gone).await?;
    }
    Ok(())
}

static SELECT: Many = Many::new(|| {
    texts(|keys| {
        let keys = list(2, keys);
        format!("SELECT key, body FROM projection WHERE name = $1 AND key IN {keys}")
    })
});
static UPSERT: Many = Many::new(|| {
    texts(|rows| {
        format!(
            "INSERT INTO projection (name, key, body, seq) VALUES {} \
             ON CONFLICT (name, key) DO UPDATE SET body = excluded.body, seq = excluded.seq",
            tuples(rows, 4)
        )
    })
});
static DELETE: Many = Many::new(|| {
    texts(|keys| {
        let keys = list(2, keys);
        format!("DELETE FROM projection WHERE name = $1 AND key IN {keys}")
    })
});

impl Tx {
    async fn projected(
        &mut self,
        name: &str,
        keys: &[&String],
    ) -> Result<Vec<(String, String)>, sqlx::Error> {
        let mut found = Vec::new();
        for (text, run) in SELECT.runs(keys) {
            let rows: Vec<(String, String)> = within!(self, connection => {
                let mut query = sqlx::query_as(text).bind(name);
                for key in run {
                    query = query.bind(key.as_str());
                }
                query.fetch_all(connection).await?
            });
            found.extend(rows);
        }
        Ok(found)
    }

    async fn put_projected(
        &mut self,
        name: &str,
        rows: &[(&String, &Row)],
    ) -> Result<(), sqlx::Error> {
        for (text, run) in UPSERT.runs(rows) {
            within!(self, connection => {
                let mut query = sqlx::query(text);
                for (key, (body, seq)) in run {
                    query = query.bind(name).bind(key.as_str()).bind(body).bind(big(*seq));
                }
                query.execute(connection).await?;
            });
        }
        Ok(())
    }

    async fn delete_projected(&mut self, name: &str, keys: &[&String]) -> Result<(), sqlx::Error> {
        for (text, run) in DELETE.runs(keys) {
            within!(self, connection => {
                let mut query = sqlx::query(text).bind(name);
                for key in run {
                    query = query.bind(key.as_str());
                }
                query.execute(connection).await?;
            });
        }
        Ok(())
    }
}

impl Engine {
    pub(crate) async fn projected(
        &self,
        name: &str,
        key: &str,
    ) -> Result<Option<Projected>, StoreError> {
        let row: Option<(String, String, i64)> = reading!(self, pool => {
            sqlx::query_as("SELECT key, body, seq FROM projection WHERE name = $1 AND key = $2")
                .bind(name)
                .bind(key)
                .fetch_optional(pool)
                .await?
        });
        Ok(row.map(projected))
    }

    /// Rows whose key starts with `prefix` and lies after `after`, in byte order.
    pub(crate) async fn list_projected(
        &self,
        name: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Projected>, StoreError> {
        let end = format!("{prefix}{}", char::MAX);
        let rows: Vec<(String, String, i64)> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT key, body, seq FROM projection \
                 WHERE name = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5",
            )
            .bind(name)
            .bind(prefix)
            .bind(&end)
            .bind(after)
            .bind(page(limit, LIST_ROWS_MAX))
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(projected).collect())
    }

    /// Folds the projections that this database has never held.
    pub(crate) async fn build_missing(
        &self,
        projections: &[Arc<dyn Projection>],
    ) -> Result<(), StoreError> {
        for projection in projections {
            let known: Option<String> = reading!(self, pool => {
                sqlx::query_scalar("SELECT name FROM projected WHERE name = $1")
                    .bind(projection.name())
                    .fetch_optional(pool)
                    .await?
            });
            if known.is_none() {
                self.rebuild(projection).await?;
            }
        }
        Ok(())
    }

    /// Empties the projection and folds every entry again, while all writers wait.
    pub(crate) async fn rebuild(&self, projection: &Arc<dyn Projection>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.lock_head().await?;
        within!(&mut tx, connection => {
            sqlx::query("DELETE FROM projection WHERE name = $1")
                .bind(projection.name())
                .execute(&mut *connection)
                .await?;
            sqlx::query("INSERT INTO projected (name) VALUES ($1) ON CONFLICT (name) DO NOTHING")
                .bind(projection.name())
                .execute(&mut *connection)
                .await?;
        });
        let mut seq = 0;
        loop {
            let entries = tx
                .since(seq, page(PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX))
                .await?;
            let Some(last) = entries.last() else { break };
            seq = last.seq;
            let entries: Vec<&Entry> = entries.iter().collect();
            fold(&mut tx, std::slice::from_ref(projection), &entries).await?;
        }
        Ok(tx.commit().await?)
    }
}

fn projected((key, body, seq): (String, String, i64)) -> Projected {
    Projected {
        key,
        body,
        seq: u64::try_from(seq).unwrap_or(0),
    }
}
