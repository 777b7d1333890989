//! The shell over a ledger in memory.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop at once"
)]

use std::sync::{Arc, Mutex};

use mainstay_change::{
    EffectId,
    freeze::{Event, Freeze, Input},
};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Entry, Hash, NewEntry, StreamId,
    Time,
    catalog::FreezeSpec,
    change::{MOVED, OPENED, Plan},
    ports::{BoxFuture, Clock, Ledger, LedgerError},
};
use mainstay_runtime::{
    Codecs, Dispatch, DriveError, Inbox, Performer, Runtime, Shell, drive, lead,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

struct Memory {
    entries: Mutex<Vec<Entry>>,
    written: watch::Sender<usize>,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::new(Vec::new()),
            written: watch::Sender::new(0),
        })
    }
    fn of(&self, stream: &StreamId) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap();
        entries
            .iter()
            .filter(|it| it.stream == *stream)
            .cloned()
            .collect()
    }
    fn write(&self, append: &Append) -> Result<Vec<Entry>, LedgerError> {
        for expected in &append.expected {
            let actual = self.of(&expected.stream).len() as u64;
            if actual != expected.version {
                return Err(LedgerError::Conflict {
                    stream: expected.stream.clone(),
                    expected: expected.version,
                    actual,
                });
            }
        }
        let mut stored = Vec::new();
        for new in &append.entries {
            let version = self.of(&new.stream).len() as u64 + 1;
            let mut entries = self.entries.lock().unwrap();
            let entry = Entry {
                seq: entries.len() as u64 + 1,
                stream: new.stream.clone(),
                version,
                at: append.at,
                actor: append.actor.clone(),
                kind: new.kind.clone(),
                schema: new.schema,
                body: new.body.clone(),
                prev: Hash::GENESIS,
                hash: Hash::GENESIS,
            };
            entries.push(entry.clone());
            stored.push(entry);
        }
        self.written.send_modify(|count| *count += stored.len());
        Ok(stored)
    }
    async fn until(&self, change: &Change, kind: &str, text: &str) {
        let there = |_: &usize| {
            let entries = self.of(&change.stream());
            entries
                .iter()
                .any(|it| it.kind == kind && it.body.contains(text))
        };
        self.written.subscribe().wait_for(there).await.unwrap();
    }
}

impl Ledger for Memory {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move { self.write(&append) })
    }
    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let entries = self.entries.lock().unwrap();
        let tail = entries
            .iter()
            .skip(seq as usize)
            .take(limit)
            .cloned()
            .collect();
        Box::pin(async move { Ok(tail) })
    }
    fn stream<'a>(&'a self, id: &'a StreamId) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move { Ok(self.of(id)) })
    }
}

struct At(i64);
impl Clock for At {
    fn now(&self) -> Time {
        Time::from_millis(self.0)
    }
}

struct NoHands;
impl Performer for NoHands {
    fn perform(&self, _: ChangeId, _: EffectId, _: String) -> BoxFuture<'_, Vec<Inbox>> {
        Box::pin(async { vec![] })
    }
}

fn freeze() -> Change {
    let spec = FreezeSpec {
        reason: "election night".into(),
        from: None,
        until: None,
        services: vec![],
        exceptions: vec![],
    };
    Change {
        id: ChangeId::new("chg-1").unwrap(),
        kind: ChangeKind::Freeze,
        actor: Actor::verified("ana"),
        reason: "election".into(),
        title: "freeze".into(),
        blast_radius: BlastRadius::default(),
        emergency: None,
        opened_at: Time::from_millis(0),
        deadline: None,
        plan: Plan {
            kind: "freeze".into(),
            schema: 1,
            body: serde_json::to_string(&spec).unwrap(),
        },
    }
}

fn entry_of(change: &Change, kind: &str, body: String) -> Append {
    Append {
        actor: Actor::verified("ana"),
        at: Time::from_millis(0),
        expected: vec![],
        entries: vec![NewEntry {
            stream: change.stream(),
            kind: kind.into(),
            schema: 1,
            body,
        }],
    }
}

