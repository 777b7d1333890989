//! Leases with fencing: who may act for a while, under an epoch that later holders exceed.
//!
//! Guarantees: at most one owner holds an unexpired lease, by the times passed in; every change of
//! owner, and every return after expiry or release, has a larger epoch, so that a receiver can
//! refuse the orders of an earlier holder. Never asks the database for the time.
//!
//! Example: `store.acquire("controller", "host-a/1", Span::from_secs(10), now)`.

use mainstay_core::{Span, Time};

use crate::{
    engine::{reading, writing},
    error::StoreError,
    limits::check_name,
    rows::big,
    store::Store,
};

/// A lease as its holder has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// Larger than that of every earlier holder.
    pub epoch: u64,
    /// When it ends unless renewed.
    pub expires_at: Time,
}

impl Store {
    /// Takes the lease if it is free, expired or already `owner`'s; `None` while another holds it.
    pub async fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Span,
        now: Time,
    ) -> Result<Option<Lease>, StoreError> {
        check_name("a lease's name in bytes", name)?;
        check_name("an owner's name in bytes", owner)?;
        let expires_at = now + ttl;
        let epoch: Option<i64> = writing!(&self.engine, pool => {
            sqlx::query_scalar(
                "INSERT INTO lease (name, owner, epoch, expires_at) VALUES ($1, $2, 1, $3) \
                 ON CONFLICT (name) DO UPDATE SET owner = $2, expires_at = $3, \
                 epoch = lease.epoch + CASE WHEN lease.owner = $2 AND lease.expires_at > $4 \
                 THEN 0 ELSE 1 END \
                 WHERE lease.expires_at <= $4 OR lease.owner = $2 RETURNING epoch",
            )
            .bind(name)
            .bind(owner)
            .bind(expires_at.millis())
            .bind(now.millis())
            .fetch_optional(pool)
            .await?
        });
        Ok(epoch.map(|epoch| Lease {
            name: name.to_owned(),
            owner: owner.to_owned(),
            epoch: u64::try_from(epoch).unwrap_or(0),
            expires_at,
        }))
    }

    /// Prolongs a lease still held; `None` when it expired or another took it.
    pub async fn renew(
        &self,
        lease: &Lease,
        ttl: Span,
        now: Time,
    ) -> Result<Option<Lease>, StoreError> {
        let expires_at = now + ttl;
        let renewed = writing!(&self.engine, pool => {
            sqlx::query(
                "UPDATE lease SET expires_at = $1 \
                 WHERE name = $2 AND owner = $3 AND epoch = $4 AND expires_at > $5",
            )
            .bind(expires_at.millis())
            .bind(&lease.name)
            .bind(&lease.owner)
            .bind(big(lease.epoch))
            .bind(now.millis())
            .execute(pool)
            .await?
            .rows_affected()
        });
        Ok((renewed == 1).then(|| Lease {
            expires_at,
            ..lease.clone()
        }))
    }

    /// Gives a lease back; false when it was no longer this holder's. The epoch stays on record.
    pub async fn release(&self, lease: &Lease) -> Result<bool, StoreError> {
        let released = writing!(&self.engine, pool => {
            sqlx::query(
                "UPDATE lease SET expires_at = $1 WHERE name = $2 AND owner = $3 AND epoch = $4",
            )
            .bind(i64::MIN)
            .bind(&lease.name)
            .bind(&lease.owner)
            .bind(big(lease.epoch))
            .execute(pool)
            .await?
            .rows_affected()
        });
        Ok(released == 1)
    }

    /// Who holds the lease, if it has not expired.
    pub async fn holder(&self, name: &str, now: Time) -> Result<Option<Lease>, StoreError> {
        let row: Option<(String, i64, i64)> = reading!(&self.engine, pool => {
            sqlx::query_as(
                "SELECT owner, epoch, expires_at FROM lease WHERE name = $1 AND expires_at > $2",
            )
            .bind(name)
            .bind(now.millis())
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(|(owner, epoch, expires_at)| Lease {
            name: name.to_owned(),
            owner,
            epoch: u64::try_from(epoch).unwrap_or(0),
            expires_at: Time::from_millis(expires_at),
        }))
    }
}
