//! Checks of the ledger.

use mainstay_core::{
    StreamId,
    ledger::{APPEND_ENTRIES_MAX, BODY_BYTES_MAX, RESOURCE_BYTES_MAX},
    ports::{Ledger, LedgerError},
};
use mainstay_store::Store;

use crate::support::{appending, expected, new_entry, one};

pub(crate) async fn a_stale_writer_gets_a_conflict_and_changes_nothing(store: Store) {
    let first = store.append(one("a", 0)).await.unwrap();
    assert_eq!((first[0].seq, first[0].version), (1, 1));
    let stale = store.append(one("a", 0)).await.unwrap_err();
    let conflict = LedgerError::Conflict {
        stream: StreamId::new("a"),
        expected: 0,
        actual: 1,
    };
    assert_eq!(stale, conflict);
    assert!(store.append(one("a", 2)).await.is_err(), "from the future");
    let second = store.append(one("a", 1)).await.unwrap();
    assert_eq!((second[0].seq, second[0].version), (2, 2));
    assert_eq!(second[0].prev, first[0].hash);
    assert_eq!(store.verify().await.unwrap(), (2, second[0].hash));
}

pub(crate) async fn an_append_to_several_streams_is_written_whole_or_not_at_all(store: Store) {
    store.append(one("b", 0)).await.unwrap();
    let both = |b: u64| {
        appending(
            vec![expected("a", 0), expected("b", b)],
            vec![
                new_entry("a", "test.happened", "{}"),
                new_entry("b", "test.happened", "{}"),
                new_entry("a", "test.happened", "{}"),
            ],
        )
    };
    assert!(store.append(both(0)).await.is_err());
    assert_eq!(store.stream(&StreamId::new("a")).await.unwrap(), vec![]);
    assert_eq!(store.get("counts", "a").await.unwrap(), None);
    assert_eq!(store.since(0, 10).await.unwrap().len(), 1);
    let written = store.append(both(1)).await.unwrap();
    let places: Vec<_> = written
        .iter()
        .map(|e| (e.seq, e.stream.as_str(), e.version))
        .collect();
    assert_eq!(places, vec![(2, "a", 1), (3, "b", 2), (4, "a", 2)]);
    let nothing = appending(vec![expected("a", 2)], vec![]);
    assert_eq!(store.append(nothing).await.unwrap(), vec![]);
    assert_eq!(store.verify().await.unwrap().0, 4);
}

pub(crate) async fn of_two_racing_writers_one_wins_and_the_rest_of_their_group_commits(
    store: Store,
) {
    let (a, b, c, d) = tokio::join!(
        store.append(one("same", 0)),
        store.append(one("same", 0)),
        store.append(one("other", 0)),
        store.append(one("same", 0)),
    );
    assert!(c.is_ok());
    let won = [&a, &b, &d].into_iter().filter(|race| race.is_ok()).count();
    assert_eq!(won, 1);
    for lost in [a, b, d].into_iter().filter_map(Result::err) {
        assert!(matches!(lost, LedgerError::Conflict { actual: 1, .. }));
    }
    assert_eq!(store.verify().await.unwrap().0, 2);
}

pub(crate) async fn eight_writers_leave_one_sequence_without_gaps(store: Store) {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 25;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut conflicts = 0_u64;
            for round in 0..ROUNDS {
                let own = format!("own/{writer}");
                loop {
                    let shared = StreamId::new("shared");
                    let seen = store.stream(&shared).await.unwrap().len() as u64;
                    let append = appending(
                        vec![expected("shared", seen), expected(&own, round)],
                        vec![
                            new_entry("shared", "test.happened", "{}"),
                            new_entry(&own, "test.happened", "{}"),
                        ],
                    );
                    match store.append(append).await {
                        Ok(_) => break,
                        Err(LedgerError::Conflict { .. }) => conflicts += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            conflicts
        });
    }
    let conflicts: u64 = tasks.join_all().await.into_iter().sum();
    assert!(conflicts > 0, "the writers never met");
    let entries = store.since(0, 4_096).await.unwrap();
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=2 * WRITERS * ROUNDS).collect::<Vec<_>>());
    let shared = store.stream(&StreamId::new("shared")).await.unwrap();
    let versions: Vec<u64> = shared.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=WRITERS * ROUNDS).collect::<Vec<_>>());
    assert_eq!(store.verify().await.unwrap().0, 2 * WRITERS * ROUNDS);
}

