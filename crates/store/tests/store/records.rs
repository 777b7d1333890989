//! Checks of projections, leases, timers and tokens.

use mainstay_core::{
    Actor, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, ServiceName, Time, Verdict,
    change::{MOVED, Moved, OPENED, Plan, VERDICT},
    ports::Ledger,
    resource::{APPLIED, DELETED},
};
use mainstay_store::{AppliedResource, ChangeSummary, Store, StoreError, Timer};

use crate::support::{appending, keys, new_entry, one};

async fn append(store: &Store, stream: &str, kind: &str, body: &str) {
    let append = appending(vec![], vec![new_entry(stream, kind, body)]);
    store.append(append).await.unwrap();
}

pub(crate) async fn rebuilt_projections_equal_the_live_ones(store: Store) {
    for n in 0..60 {
        let kind = if n % 7 == 6 {
            "test.forgotten"
        } else {
            "test.happened"
        };
        append(&store, &format!("s{}", n % 4), kind, "{}").await;
    }
    append(&store, "last", "test.forgotten", "{}").await;
    let live = store.list("counts", "", None, 100).await.unwrap();
    assert_eq!(live.len(), 4);
    store.rebuild("counts").await.unwrap();
    assert_eq!(store.list("counts", "", None, 100).await.unwrap(), live);
    let unknown = store.rebuild("nothing").await.unwrap_err();
    assert!(matches!(unknown, StoreError::UnknownProjection(_)));
}

pub(crate) async fn listings_page_in_byte_order_within_a_prefix(store: Store) {
    for stream in ["p/b", "p/B", "p/a", "q/a", "p/é", "p"] {
        store.append(one(stream, 0)).await.unwrap();
    }
    assert_eq!(keys(&store, "p/", None).await, ["p/B", "p/a"]);
    assert_eq!(keys(&store, "p/", Some("p/a")).await, ["p/b", "p/é"]);
    assert!(keys(&store, "p/", Some("p/é")).await.is_empty());
    let row = store.get("counts", "p/b").await.unwrap().unwrap();
    assert_eq!((row.body.as_str(), row.seq), ("1", 1));
}

pub(crate) async fn the_built_in_projections_follow_resources_and_changes(store: Store) {
    let stream = "resource/Service/voyager";
    append(&store, stream, APPLIED, "{\"spec\":1}").await;
    append(&store, stream, APPLIED, "{\"spec\":2}").await;
    let row = store.get("resources", "Service/voyager").await.unwrap();
    let applied: AppliedResource = serde_json::from_str(&row.unwrap().body).unwrap();
    assert_eq!(applied.resource, serde_json::json!({"spec": 2}));
    assert_eq!((applied.version, applied.seq), (2, 2));
    assert_eq!(applied.actor, Actor::verified("ana"));
    append(&store, stream, DELETED, "{}").await;
    assert_eq!(
        store.get("resources", "Service/voyager").await.unwrap(),
        None
    );

    let id = ChangeId::new("chg-3f9k2m").unwrap();
    let change = Change {
        id: id.clone(),
        kind: ChangeKind::Rollout,
        actor: Actor::verified("ana"),
        reason: "fix".to_owned(),
        title: "voyager v1 → v2".to_owned(),
        blast_radius: BlastRadius::default(),
        emergency: None,
        opened_at: Time::from_millis(1),
        deadline: None,
        plan: Plan {
            kind: "deploy.rollout".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
        },
    };
    let moved = Moved {
        state: ChangeState::Paused,
        because: "p99 is 210 ms, limit 200 ms".to_owned(),
    };
    let verdict = Verdict::new("batch 3", Time::from_millis(2), vec![]);
    let stream = change.stream();
    let json = |body: serde_json::Result<String>| body.unwrap();
    for (kind, body) in [
        (OPENED, json(serde_json::to_string(&change))),
        (VERDICT, json(serde_json::to_string(&verdict))),
        (MOVED, json(serde_json::to_string(&moved))),
        ("change.step", "not even JSON".to_owned()),
    ] {
        append(&store, stream.as_str(), kind, &body).await;
    }
    let row = store.get("changes", id.as_str()).await.unwrap().unwrap();
    let summary: ChangeSummary = serde_json::from_str(&row.body).unwrap();
    assert_eq!(summary.change, change);
    assert_eq!(summary.state, ChangeState::Paused);
    assert_eq!(summary.because, moved.because);
    assert_eq!(summary.last_verdict, Some(verdict));
    assert_eq!(summary.entries, 4);
    store.rebuild("changes").await.unwrap();
    assert_eq!(store.get("changes", id.as_str()).await.unwrap(), Some(row));
}

