//! The conformance suite on a real PostgreSQL, started for it and ended with it.

use std::future::Future;

use mainstay_core::ports::Ledger;
use mainstay_store::{Store, StoreError};
use sqlx::{Connection, PgConnection};

use crate::{
    ledger,
    pg::{Server, skipped, start},
    records,
    support::{one, options},
};

/// On a database of its own.
async fn check<F: Future<Output = ()>>(
    server: &Server,
    number: usize,
    check: impl FnOnce(Store) -> F,
) {
    let url = server.fresh(number).await;
    let store = Store::postgres(&url, options()).await.unwrap();
    check(store.clone()).await;
    store.close().await;
}

macro_rules! one_after_another {
    ($($group:ident::$check:ident,)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres_passes_the_same_suite() {
            let server = match start().await {
                Ok(server) => server,
                Err(why) => return skipped(&format!("{} checks", [$(stringify!($check)),*].len()), &why),
            };
            let mut number = 0;
            $(
                eprintln!("{}", stringify!($check));
                check(&server, number, $group::$check).await;
                number += 1;
            )*
            two_processes_share_one_ledger(&server.fresh(number).await).await;
            let url = server.fresh(number + 1).await;
            let left = Store::postgres(&url, options()).await.unwrap();
            let right = Store::postgres(&url, options()).await.unwrap();
            ledger::a_writer_that_another_overtook_knows_it(left, right).await;
            a_column_of_another_type_is_the_first_broken_entry(&server.fresh(number + 2).await).await;
        }
    };
}
crate::conformance::checks!(one_after_another);

/// Two stores on one database are what two processes are.
async fn two_processes_share_one_ledger(url: &str) {
    let (left, right) = tokio::join!(
        Store::postgres(url, options()),
        Store::postgres(url, options())
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    let mut feed = right.subscribe();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = if n % 2 == 0 {
            left.clone()
        } else {
            right.clone()
        };
        tasks.spawn(async move {
            store.append(one(&format!("s/{n}"), 0)).await.unwrap();
            store.append(one("raced", 0)).await.is_ok()
        });
    }
    let won = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
    let (count, head) = left.verify().await.unwrap();
    assert_eq!(count, 41);
    assert_eq!(right.verify().await.unwrap(), (count, head));
    left.append(one("news", 0)).await.unwrap();
    feed.wait_for(|seq| *seq == 42).await.unwrap();
    let rows = right.list("counts", "s/", None, 100).await.unwrap();
    assert_eq!(rows.len(), 40);
}

async fn a_column_of_another_type_is_the_first_broken_entry(url: &str) {
    let store = Store::postgres(url, options()).await.unwrap();
    for version in 0..3 {
        store.append(one("a", version)).await.unwrap();
    }
    store.close().await;
    for (statements, what) in [
        (
            "ALTER TABLE entry ALTER kind DROP NOT NULL; UPDATE entry SET kind = NULL WHERE seq = 2",
            "entry 2: its column kind holds nothing",
        ),
        (
            "ALTER TABLE entry ALTER body TYPE BYTEA USING body::BYTEA",
            "entry 1: its column body holds a BYTEA where TEXT belongs",
        ),
    ] {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let store = Store::postgres(url, options()).await.unwrap();
        let StoreError::Broken(broken) = Store::verify(&store).await.unwrap_err() else {
            panic!("an entry that cannot be read breaks the chain");
        };
        assert_eq!(broken.to_string(), what);
        store.close().await;
    }
}
