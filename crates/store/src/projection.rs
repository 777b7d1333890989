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

/// The rows touched in one transaction, written once at its end.
#[derive(Default)]
pub(crate) struct Folds {
    rows: BTreeMap<(&'static str, String), (Option<String>, u64)>,
}

impl Folds {
    pub(crate) async fn apply(
        &mut self,
        tx: &mut Tx,
        projection: &dyn Projection,
        entry: &Entry,
    ) -> Result<(), sqlx::Error> {
        for key in projection.keys(entry) {
            let row = (projection.name(), key);
            let current = match self.rows.get(&row) {
                Some((body, _)) => body.clone(),
                None => tx.projected(row.0, &row.1).await?,
            };
            let body = projection.fold(&row.1, current.as_deref(), entry);
            self.rows.insert(row, (body, entry.seq));
        }
        Ok(())
    }

    pub(crate) async fn flush(self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        for ((name, key), (body, seq)) in self.rows {
            match body {
                Some(body) => tx.put_projected(name, &key, &body, seq).await?,
                None => tx.delete_projected(name, &key).await?,
            }
        }
        Ok(())
    }
}

impl Tx {
    async fn projected(&mut self, name: &str, key: &str) -> Result<Option<String>, sqlx::Error> {
        within!(self, connection => {
            sqlx::query_scalar("SELECT body FROM projection WHERE name = $1 AND key = $2")
                .bind(name)
                .bind(key)
                .fetch_optional(connection)
                .await
        })
    }

    async fn put_projected(
        &mut self,
        name: &str,
        key: &str,
        body: &str,
        seq: u64,
    ) -> Result<(), sqlx::Error> {
        within!(self, connection => {
            sqlx::query(
                "INSERT INTO projection (name, key, body, seq) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (name, key) DO UPDATE SET body = $3, seq = $4",
            )
            .bind(name)
            .bind(key)
            .bind(body)
            .bind(big(seq))
            .execute(connection)
            .await?;
        });
        Ok(())
    }

    async fn delete_projected(&mut self, name: &str, key: &str) -> Result<(), sqlx::Error> {
        within!(self, connection => {
            sqlx::query("DELETE FROM projection WHERE name = $1 AND key = $2")
                .bind(name)
                .bind(key)
                .execute(connection)
                .await?;
        });
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
                self.rebuild(projection.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// Empties the projection and folds every entry again, while all writers wait.
    pub(crate) async fn rebuild(&self, projection: &dyn Projection) -> Result<(), StoreError> {
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
            let mut folds = Folds::default();
            for entry in &entries {
                folds.apply(&mut tx, projection, entry).await?;
            }
            folds.flush(&mut tx).await?;
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
