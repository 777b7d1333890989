//! Two servers over one ledger.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use mainstay_core::{
    Actor, Append, ChangeId, NewEntry, StreamId, Time,
    ports::{BoxFuture, Clock, Ledger as _, LedgerError, No, Tables},
    resource::APPLIED,
};
use mainstay_store::{Options, Store};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::{
    Labels, Posted,
    incident::{Input, NoteKind, Status},
};

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_millis(1_000_000)
    }
}

struct Rows(Store);

impl Tables for Rows {
    fn get<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>> {
        Box::pin(async move {
            let row = self.0.get(table, key).await;
            let row = row.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
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
            let after = Some(after).filter(|it| !it.is_empty());
            let rows = self.0.list(table, prefix, after, limit).await;
            let rows = rows.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
            Ok(rows.into_iter().map(|row| (row.key, row.body)).collect())
        })
    }
}

async fn store() -> Store {
    let store = Store::memory(Options::default()).await.unwrap();
    let policy = json!({
        "apiVersion": "mainstay/v1",
        "kind": "EscalationPolicy",
        "metadata": {"name": "web"},
        "spec": {
            "steps": [{"who": ["person/alice"]}],
            "alerts": {"matchers": ["team=\"web\""], "groupBy": ["alertname"]},
        },
    });
    let append = Append {
        actor: Actor::verified("dan"),
        at: Still.now(),
        expected: Vec::new(),
        entries: vec![NewEntry {
            stream: StreamId::new("resource/EscalationPolicy/web"),
            kind: APPLIED.to_owned(),
            schema: 1,
            body: policy.to_string(),
        }],
    };
    store.append(append).await.unwrap();
    store
}

/// A server that has read what there is and hears of nothing more.
async fn server(store: &Store, name: &'static str) -> Desk {
    let next = AtomicU64::new(0);
    let ports = Ports {
        ledger: Arc::new(store.clone()),
        tables: Arc::new(Rows(store.clone())),
        clock: Arc::new(Still),
        newest: store.subscribe(),
        next_id: Arc::new(move || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            ChangeId::new(format!("inc-{name}-{number}")).unwrap()
        }),
        wrote: Arc::new(|_, _| {}),
    };
    let (book, _) = Book::open(&ports).await.unwrap();
    let rota = Arc::new(Rota::new(BTreeMap::new()).unwrap());
    Desk::new(ports, book, rota, Links::new("secret", None))
}

fn alert(name: &str, instance: usize) -> Posted {
    let instance = instance.to_string();
    let labels = [
        ("alertname", name),
        ("team", "web"),
        ("instance", &instance),
    ];
    Posted {
        labels: Labels::from_iter(labels),
        ..Posted::default()
    }
}

async fn of_all(store: &Store) -> Vec<crate::incident::Folded> {
    server(store, "reader").await.book.all()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_alerts_that_come_to_two_servers_at_once_one_opens_the_incident_and_all_belong_to_it() {
    let store = store().await;
    let servers = [server(&store, "a").await, server(&store, "b").await];
    let mut sending = JoinSet::new();
    for n in 0..40 {
        let desk = servers[n % 2].clone();
        sending.spawn(async move {
            let both = [alert("Slow", n), alert("Down", n)];
            desk.accept(&both).await.unwrap()
        });
    }
    while let Some(taken) = sending.join_next().await {
        assert_eq!(taken.unwrap(), 2);
    }
    let all = of_all(&store).await;
    assert_eq!(all.len(), 2, "{all:#?}");
    for folded in &all {
        assert_eq!(folded.state.alerts.len(), 40);
        assert_eq!(folded.state.status(), Status::Triggered);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_servers_write_of_one_incident_at_once_is_all_there() {
    let store = store().await;
    let servers = [server(&store, "a").await, server(&store, "b").await];
    servers[0].accept(&[alert("Slow", 0)]).await.unwrap();
    let id = of_all(&store).await[0].change.id.clone();
    for n in 0..20 {
        let mut acting = JoinSet::new();
        for desk in servers.clone() {
            let id = id.clone();
            acting.spawn(async move {
                let note = Input::Note {
                    by: "dan".to_owned(),
                    kind: NoteKind::Message,
                    text: format!("note {n}"),
                };
                desk.act(Actor::verified("dan"), &id, vec![note])
                    .await
                    .map(drop)
            });
        }
        while let Some(done) = acting.join_next().await {
            done.unwrap().unwrap();
        }
    }
    assert_eq!(of_all(&store).await[0].state.notes, 40);
    let unknown = ChangeId::new("inc-none").unwrap();
    let refused = servers[0].act(Actor::system(), &unknown, Vec::new()).await;
    assert_eq!(refused.unwrap_err().no, No::Unknown);
}

#[tokio::test]
async fn a_title_of_nothing_but_quotes_still_fits_an_entry() {
    let store = store().await;
    let desk = server(&store, "a").await;
    let mut hostile = alert("Slow", 0);
    let quotes = "\"\\\n".repeat(200);
    hostile.labels = Labels::from_iter([("alertname", quotes.as_str()), ("team", "web")]);
    desk.accept(&[hostile]).await.unwrap();
    assert_eq!(of_all(&store).await.len(), 1);
}
