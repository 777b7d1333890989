//! The shell around [`Runtime::turn`]: a ledger, a clock, hands. It decides nothing.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::join_all;
use mainstay_change::{Direction, EffectId};
use mainstay_core::{
    Actor, Append, ChangeId, Entry, Expected, NewEntry, Span, Time,
    change::change_stream,
    ports::{BoxFuture, Clock, Ledger, LedgerError},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    message::{Dispatch, Inbox, Ticket},
    turn::{Runtime, leader_stream},
};

/// How often the ledger is asked for entries that others wrote.
const TAIL_EVERY: Span = Span::from_millis(250);
/// Shortest pause between turns that nothing but time causes.
const PAUSE_MIN: Span = Span::from_millis(10);
/// Entries read at once.
const TAIL_ENTRIES_MAX: usize = 512;
/// Effects under way at once; more wait for one of these to end.
const EFFECTS_MAX: usize = 256;
/// Effects that wait; more are sent again when due.
const EFFECTS_WAITING_MAX: usize = 16_384;
/// Appends and readings of one turn that are asked for at once: the ledger writes those that wait in one commit.
const ASKED_AT_ONCE: usize = 256;
/// Inputs taken into one turn.
const INPUTS_AT_ONCE: usize = 1_024;

/// Does what machines ask for. Applies (target, generation, key) once, rejects older generations.
pub trait Performer: Send + Sync {
    /// Does one effect; answers with inputs for machines, none where there is nothing to tell.
    fn perform(&self, change: ChangeId, id: EffectId, body: String) -> BoxFuture<'_, Vec<Inbox>>;
}

/// What the shell is connected to.
pub struct Shell {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The hands.
    pub performer: Arc<dyn Performer>,
    /// Inputs from people and schedules.
    pub inputs: mpsc::Receiver<Inbox>,
    /// Changes that are open as of `since`.
    pub open: Vec<ChangeId>,
    /// The position in the ledger from which entries are new.
    pub since: u64,
}

/// Why the shell ended before it was told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// Another process leads.
    #[error("another process leads; this one stopped")]
    Fenced,
    /// An effect's task panicked.
    #[error("an effect's task died: {0}")]
    EffectDied(String),
}

/// Takes the leadership: whoever held it before commits nothing from now on.
pub async fn lead(ledger: &dyn Ledger, actor: Actor, at: Time) -> Result<Expected, LedgerError> {
    let stream = leader_stream();
    let version = ledger.stream(&stream).await?.len() as u64;
    let append = Append {
        actor,
        at,
        expected: vec![Expected {
            stream: stream.clone(),
            version,
        }],
        entries: vec![NewEntry {
            stream: stream.clone(),
            kind: "runtime.led".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
        }],
    };
    ledger.append(append).await?;
    Ok(Expected {
        stream,
        version: version + 1,
    })
}

/// Turns until `stop`, or until another process leads. Effects under way are then abandoned: they are
/// derived from state, so the next leader sends them again.
pub async fn drive(
    mut runtime: Runtime,
    mut shell: Shell,
    stop: CancellationToken,
) -> Result<(), DriveError> {
    let mut effects = Effects::default();
    let as_of_start = |change| Inbox::Seen { change, version: 1 };
    let mut inbox: Vec<Inbox> = std::mem::take(&mut shell.open)
        .into_iter()
        .map(as_of_start)
        .collect();
    let mut tail_seq = shell.since;
    let mut inputs_open = true;
    loop {
        tail(&shell, &mut tail_seq, &mut inbox).await;
        let dispatches = runtime.turn(shell.clock.now(), std::mem::take(&mut inbox));
        if runtime.fenced() {
            return Err(DriveError::Fenced);
        }
        carry_out(&shell, dispatches, &mut effects, &mut inbox).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        if !inbox.is_empty() {
            continue;
        }
        let pause = runtime
            .wake_at()
            .map_or(TAIL_EVERY, |at| at.since(shell.clock.now()))
            .clamp(PAUSE_MIN, TAIL_EVERY);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(done) = effects.underway.join_next() => inbox.extend(ended(done)?),
            input = shell.inputs.recv(), if inputs_open => match input {
                Some(input) => inbox.push(input),
                None => inputs_open = false,
            },
            () = time::sleep(pause.duration()) => {}
        }
        // What came in meanwhile is decided in the same turn.
        while inbox.len() < INPUTS_AT_ONCE
            && let Some(done) = effects.underway.try_join_next()
        {
            inbox.extend(ended(done)?);
        }
        while inbox.len() < INPUTS_AT_ONCE
            && let Ok(input) = shell.inputs.try_recv()
        {
            inbox.push(input);
        }
        effects.start(&shell.performer);
    }
}

