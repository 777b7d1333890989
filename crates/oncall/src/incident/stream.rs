//! An incident's stream: read back, and written to by whoever acts on it.
//!
//! Guarantees: what a person does is decided by the same machine as what time brings, on the state that the stream
//! holds; who writes names the version that was read, so that two who act at once do not act on what is not so.

use mainstay_change::{Machine as _, Refusal};
use mainstay_core::{
    Change, Entry, Expected, NewEntry, Time,
    change::{MOVED, OPENED},
    ledger::BODY_BYTES_MAX,
};

use super::{EVENT, Event, Incident, Input, KIND, Plan, State};

/// Why a stream cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It does not hold an incident.
    #[error("`{0}` is no incident")]
    NotOne(String),
    /// It cannot be read.
    #[error("entry {seq} of the ledger cannot be read: {why}")]
    Undecodable {
        /// Which entry.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The machine says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A stream as it was read.
#[derive(Debug, Clone)]
pub struct Folded {
    /// As it was opened.
    pub change: Change,
    /// Where it stands.
    pub state: State,
    /// Entries that it has.
    pub version: u64,
}

/// Folds a stream.
pub fn fold(entries: &[Entry]) -> Result<Folded, StreamError> {
    let first = entries
        .first()
        .ok_or_else(|| StreamError::NotOne("an empty stream".to_owned()))?;
    let unreadable = |seq| {
        move |error: serde_json::Error| StreamError::Undecodable {
            seq,
            why: error.to_string(),
        }
    };
    if first.kind != OPENED {
        return Err(StreamError::NotOne(first.stream.to_string()));
    }
    let change: Change = serde_json::from_str(&first.body).map_err(unreadable(first.seq))?;
    if change.plan.kind != KIND {
        return Err(StreamError::NotOne(change.id.to_string()));
    }
    let plan: Plan = serde_json::from_str(&change.plan.body).map_err(unreadable(first.seq))?;
    let mut folded = Folded {
        state: Incident::open(plan, change.opened_at)?,
        change,
        version: 0,
    };
    for entry in entries {
        folded.take(entry)?;
    }
    Ok(folded)
}

impl Folded {
    /// Takes the next entry in; one that was taken before changes nothing.
    pub fn take(&mut self, entry: &Entry) -> Result<(), StreamError> {
        if entry.version <= self.version {
            return Ok(());
        }
        if entry.kind == EVENT {
            let event: Event =
                serde_json::from_str(&entry.body).map_err(|error| StreamError::Undecodable {
                    seq: entry.seq,
                    why: error.to_string(),
                })?;
            Incident::evolve(&mut self.state, &event);
        }
        self.version = entry.version;
        Ok(())
    }
}

impl Folded {
    /// Takes an entry in that is about to be written.
    pub fn apply(&mut self, new: &NewEntry) -> Result<(), StreamError> {
        if new.kind == EVENT {
            let event: Event =
                serde_json::from_str(&new.body).map_err(|error| StreamError::Undecodable {
                    seq: 0,
                    why: error.to_string(),
                })?;
            Incident::evolve(&mut self.state, &event);
        }
        self.version += 1;
        Ok(())
    }
}

/// What follows from an input, as entries of the stream and the version that they were decided on; nothing where
/// nothing follows.
pub fn entries_of(
    folded: &Folded,
    now: Time,
    input: Input,
) -> Result<Option<(Expected, Vec<NewEntry>)>, StreamError> {
    let events = Incident::decide(&folded.state, now, input)?;
    if events.is_empty() {
        return Ok(None);
    }
    let entries = written(folded, &events)?;
    let expected = Expected {
        stream: folded.change.stream(),
        version: folded.version,
    };
    Ok(Some((expected, entries)))
}

fn written(folded: &Folded, events: &[Event]) -> Result<Vec<NewEntry>, StreamError> {
    let unwritable = |error: serde_json::Error| StreamError::Undecodable {
        seq: 0,
        why: error.to_string(),
    };
    let entry = |kind: &str, body: String| NewEntry {
        stream: folded.change.stream(),
        kind: kind.to_owned(),
        schema: Incident::SCHEMA,
        body,
    };
    let before = Incident::standing(&folded.state).state;
    let mut after = folded.state.clone();
    let mut entries = Vec::with_capacity(events.len());
    for event in events {
        Incident::evolve(&mut after, event);
        let body = serde_json::to_string(event).map_err(unwritable)?;
        if body.len() > BODY_BYTES_MAX {
            return Err(StreamError::Refused(Refusal {
                signal: "an entry".to_owned(),
                value: format!("{} bytes", body.len()),
                limit: format!("{BODY_BYTES_MAX} bytes"),
                remedy: "write less at once".to_owned(),
            }));
        }
        entries.push(entry(EVENT, body));
    }
    let standing = Incident::standing(&after);
    if standing.state != before {
        entries.push(entry(
            MOVED,
            serde_json::to_string(&standing).map_err(unwritable)?,
        ));
    }
    Ok(entries)
}
