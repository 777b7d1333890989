//! API tokens: 256 random bits, shown once.
//!
//! Guarantees: only the SHA-256 of a secret is stored; a revoked token fails its next check. Never
//! returns a secret again, and never says whether a name or a secret was wrong.
//!
//! Example: `let secret = store.create_token("ci", &["deploy".into()], now).await?;` gives a text
//! that starts with `mst_`.

use mainstay_core::Time;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    engine::{reading, writing},
    error::StoreError,
    limits::{LIST_ROWS_MAX, check_name, within},
    rows::page,
    store::Store,
};

/// What a secret starts with, so that scanners of source code find leaked ones.
const PREFIX: &str = "mst_";
/// Most scopes of one token.
const SCOPES_MAX: usize = 64;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name: the actor of what is done with it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Time,
}

impl Store {
    /// Makes a token and returns its secret, for the only time.
    pub async fn create_token(
        &self,
        name: &str,
        scopes: &[String],
        now: Time,
    ) -> Result<String, StoreError> {
        check_name("a token's name in bytes", name)?;
        within("scopes of a token", scopes.len(), SCOPES_MAX)?;
        for scope in scopes {
            check_name("a scope in bytes", scope)?;
        }
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
        let secret = format!("{PREFIX}{}", hex(&random));
        let scopes = serde_json::Value::from(scopes.to_vec()).to_string();
        let made = writing!(&self.engine, pool => {
            sqlx::query(
                "INSERT INTO token (name, digest, scopes, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (name) DO NOTHING",
            )
            .bind(name)
            .bind(digest(&secret))
            .bind(scopes)
            .bind(now.millis())
            .execute(pool)
            .await?
            .rows_affected()
        });
        if made == 0 {
            return Err(StoreError::TokenExists(name.to_owned()));
        }
        Ok(secret)
    }

    /// Whose secret this is; `None` when nobody's.
    pub async fn check_token(&self, secret: &str) -> Result<Option<TokenInfo>, StoreError> {
        if secret.len() != PREFIX.len() + 64 || !secret.starts_with(PREFIX) {
            return Ok(None);
        }
        let wanted = digest(secret);
        // The index may compare byte by byte: what leaks is the start of a digest, which does not
        // lead to a secret. The decision itself takes the same time wherever they differ.
        let row: Option<(String, String, String, i64)> = reading!(&self.engine, pool => {
            sqlx::query_as("SELECT name, digest, scopes, created_at FROM token WHERE digest = $1")
                .bind(&wanted)
                .fetch_optional(pool)
                .await?
        });
        Ok(row.and_then(|(name, stored, scopes, created_at)| {
            let same = stored.as_bytes().ct_eq(wanted.as_bytes());
            bool::from(same).then(|| info(name, &scopes, created_at))
        }))
    }

    /// Ends a token; false when there is none of this name.
    pub async fn revoke_token(&self, name: &str) -> Result<bool, StoreError> {
        let removed = writing!(&self.engine, pool => {
            sqlx::query("DELETE FROM token WHERE name = $1")
                .bind(name)
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(removed == 1)
    }

    /// Tokens by name, after `after_name`, at most `limit` and never more than [`LIST_ROWS_MAX`].
    pub async fn list_tokens(
        &self,
        after_name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<TokenInfo>, StoreError> {
        let rows: Vec<(String, String, i64)> = reading!(&self.engine, pool => {
            sqlx::query_as(
                "SELECT name, scopes, created_at FROM token WHERE name > $1 ORDER BY name LIMIT $2",
            )
            .bind(after_name.unwrap_or_default())
            .bind(page(limit, LIST_ROWS_MAX))
            .fetch_all(pool)
            .await?
        });
        let tokens = rows
            .into_iter()
            .map(|(name, scopes, created_at)| info(name, &scopes, created_at));
        Ok(tokens.collect())
    }
}

fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Scopes that somebody edited into something else than a list grant nothing.
fn info(name: String, scopes: &str, created_at: i64) -> TokenInfo {
    TokenInfo {
        name,
        scopes: serde_json::from_str(scopes).unwrap_or_default(),
        created_at: Time::from_millis(created_at),
    }
}
