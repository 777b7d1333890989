//! What has to be looked at later, kept over restarts.
//!
//! Guarantees: a timer is due until it is done, so whoever crashes in between sees it again; due ones
//! come earliest first. Never fires by itself and never asks the database for the time.
//!
//! Example: `store.schedule(&Timer { id: "bake/chg-3f9k2m".into(), .. })`, later `due("change.bake", now, 100)`.

use mainstay_core::Time;

use crate::{
    engine::{reading, writing},
    error::StoreError,
    limits::{LIST_ROWS_MAX, TIMER_BODY_BYTES_MAX, check_name, check_text, within},
    rows::page,
    store::Store,
};

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its name; scheduling the same again moves it.
    pub id: String,
    /// From when on it is due.
    pub due_at: Time,
    /// Who looks at it, such as `change.bake`.
    pub kind: String,
    /// What they need, at most [`TIMER_BODY_BYTES_MAX`] bytes.
    pub body: String,
}

impl Store {
    /// Sets a timer, or moves the one of the same id.
    pub async fn schedule(&self, timer: &Timer) -> Result<(), StoreError> {
        check_name("a timer's id in bytes", &timer.id)?;
        check_name("a timer's kind in bytes", &timer.kind)?;
        check_text("NUL bytes in a timer's body", &timer.body)?;
        within(
            "a timer's body in bytes",
            timer.body.len(),
            TIMER_BODY_BYTES_MAX,
        )?;
        writing!(&self.engine, pool => {
            sqlx::query(
                "INSERT INTO timer (id, due_at, kind, body) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id) DO UPDATE SET due_at = $2, kind = $3, body = $4",
            )
            .bind(&timer.id)
            .bind(timer.due_at.millis())
            .bind(&timer.kind)
            .bind(&timer.body)
            .execute(pool)
            .await?;
        });
        Ok(())
    }

    /// Timers of a kind that are due at `now`, earliest first, at most `limit` and never more than
    /// [`LIST_ROWS_MAX`].
    pub async fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<Timer>, StoreError> {
        let rows: Vec<(String, i64, String, String)> = reading!(&self.engine, pool => {
            sqlx::query_as(
                "SELECT id, due_at, kind, body FROM timer WHERE due_at <= $1 AND kind = $2 \
                 ORDER BY due_at, id LIMIT $3",
            )
            .bind(now.millis())
            .bind(kind)
            .bind(page(limit, LIST_ROWS_MAX))
            .fetch_all(pool)
            .await?
        });
        let timers = rows.into_iter().map(|(id, due_at, kind, body)| Timer {
            id,
            due_at: Time::from_millis(due_at),
            kind,
            body,
        });
        Ok(timers.collect())
    }

    /// Moves a timer to another time; false when somebody moved or removed it since it was read, so that of several
    /// who saw it due one alone acts.
    pub async fn postpone(&self, timer: &Timer, to: Time) -> Result<bool, StoreError> {
        let moved = writing!(&self.engine, pool => {
            sqlx::query("UPDATE timer SET due_at = $1 WHERE id = $2 AND due_at = $3")
                .bind(to.millis())
                .bind(&timer.id)
                .bind(timer.due_at.millis())
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(moved == 1)
    }

    /// Removes a timer; false when there was none.
    pub async fn done(&self, id: &str) -> Result<bool, StoreError> {
        let removed = writing!(&self.engine, pool => {
            sqlx::query("DELETE FROM timer WHERE id = $1")
                .bind(id)
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(removed == 1)
    }
}
