//! Secrets that all servers of one ledger share, such as what links are signed with.
//!
//! Guarantees: whoever asks first decides, and everybody gets the same. Never in an entry, and never shown.
//!
//! Example: `store.secret("links", &random).await`.

use crate::{
    engine::{reading, writing},
    error::StoreError,
    limits::{check_name, check_text},
    store::Store,
};

impl Store {
    /// The secret of this name; `fresh` from now on, where there is none yet.
    pub async fn secret(&self, name: &str, fresh: &str) -> Result<String, StoreError> {
        check_name("a secret's name in bytes", name)?;
        check_name("a secret in bytes", fresh)?;
        check_text("NUL bytes in a secret", fresh)?;
        writing!(&self.engine, pool => {
            sqlx::query("INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(name)
                .bind(fresh)
                .execute(pool)
                .await?;
        });
        let value: String = reading!(&self.engine, pool => {
            sqlx::query_scalar("SELECT value FROM secret WHERE name = $1")
                .bind(name)
                .fetch_one(pool)
                .await?
        });
        Ok(value)
    }
}
