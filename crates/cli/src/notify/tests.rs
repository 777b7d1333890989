use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{Json, extract::State, http::StatusCode, routing::post};
use mainstay_core::{Actor, Hash, StreamId};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet, time::timeout};

use super::{
    post::{Patience, Posts},
    *,
};
use crate::config::Webhook;

const LIMIT: Duration = Duration::from_secs(30);

/// A webhook that refuses the first `failures` posts.
struct Sink {
    url: Webhook,
    taken: mpsc::UnboundedReceiver<Value>,
    tried: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    left: Arc<AtomicUsize>,
    tried: Arc<AtomicUsize>,
    taken: mpsc::UnboundedSender<Value>,
}

async fn take(State(desk): State<Desk>, Json(body): Json<Value>) -> StatusCode {
    desk.tried.fetch_add(1, Ordering::SeqCst);
    let fails = |left: usize| left.checked_sub(1);
    if desk
        .left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
        .is_ok()
    {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    desk.taken.send(body).unwrap();
    StatusCode::NO_CONTENT
}

impl Sink {
    async fn failing(failures: usize) -> Self {
        let (to, taken) = mpsc::unbounded_channel();
        let tried = Arc::new(AtomicUsize::new(0));
        let desk = Desk {
            left: Arc::new(AtomicUsize::new(failures)),
            tried: Arc::clone(&tried),
            taken: to,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let routes = axum::Router::new()
            .route("/hook", post(take))
            .with_state(desk);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            url: Webhook::try_from(url).unwrap(),
            taken,
            tried,
            _serving: serving,
        }
    }

    async fn next(&mut self) -> Value {
        timeout(LIMIT, self.taken.recv()).await.unwrap().unwrap()
    }
}

fn patience(in_all: Duration) -> Patience {
    Patience {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
        in_all,
    }
}

fn note(title: &str) -> Note {
    Note::new(
        "change",
        title,
        "paused",
        "a guard failed",
        Time::from_millis(0),
    )
}

#[tokio::test]
async fn a_webhook_that_fails_at_first_hears_every_note_once_and_in_order() {
    let mut sink = Sink::failing(3).await;
    let stop = CancellationToken::new();
    let posts = Posts::start_with(vec![sink.url.clone()], &stop, patience(LIMIT)).unwrap();
    posts.send(&note("first"));
    posts.send(&note("second"));
    let (first, second) = (sink.next().await, sink.next().await);
    assert_eq!(
        (&first["title"], &second["title"]),
        (&json!("first"), &json!("second"))
    );
    assert_eq!(
        (&first["state"], &first["because"]),
        (&json!("paused"), &json!("a guard failed"))
    );
    assert_eq!(first.get("dropped"), None);
    assert_eq!(sink.tried.load(Ordering::SeqCst), 5);
    stop.cancel();
    posts.ended().await.unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_counted_in_the_next_note_that_arrives() {
    let mut sink = Sink::failing(1).await;
    let stop = CancellationToken::new();
    let impatient = Patience {
        first: Duration::from_secs(1),
        ..patience(Duration::from_millis(1))
    };
    let posts = Posts::start_with(vec![sink.url.clone()], &stop, impatient).unwrap();
    posts.send(&note("lost"));
    posts.send(&note("kept"));
    let kept = sink.next().await;
    assert_eq!(
        (&kept["title"], &kept["dropped"]),
        (&json!("kept"), &json!(1))
    );
    posts.send(&note("later"));
    assert_eq!(sink.next().await.get("dropped"), None);
    stop.cancel();
    posts.ended().await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_never_answers_delays_nobody_and_its_queue_is_bounded() {
    // It accepts and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", mute.local_addr().unwrap());
    let mut sink = Sink::failing(0).await;
    let stop = CancellationToken::new();
    let hooks = vec![Webhook::try_from(url).unwrap(), sink.url.clone()];
    let posts = Posts::start_with(hooks, &stop, patience(LIMIT)).unwrap();
    for number in 0..600 {
        posts.send(&note(&number.to_string()));
        // As in the loop that sends, others get their turn.
        tokio::task::yield_now().await;
        if number % 100 == 0 {
            sink.next().await;
        }
    }
    stop.cancel();
    timeout(LIMIT, posts.ended()).await.unwrap().unwrap();
}

fn moved(id: &str, state: ChangeState) -> Entry {
    let moved = Moved {
        state,
        because: "a guard failed".to_owned(),
    };
    Entry {
        seq: 1,
        stream: StreamId::new(format!("change/{id}")),
        version: 1,
        at: Time::from_millis(0),
        actor: Actor::system(),
        kind: MOVED.to_owned(),
        schema: 1,
        body: json!(moved).to_string(),
        prev: Hash::of(&[]),
        hash: Hash::of(&[]),
    }
}

#[test]
fn a_state_is_told_when_a_change_comes_into_it_and_not_while_it_stays() {
    let mut changes = Changes {
        since: 0,
        last: BTreeMap::new(),
    };
    let mut is_told = |state| {
        let (id, moved) = super::moved(&moved("chg-a", state)).unwrap();
        changes.is_worth_it(&id, moved.state)
    };
    assert!(!is_told(ChangeState::Running));
    assert!(is_told(ChangeState::Paused));
    assert!(!is_told(ChangeState::Paused), "only the reason differs");
    assert!(!is_told(ChangeState::RollingBack));
    assert!(is_told(ChangeState::Paused), "stuck on its way back");
    assert!(is_told(ChangeState::RolledBack));
    assert!(!is_told(ChangeState::Done) && changes.last.is_empty());
}

async fn write(store: &Store, kind: &str, body: Value) {
    let append = mainstay_core::Append {
        actor: Actor::system(),
        at: Time::from_millis(0),
        expected: vec![],
        entries: vec![mainstay_core::NewEntry {
            stream: StreamId::new("change/chg-a"),
            kind: kind.to_owned(),
            schema: 1,
            body: body.to_string(),
        }],
    };
    store.append(append).await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_person_is_told_again_by_one_server_until_it_moves() {
    let (hour, at) = (Span::from_secs(3_600), Time::from_millis);
    let store = Store::memory(mainstay_store::Options::default())
        .await
        .unwrap();
    let id: ChangeId = "chg-a".parse().unwrap();
    let change = mainstay_core::Change {
        id: id.clone(),
        kind: mainstay_core::ChangeKind::Rollout,
        actor: Actor::system(),
        reason: String::new(),
        title: "feed v1 → v2".to_owned(),
        blast_radius: mainstay_core::BlastRadius::default(),
        emergency: None,
        opened_at: at(0),
        deadline: None,
        plan: mainstay_core::change::Plan {
            kind: "rollout".to_owned(),
            schema: 1,
            body: String::new(),
        },
    };
    let paused = json!({"state": "paused", "because": "a guard failed"});
    write(&store, mainstay_core::change::OPENED, json!(change)).await;
    write(&store, MOVED, paused).await;
    let tables = crate::ports::Ports(store.clone());
    let (one, other) = (
        Reminders::new(store.clone(), hour),
        Reminders::new(store.clone(), hour),
    );
    one.moved(&id, ChangeState::Paused, at(0)).await.unwrap();
    assert_eq!(one.due(&tables, at(3_599_999)).await.unwrap(), []);
    // Nobody ran for a while: it is told once.
    let late = at(3 * 3_600_000);
    let told = other.due(&tables, late).await.unwrap();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].because.contains("for 3h") && told[0].because.contains("a guard failed"),
        "{}",
        told[0].because
    );
    assert_eq!(one.due(&tables, late).await.unwrap(), []);
    assert_eq!(one.due(&tables, late + hour).await.unwrap().len(), 1);
    write(&store, MOVED, json!({"state": "running", "because": ""})).await;
    assert_eq!(one.due(&tables, late + hour + hour).await.unwrap(), []);
    one.moved(&id, ChangeState::Running, late).await.unwrap();
    let ever = store.due("notify.remind", at(i64::MAX), 10).await.unwrap();
    assert_eq!(ever, []);
}