fn opened(id: &str, kind: ChangeKind, services: &[&str]) -> Change {
    let service = |name: &&str| ServiceName::new(name).unwrap();
    Change {
        id: ChangeId::new(id).unwrap(),
        kind,
        actor: Actor::verified("ana"),
        reason: String::new(),
        title: id.to_owned(),
        blast_radius: BlastRadius {
            services: services.iter().map(service).collect(),
            ..BlastRadius::default()
        },
        emergency: None,
        opened_at: Time::from_millis(1),
        deadline: None,
        plan: Plan {
            kind: "test".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
        },
    }
}

pub(crate) async fn changes_are_listed_newest_first_by_what_they_are_and_where_they_stand(
    store: Store,
) {
    let feed: &[&str] = &["feed", "feed"];
    for (id, kind, services) in [
        ("chg-z", ChangeKind::Apply, feed),
        ("chg-a", ChangeKind::Rollout, &["profile"]),
        ("chg-m", ChangeKind::Rollout, &["feed", "profile"]),
    ] {
        let change = opened(id, kind, services);
        let body = serde_json::to_string(&change).unwrap();
        append(&store, change.stream().as_str(), OPENED, &body).await;
    }
    for (id, state) in [
        ("chg-m", ChangeState::Paused),
        ("chg-a", ChangeState::Done),
        ("chg-z", ChangeState::Done),
    ] {
        let moved = Moved {
            state,
            because: String::new(),
        };
        let body = serde_json::to_string(&moved).unwrap();
        append(&store, &format!("change/{id}"), MOVED, &body).await;
    }
    let under = async |prefix: &str| {
        let rows = store.list("changes_newest", prefix, None, 10).await;
        let ids = rows.unwrap().into_iter().map(|row| row.body);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(under("all/").await, ["chg-m", "chg-a", "chg-z"]);
    assert_eq!(under("kind/rollout/").await, ["chg-m", "chg-a"]);
    assert_eq!(under("service/feed/").await, ["chg-m", "chg-z"]);
    assert_eq!(under("state/done/").await, ["chg-z", "chg-a"]);
    assert_eq!(under("open/").await, ["chg-m"]);
    let live = store.list("changes_newest", "", None, 100).await.unwrap();
    store.rebuild("changes_newest").await.unwrap();
    assert_eq!(
        store.list("changes_newest", "", None, 100).await.unwrap(),
        live
    );
}

pub(crate) async fn a_lease_has_one_holder_and_a_growing_epoch(store: Store) {
    let take = async |owner: &str| store.acquire("l", owner, "http://here").await.unwrap();
    let a = take("a").await.unwrap();
    assert_eq!((a.epoch, a.beats, a.place.as_str()), (1, 0, "http://here"));
    assert_eq!(take("b").await, None);
    assert!(store.beat(&a).await.unwrap());
    let seen = store.holder("l").await.unwrap().unwrap();
    assert_eq!((seen.owner.as_str(), seen.beats), ("a", 1));
    let over = async |seen: &_, owner| store.take_over(seen, owner, "http://there").await.unwrap();
    assert!(store.beat(&a).await.unwrap());
    assert_eq!(over(&seen, "b").await, None, "it has beaten since");
    let seen = store.holder("l").await.unwrap().unwrap();
    let b = over(&seen, "b").await.unwrap();
    assert_eq!((b.epoch, b.beats), (2, 0));
    assert_eq!(over(&seen, "c").await, None, "somebody was faster");
    assert!(!store.beat(&a).await.unwrap() && !store.release(&a).await.unwrap());
    let holder = store.holder("l").await.unwrap().unwrap();
    assert_eq!(
        (holder.owner.as_str(), holder.place.as_str()),
        ("b", "http://there")
    );
    // Back by its own name: it may be another process, so its orders are told apart.
    assert_eq!(take("b").await.unwrap().epoch, 3);
    assert!(!store.beat(&b).await.unwrap());
    let b = store.holder("l").await.unwrap().unwrap();
    assert!(store.release(&b).await.unwrap());
    assert_eq!(store.holder("l").await.unwrap(), None);
    assert!(!store.beat(&b).await.unwrap());
    assert_eq!(over(&b, "c").await, None, "it was given back");
    let racing = tokio::join!(take("x"), take("y"), take("z"));
    let won = [racing.0, racing.1, racing.2].into_iter().flatten();
    assert_eq!(won.count(), 1);
}

pub(crate) async fn a_timer_stays_due_until_it_is_done(store: Store) {
    let timer = |id: &str, due_at: i64| Timer {
        id: id.to_owned(),
        due_at: Time::from_millis(due_at),
        kind: "change.bake".to_owned(),
        body: "{}".to_owned(),
    };
    for (id, due_at) in [("late", 30), ("b", 20), ("a", 20), ("first", 10)] {
        store.schedule(&timer(id, due_at)).await.unwrap();
    }
    let due = async |now: i64, limit: usize| -> Vec<String> {
        let now = Time::from_millis(now);
        let due = store.due("change.bake", now, limit).await.unwrap();
        due.into_iter().map(|timer| timer.id).collect()
    };
    assert_eq!(due(9, 10).await, Vec::<String>::new());
    assert_eq!(due(20, 10).await, ["first", "a", "b"]);
    assert_eq!(due(20, 2).await, ["first", "a"]);
    store.schedule(&timer("first", 40)).await.unwrap();
    assert!(store.done("a").await.unwrap());
    assert!(!store.done("a").await.unwrap());
    assert_eq!(due(40, 10).await, ["b", "late", "first"]);
    let others = store.due("change.wait", Time::from_millis(40), 10);
    assert_eq!(others.await.unwrap(), []);
    let seen = timer("b", 20);
    assert!(store.postpone(&seen, Time::from_millis(50)).await.unwrap());
    assert!(!store.postpone(&seen, Time::from_millis(60)).await.unwrap());
    assert_eq!(due(50, 10).await, ["late", "first", "b"]);
    let mut large = timer("large", 1);
    large.body = "x".repeat(4_097);
    let refused = store.schedule(&large).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }));
}

