//! The ports that the store and the operating system stand behind: ledger, tables, identity, clock, ids.

use std::path::Path;

use anyhow::Context;
use mainstay_core::{
    Append, ChangeId, Entry, Hash, StreamId, Time,
    ledger::Broken,
    ports::{BoxFuture, Clock, Identity, Ledger, LedgerError, Tables, TokenHolder},
};
use mainstay_store::{Options, Store, StoreError};

/// Letters of a change's id: none that looks like another.
const ID_LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Letters in an id: 10 of 32 make a collision within a million changes less likely than 1 in 2,000.
const ID_LENGTH: usize = 10;

/// Where PostgreSQL listens unless it is told otherwise.
const POSTGRES_PORT: u16 = 5432;

/// The operating system's wall clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The wall clock, for commands that write without a server.
pub(crate) fn now() -> Time {
    SystemClock.now()
}

/// The store, as the ports see it.
#[derive(Clone)]
pub(crate) struct Ports(pub(crate) Store);

impl Ledger for Ports {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.append(append)
    }
    fn append_restoring(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(self.0.append_restoring(append))
    }
    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.since(seq, limit)
    }
    fn stream<'a>(
        &'a self,
        stream: &'a StreamId,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        self.0.stream(stream)
    }
    fn verify(&self) -> BoxFuture<'_, Result<(u64, Hash), LedgerError>> {
        Ledger::verify(&self.0)
    }
}

impl Tables for Ports {
    fn get<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>> {
        Box::pin(async move {
            let row = self.0.get(table, key).await.map_err(unavailable)?;
            Ok(row.map(|row| row.body))
        })
    }
    fn list<'a>(
        &'a self,
        table: &'a str,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, LedgerError>> {
        Box::pin(async move {
            let after = Some(after).filter(|key| !key.is_empty());
            let rows = self
                .0
                .list(table, prefix, after, limit)
                .await
                .map_err(unavailable)?;
            Ok(rows.into_iter().map(|row| (row.key, row.body)).collect())
        })
    }
}

impl Identity for Ports {
    fn holder<'a>(
        &'a self,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>> {
        Box::pin(async move {
            let token = self.0.check_token(secret).await.map_err(unavailable)?;
            Ok(token.map(|token| TokenHolder {
                name: token.name,
                scopes: token.scopes,
            }))
        })
    }
}

fn unavailable(error: StoreError) -> LedgerError {
    LedgerError::Unavailable(format!("{:#}", anyhow::Error::new(error)))
}

/// An id that no change has.
pub(crate) fn new_change_id() -> ChangeId {
    new_id("chg")
}

/// An id that no incident has.
pub(crate) fn new_incident_id() -> ChangeId {
    new_id("inc")
}

fn new_id(of: &str) -> ChangeId {
    let mut random = [0_u8; ID_LENGTH];
    // Without entropy no id may be made up: the process cannot go on.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let letters: String = random
        .iter()
        .map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)]))
        .collect();
    ChangeId::new(format!("{of}-{letters}")).expect("the letters of an id are letters of a name")
}

/// Opens the SQLite store of a data directory.
pub(crate) async fn open_data_dir(data_dir: &Path) -> anyhow::Result<Store> {
    let file = data_dir.join("mainstay.db");
    opened(Store::sqlite(&file, Options::default()).await)
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Connects to a PostgreSQL store; an error names database and address, never who logs in with what.
pub(crate) async fn open_postgres(url: &str) -> anyhow::Result<Store> {
    opened(Store::postgres(url, Options::default()).await).with_context(|| {
        let database = named(url);
        format!("cannot use {database}: start it and let this machine in, or correct [store] url")
    })
}

/// What a database's URL names, without user and password.
fn named(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    let Some(url) = url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql")) else {
        return "the database of [store] url, which is not of the form postgres://HOST/DATABASE"
            .to_owned();
    };
    let database = url.path().trim_start_matches('/');
    let host = url.host_str().unwrap_or("this machine");
    let port = url.port().unwrap_or(POSTGRES_PORT);
    format!("the PostgreSQL database `{database}` at {host}:{port}")
}

/// A store that was opened, or why not; a ledger that somebody edited comes with the remedy.
fn opened(store: Result<Store, StoreError>) -> anyhow::Result<Store> {
    store.map_err(|error| match error {
        StoreError::Broken(broken) => unreadable(broken),
        other => other.into(),
    })
}

/// What whoever needs the ledger says of one that cannot be read. The [`Broken`] stays inside.
pub(crate) fn unreadable(broken: Broken) -> anyhow::Error {
    let says = format!(
        "the ledger is broken at {broken}. Somebody edited the database: put back a copy of it from before \
         that, then run `mainstay ledger verify --data-dir DIR`"
    );
    anyhow::Error::new(broken).context(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_who_logs_in() {
        let of = "postgres://ops:secret@db.example:6432/ledger?sslmode=require";
        assert_eq!(
            named(of),
            "the PostgreSQL database `ledger` at db.example:6432"
        );
        let local = named("postgres:///ledger");
        assert_eq!(
            local,
            "the PostgreSQL database `ledger` at this machine:5432"
        );
        assert!(!named("ops:secret@db").contains("secret"));
    }
}