fn open(ledger: &Memory, change: &Change) {
    let body = serde_json::to_string(change).unwrap();
    ledger.write(&entry_of(change, OPENED, body)).unwrap();
}

fn lift() -> Inbox {
    let input = Input::Lift {
        actor: Actor::verified("ana"),
        reason: "polls closed".into(),
    };
    Inbox::Input {
        change: ChangeId::new("chg-1").unwrap(),
        body: serde_json::to_string(&input).unwrap(),
    }
}

async fn runtime(ledger: &Memory) -> Runtime {
    let led = lead(ledger, Actor::system(), Time::from_millis(0)).await;
    Runtime::new(
        Codecs::new().with::<Freeze>(),
        Actor::system(),
        led.unwrap(),
    )
}

fn shell(ledger: &Arc<Memory>) -> (mpsc::Sender<Inbox>, Shell) {
    let (sender, inputs) = mpsc::channel(8);
    let shell = Shell {
        ledger: Arc::<Memory>::clone(ledger),
        clock: Arc::new(At(10)),
        performer: Arc::new(NoHands),
        inputs,
        open: Vec::new(),
        since: 0,
    };
    (sender, shell)
}

#[tokio::test]
async fn a_freeze_that_others_opened_begins_and_ends_when_it_is_lifted() {
    let ledger = Memory::new();
    let change = freeze();
    open(&ledger, &change);
    let (sender, shell) = shell(&ledger);
    let stop = CancellationToken::new();
    let runtime = runtime(&ledger).await;
    let running = tokio::spawn(drive(runtime, shell, stop.clone()));
    ledger.until(&change, "freeze.event", "began").await;
    sender.send(lift()).await.unwrap();
    ledger.until(&change, MOVED, "polls closed").await;
    stop.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_leader_that_was_replaced_writes_nothing_and_stops() {
    let ledger = Memory::new();
    let change = freeze();
    let stale = runtime(&ledger).await;
    runtime(&ledger).await;
    open(&ledger, &change);
    let (_sender, shell) = shell(&ledger);
    let ended = drive(stale, shell, CancellationToken::new()).await;
    assert_eq!(ended, Err(DriveError::Fenced));
    assert_eq!(ledger.of(&change.stream()).len(), 1);
}

#[tokio::test]
async fn an_input_that_lost_a_race_is_decided_again_on_what_was_written_instead() {
    let ledger = Memory::new();
    let change = freeze();
    open(&ledger, &change);
    let mut runtime = runtime(&ledger).await;
    let now = Time::from_millis(0);
    let stream = |ledger: &Memory| Inbox::Stream {
        change: change.id.clone(),
        entries: ledger.of(&change.stream()),
    };
    let first = runtime.turn(now, vec![stream(&ledger)]);
    let [Dispatch::Append { ticket, append, .. }] = first.as_slice() else {
        panic!("{first:?}");
    };
    let lifted = serde_json::to_string(&Event::Lifted {
        actor: Actor::verified("bo"),
        reason: "called off".into(),
    });
    ledger
        .write(&entry_of(&change, "freeze.event", lifted.unwrap()))
        .unwrap();
    let Err(LedgerError::Conflict { stream: moved, .. }) = ledger.write(append) else {
        panic!("the append should have conflicted");
    };
    let conflict = Inbox::Conflict {
        ticket: *ticket,
        stream: moved,
    };
    let then = runtime.turn(now, vec![lift(), conflict]);
    assert!(
        matches!(then.as_slice(), [Dispatch::Read { .. }]),
        "{then:?}"
    );
    let last = runtime.turn(now, vec![stream(&ledger)]);
    assert!(
        matches!(last.as_slice(), [Dispatch::Refused { .. }]),
        "whoever lifts what has ended hears of it: {last:?}"
    );
    assert!(runtime.standing().is_empty(), "ended, so no longer open");
}
