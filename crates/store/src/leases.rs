//! Leases with fencing: who may act, under an epoch that later holders exceed.
//!
//! Guarantees: at most one owner holds a lease; every change of owner, and every return of one, has a larger epoch,
//! so that a receiver can refuse the orders of an earlier holder. Compares no clocks: a holder counts beats, and
//! whoever wants the lease watches by its own clock whether the count stands still
//! (docs/adr/0012). Never takes a lease away by itself.
//!
//! Example: `store.acquire("leader", "host-a", "http://10.0.0.1:7070")`, then `beat` every few seconds.

use crate::{
    engine::{reading, writing},
    error::StoreError,
    limits::check_name,
    rows::big,
    store::Store,
};

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// Larger than that of every earlier holder.
    pub epoch: u64,
    /// How often this holder said that it is there.
    pub beats: u64,
    /// Where the holder is reached; for people and for those who look for it.
    pub place: String,
}

/// The owner of a lease that was given back.
const NOBODY: &str = "";

impl Store {
    /// Takes a lease that nobody holds, or that `owner` held before it was started anew; `None` while another
    /// holds it.
    pub async fn acquire(
        &self,
        name: &str,
        owner: &str,
        place: &str,
    ) -> Result<Option<Lease>, StoreError> {
        check_name("a lease's name in bytes", name)?;
        check_name("an owner's name in bytes", owner)?;
        check_name("an owner's place in bytes", place)?;
        let epoch: Option<i64> = writing!(&self.engine, pool => {
            sqlx::query_scalar(
                "INSERT INTO held (name, owner, epoch, beats, place) VALUES ($1, $2, 1, 0, $3) \
                 ON CONFLICT (name) DO UPDATE SET owner = $2, place = $3, beats = 0, epoch = held.epoch + 1 \
                 WHERE held.owner = $2 OR held.owner = $4 RETURNING epoch",
            )
            .bind(name)
            .bind(owner)
            .bind(place)
            .bind(NOBODY)
            .fetch_optional(pool)
            .await?
        });
        Ok(epoch.map(|epoch| taken(name, owner, place, epoch)))
    }

    /// Takes a lease from whoever held it when it was `seen`; `None` where that one has said since that it is
    /// there, or another took it.
    pub async fn take_over(
        &self,
        seen: &Lease,
        owner: &str,
        place: &str,
    ) -> Result<Option<Lease>, StoreError> {
        check_name("an owner's name in bytes", owner)?;
        check_name("an owner's place in bytes", place)?;
        let epoch: Option<i64> = writing!(&self.engine, pool => {
            sqlx::query_scalar(
                "UPDATE held SET owner = $1, place = $2, beats = 0, epoch = epoch + 1 \
                 WHERE name = $3 AND epoch = $4 AND beats = $5 AND owner = $6 RETURNING epoch",
            )
            .bind(owner)
            .bind(place)
            .bind(&seen.name)
            .bind(big(seen.epoch))
            .bind(big(seen.beats))
            .bind(&seen.owner)
            .fetch_optional(pool)
            .await?
        });
        Ok(epoch.map(|epoch| taken(&seen.name, owner, place, epoch)))
    }

    /// Says that its holder is there; false where it is another's by now.
    pub async fn beat(&self, lease: &Lease) -> Result<bool, StoreError> {
        let beaten = writing!(&self.engine, pool => {
            sqlx::query(
                "UPDATE held SET beats = beats + 1 WHERE name = $1 AND owner = $2 AND epoch = $3",
            )
            .bind(&lease.name)
            .bind(&lease.owner)
            .bind(big(lease.epoch))
            .execute(pool)
            .await?
            .rows_affected()
        });
        Ok(beaten == 1)
    }

    /// Gives a lease back; false when it was no longer this holder's. The epoch stays on record.
    pub async fn release(&self, lease: &Lease) -> Result<bool, StoreError> {
        let released = writing!(&self.engine, pool => {
            sqlx::query("UPDATE held SET owner = $1 WHERE name = $2 AND owner = $3 AND epoch = $4")
                .bind(NOBODY)
                .bind(&lease.name)
                .bind(&lease.owner)
                .bind(big(lease.epoch))
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(released == 1)
    }

    /// Who holds a lease.
    pub async fn holder(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let row: Option<(String, i64, i64, String)> = reading!(&self.engine, pool => {
            sqlx::query_as(
                "SELECT owner, epoch, beats, place FROM held WHERE name = $1 AND owner <> $2",
            )
            .bind(name)
            .bind(NOBODY)
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(|(owner, epoch, beats, place)| Lease {
            beats: u64::try_from(beats).unwrap_or(0),
            ..taken(name, &owner, &place, epoch)
        }))
    }
}

fn taken(name: &str, owner: &str, place: &str, epoch: i64) -> Lease {
    Lease {
        name: name.to_owned(),
        owner: owner.to_owned(),
        epoch: u64::try_from(epoch).unwrap_or(0),
        beats: 0,
        place: place.to_owned(),
    }
}