pub(crate) async fn a_token_works_until_it_is_revoked(store: Store) {
    let now = Time::from_millis(7);
    let scopes = ["deploy".to_owned(), "read".to_owned()];
    let secret = store.create_token("ci", &scopes, now).await.unwrap();
    let other = store.create_token("app", &[], now).await.unwrap();
    assert!(secret.starts_with("mst_") && secret.len() == 68 && secret != other);
    let info = store.check_token(&secret).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), &info.scopes[..]), ("ci", &scopes[..]));
    assert_eq!(info.created_at, now);
    let taken = store.create_token("ci", &[], now).await.unwrap_err();
    assert!(matches!(taken, StoreError::TokenExists(_)));
    let altered = format!(
        "{}{}",
        &secret[..67],
        if secret.ends_with('0') { '1' } else { '0' }
    );
    for wrong in ["", "mst_", altered.as_str(), "ci"] {
        assert_eq!(store.check_token(wrong).await.unwrap(), None);
    }
    let names = async |after: Option<&str>| -> Vec<String> {
        let tokens = store.list_tokens(after, 10).await.unwrap();
        tokens.into_iter().map(|token| token.name).collect()
    };
    assert_eq!(names(None).await, ["app", "ci"]);
    assert_eq!(names(Some("app")).await, ["ci"]);
    assert!(store.revoke_token("ci").await.unwrap());
    assert!(!store.revoke_token("ci").await.unwrap());
    assert_eq!(store.check_token(&secret).await.unwrap(), None);
    assert!(store.check_token(&other).await.unwrap().is_some());
}

pub(crate) async fn a_secret_is_decided_by_whoever_asks_first(store: Store) {
    assert_eq!(store.secret("links", "one").await.unwrap(), "one");
    assert_eq!(store.secret("links", "two").await.unwrap(), "one");
    assert_eq!(store.secret("other", "two").await.unwrap(), "two");
}
