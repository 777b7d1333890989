//! The shell around [`Runtime::turn`]: a ledger, a clock, hands. It decides nothing.

use std::sync::Arc;

use mainstay_change::{Direction, EffectId};
use mainstay_core::{
    Actor, Append, ChangeId, Entry, Expected, NewEntry, Span, Time,
    change::change_stream,
    ports::{BoxFuture, Clock, Ledger, LedgerError},
};
use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use crate::{
    message::{Dispatch, Inbox},
    turn::{Runtime, leader_stream},
};

/// How often the ledger is asked for entries that others wrote.
const TAIL_EVERY: Span = Span::from_millis(250);
/// Shortest pause between turns that nothing but time causes.
const PAUSE_MIN: Span = Span::from_millis(10);
/// Entries read at once.
const TAIL_ENTRIES_MAX: usize = 512;
/// Effects under way at once; the rest is sent again when due.
const EFFECTS_MAX: usize = 256;

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
    let mut effects: JoinSet<Vec<Inbox>> = JoinSet::new();
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
        for dispatch in dispatches {
            carry_out(&shell, dispatch, &mut effects, &mut inbox).await;
        }
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
            Some(done) = effects.join_next() => {
                inbox.extend(done.map_err(|e| DriveError::EffectDied(e.to_string()))?);
            }
            input = shell.inputs.recv(), if inputs_open => match input {
                Some(input) => inbox.push(input),
                None => inputs_open = false,
            },
            () = time::sleep(pause.duration()) => {}
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

async fn carry_out(
    shell: &Shell,
    dispatch: Dispatch,
    effects: &mut JoinSet<Vec<Inbox>>,
    inbox: &mut Vec<Inbox>,
) {
    match dispatch {
        Dispatch::Append {
            ticket,
            change,
            append,
            direction,
        } => inbox.push(match written(shell, append, direction).await {
            Ok(entries) => Inbox::Committed { ticket, entries },
            Err(LedgerError::Conflict { stream, .. }) => Inbox::Conflict { ticket, stream },
            Err(error) => {
                tracing::warn!(%change, %error, "an append did not come back; its stream is read");
                Inbox::Unknown { change }
            }
        }),
        Dispatch::Read { change } => {
            let answer = shell.ledger.stream(&change_stream(&change)).await;
            inbox.push(match answer {
                Ok(entries) => Inbox::Stream { change, entries },
                Err(error) => {
                    tracing::warn!(%change, %error, "a stream was not read; it is asked again");
                    Inbox::Unknown { change }
                }
            });
        }
        Dispatch::Effect { change, id, body } if effects.len() < EFFECTS_MAX => {
            let performer = Arc::clone(&shell.performer);
            effects.spawn(async move { performer.perform(change, id, body).await });
        }
        Dispatch::Effect { change, id, .. } => {
            tracing::warn!(%change, ?id, "too many effects under way; sent again later");
        }
        Dispatch::Refused { change, refusal } => tracing::info!(%change, %refusal, "refused"),
        Dispatch::Broken { change, error } => {
            tracing::error!(%change, %error, "a change cannot be hosted");
        }
    }
}