/// More than one statement takes, three entries to each stream, and every second row deleted again.
pub(crate) async fn an_append_of_many_streams_is_numbered_chained_and_folded_as_one_by_one(
    store: Store,
) {
    let streams: Vec<String> = (0..200).map(|n| format!("many/{n:03}")).collect();
    let entries = |kind: &str, every: usize| -> Vec<_> {
        let chosen = streams.iter().step_by(every);
        chosen.map(|stream| new_entry(stream, kind, "{}")).collect()
    };
    let once = entries("test.happened", 1);
    let forgotten = entries("test.forgotten", 2);
    let all = [once.clone(), once, forgotten].concat();
    let expect = |version| {
        streams
            .iter()
            .map(move |it| expected(it, version))
            .collect()
    };
    let written = store.append(appending(expect(0), all)).await.unwrap();
    assert_eq!((written.len(), written[499].seq), (500, 500));
    assert_eq!((written[199].version, written[399].version), (1, 2));
    assert_eq!(store.verify().await.unwrap().0, 500);
    let counted = store.list("counts", "many/", None, 500).await.unwrap();
    assert_eq!(counted.len(), 100);
    assert!(counted.iter().all(|row| row.body == "2"));
    let refused = store.append(appending(expect(2), Vec::new())).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, LedgerError::Conflict { actual: 3, stream, .. } if stream.as_str() == "many/000"),
        "{refused}"
    );
}

pub(crate) async fn pages_and_streams_read_what_was_written(store: Store) {
    let mut written = Vec::new();
    for n in 0..10 {
        let stream = if n % 2 == 0 { "even" } else { "odd" };
        written.extend(store.append(one(stream, n / 2)).await.unwrap());
    }
    let mut read = Vec::new();
    loop {
        let seen = read.len() as u64;
        let page = store.since(seen, 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read, written);
    let even = store.stream(&StreamId::new("even")).await.unwrap();
    written.retain(|entry| entry.stream.as_str() == "even");
    assert_eq!(even, written);
}

pub(crate) async fn what_breaks_a_limit_is_refused_and_nothing_is_written(store: Store) {
    let sized = |kind: &str, bytes: usize| {
        appending(vec![], vec![new_entry("a", kind, &"x".repeat(bytes))])
    };
    let many = |count: usize| appending(vec![], vec![new_entry("m", "test.happened", "{}"); count]);
    let refused = [
        sized("test.happened", BODY_BYTES_MAX + 1),
        sized("resource.applied", RESOURCE_BYTES_MAX + 1),
        many(APPEND_ENTRIES_MAX + 1),
        one(&"s".repeat(513), 0),
        appending(vec![], vec![new_entry("a", "test.happened", "a\0b")]),
    ];
    for append in refused {
        let error = store.append(append).await.unwrap_err();
        assert!(matches!(error, LedgerError::TooLarge { .. }), "{error}");
    }
    assert_eq!(store.verify().await.unwrap().0, 0);
    for append in [
        sized("test.happened", BODY_BYTES_MAX),
        sized("resource.applied", RESOURCE_BYTES_MAX),
        many(APPEND_ENTRIES_MAX),
    ] {
        store.append(append).await.unwrap();
    }
    let count = 2 + APPEND_ENTRIES_MAX as u64;
    assert_eq!(store.verify().await.unwrap().0, count);
}

pub(crate) async fn subscribers_hear_of_the_newest_position(store: Store) {
    let mut feed = store.subscribe();
    assert_eq!(*feed.borrow_and_update(), 0);
    store.append(one("a", 0)).await.unwrap();
    store.append(one("a", 1)).await.unwrap();
    assert_eq!(*feed.wait_for(|seq| *seq >= 2).await.unwrap(), 2);
}

pub(crate) async fn a_closed_store_refuses_appends(store: Store) {
    store.append(one("a", 0)).await.unwrap();
    store.close().await;
    let refused = store.append(one("a", 1)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Unavailable(_)));
}

/// Two stores on one database are what two processes are: neither trusts what it knew before the other wrote.
pub(crate) async fn a_writer_that_another_overtook_knows_it(left: Store, right: Store) {
    left.append(one("shared", 0)).await.unwrap();
    right.append(one("shared", 1)).await.unwrap();
    let stale = left.append(one("shared", 1)).await.unwrap_err();
    assert!(
        matches!(stale, LedgerError::Conflict { actual: 2, .. }),
        "{stale}"
    );
    let written = left.append(one("shared", 2)).await.unwrap();
    assert_eq!((written[0].seq, written[0].version), (3, 3));
    assert_eq!(right.verify().await.unwrap().0, 3);
}