fn ended(done: Result<Vec<Inbox>, JoinError>) -> Result<Vec<Inbox>, DriveError> {
    done.map_err(|error| DriveError::EffectDied(error.to_string()))
}

/// Effects under way, and those that wait for their turn.
#[derive(Default)]
struct Effects {
    underway: JoinSet<Vec<Inbox>>,
    waiting: VecDeque<(ChangeId, EffectId, String)>,
}

impl Effects {
    fn push(&mut self, change: ChangeId, id: EffectId, body: String) {
        if self.waiting.len() >= EFFECTS_WAITING_MAX {
            tracing::warn!(%change, ?id, "too many effects wait; sent again later");
            return;
        }
        self.waiting.push_back((change, id, body));
    }

    fn start(&mut self, performer: &Arc<dyn Performer>) {
        while self.underway.len() < EFFECTS_MAX
            && let Some((change, id, body)) = self.waiting.pop_front()
        {
            let performer = Arc::clone(performer);
            self.underway
                .spawn(async move { performer.perform(change, id, body).await });
        }
    }
}

async fn tail(shell: &Shell, seq: &mut u64, inbox: &mut Vec<Inbox>) {
    let entries = match shell.ledger.since(*seq, TAIL_ENTRIES_MAX).await {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "the ledger's tail was not read; it is asked again");
            return;
        }
    };
    for entry in entries {
        *seq = entry.seq;
        let id = entry.stream.as_str().strip_prefix("change/");
        if let Some(Ok(change)) = id.map(ChangeId::new) {
            inbox.push(Inbox::Seen {
                change,
                version: entry.version,
            });
        }
    }
}

async fn written(
    shell: &Shell,
    append: Append,
    direction: Direction,
) -> Result<Vec<Entry>, LedgerError> {
    match direction {
        Direction::Forward => shell.ledger.append(append).await,
        Direction::Restoring => shell.ledger.append_restoring(append).await,
    }
}

/// Does what a turn wants: what is asked of the ledger all at once, and effects as there is room for them.
async fn carry_out(
    shell: &Shell,
    dispatches: Vec<Dispatch>,
    effects: &mut Effects,
    inbox: &mut Vec<Inbox>,
) {
    let mut asked: Vec<BoxFuture<'_, Inbox>> = Vec::new();
    for dispatch in dispatches {
        match dispatch {
            Dispatch::Append {
                ticket,
                change,
                append,
                direction,
            } => asked.push(Box::pin(appended(shell, ticket, change, append, direction))),
            Dispatch::Read { change } => asked.push(Box::pin(read(shell, change))),
            Dispatch::Effect { change, id, body } => effects.push(change, id, body),
            Dispatch::Refused { change, refusal } => tracing::info!(%change, %refusal, "refused"),
            Dispatch::Broken { change, error } => {
                tracing::error!(%change, %error, "a change cannot be hosted");
            }
        }
    }
    effects.start(&shell.performer);
    let mut asked = asked.into_iter();
    loop {
        let some: Vec<_> = asked.by_ref().take(ASKED_AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        inbox.extend(join_all(some).await);
    }
}

async fn appended(
    shell: &Shell,
    ticket: Ticket,
    change: ChangeId,
    append: Append,
    direction: Direction,
) -> Inbox {
    match written(shell, append, direction).await {
        Ok(entries) => Inbox::Committed { ticket, entries },
        Err(LedgerError::Conflict { stream, .. }) => Inbox::Conflict { ticket, stream },
        Err(error) => {
            tracing::warn!(%change, %error, "an append did not come back; its stream is read");
            Inbox::Unknown { change }
        }
    }
}

async fn read(shell: &Shell, change: ChangeId) -> Inbox {
    match shell.ledger.stream(&change_stream(&change)).await {
        Ok(entries) => Inbox::Stream { change, entries },
        Err(error) => {
            tracing::warn!(%change, %error, "a stream was not read; it is asked again");
            Inbox::Unknown { change }
        }
    }
}
