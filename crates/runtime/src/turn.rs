//! One turn: what came in, what follows. Synchronous, deterministic, without a clock.

use std::collections::{BTreeMap, VecDeque};

use mainstay_change::{
    Direction, EffectId, Refusal,
    planted::{self, Bug},
};
use mainstay_core::{
    Actor, Append, Change, ChangeId, ChangeState, Entry, Expected, NewEntry, Span, StreamId, Time,
    change::{MOVED, Moved, OPENED, change_stream},
    ledger::{APPEND_ENTRIES_MAX, BODY_BYTES_MAX},
};

use crate::{
    hosted::{Codecs, HostError, Hosted, undecodable},
    message::{Dispatch, Inbox, Ticket},
};

/// An effect is sent again after so long without the state moving on.
const RESEND_AFTER: Span = Span::from_secs(5);
/// The ledger is asked again after so long when it did not answer.
const RETRY_AFTER: Span = Span::from_millis(100);
/// Most inputs that wait for one change; more are refused.
const INPUTS_MAX: usize = 1_024;

/// The stream whose version says who leads: every append expects it unmoved.
pub fn leader_stream() -> StreamId {
    StreamId::new("runtime/leader")
}

/// What the runtime waits for on behalf of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing: it may decide.
    Nothing,
    /// An append to come back.
    Append(Ticket),
    /// The moment to read its stream.
    ToRead(Option<Time>),
    /// Its stream.
    Stream,
}

struct Open {
    /// Absent until its stream was read.
    machine: Option<(String, u16, Box<dyn Hosted>)>,
    version: u64,
    waits: Waits,
    inputs: VecDeque<String>,
    /// The input that the append under way answers; decided again if that fails.
    deciding: Option<String>,
    sent: BTreeMap<EffectId, Time>,
}

impl Open {
    fn new() -> Self {
        Self {
            machine: None,
            version: 0,
            waits: Waits::ToRead(None),
            inputs: VecDeque::new(),
            deciding: None,
            sent: BTreeMap::new(),
        }
    }
    fn read_again(&mut self, at: Option<Time>) {
        self.waits = Waits::ToRead(at);
        if let Some(input) = self.deciding.take() {
            self.inputs.push_front(input);
        }
    }
    fn is_final(&self) -> bool {
        self.machine
            .as_ref()
            .is_some_and(|(_, _, machine)| machine.standing().state.is_final())
    }
}

/// Hosts the machines of all open changes.
pub struct Runtime {
    codecs: Codecs,
    actor: Actor,
    leadership: Expected,
    fenced: bool,
    open: BTreeMap<ChangeId, Open>,
    /// Whose append under way each is.
    tickets: BTreeMap<Ticket, ChangeId>,
    next_ticket: u64,
}

impl Runtime {
    /// A runtime that writes as `actor`, for as long as `leadership` holds.
    pub fn new(codecs: Codecs, actor: Actor, leadership: Expected) -> Self {
        Self {
            codecs,
            actor,
            leadership,
            fenced: false,
            open: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
        }
    }
    /// Whether another one leads: this one does nothing any more.
    pub fn fenced(&self) -> bool {
        self.fenced
    }
    /// Where each open change stands, as far as committed.
    pub fn standing(&self) -> BTreeMap<ChangeId, ChangeState> {
        self.open
            .iter()
            .filter_map(|(id, open)| {
                let (_, _, machine) = open.machine.as_ref()?;
                Some((id.clone(), machine.standing().state))
            })
            .collect()
    }
    /// When the next turn is due at the latest, if nothing comes in.
    pub fn wake_at(&self) -> Option<Time> {
        self.open
            .values()
            .filter_map(|open| match open.waits {
                Waits::Append(_) | Waits::Stream => None,
                Waits::ToRead(at) => Some(at.unwrap_or_default()),
                Waits::Nothing => {
                    let wake = open.machine.as_ref().and_then(|(_, _, m)| m.wake_at());
                    let resend = open.sent.values().min().map(|at| *at + RESEND_AFTER);
                    wake.into_iter().chain(resend).min()
                }
            })
            .min()
    }
    /// Takes in what happened and says what to do, in the order of change ids.
    pub fn turn(&mut self, now: Time, inbox: Vec<Inbox>) -> Vec<Dispatch> {
        let mut out = Vec::new();
        for message in inbox {
            self.absorb(now, message, &mut out);
        }
        if self.fenced {
            return out;
        }
        self.open.retain(|id, open| {
            let ended = open.is_final();
            if ended {
                let waiting = std::mem::take(&mut open.inputs);
                out.extend(waiting.iter().map(|_| refuse_input(id.clone(), false)));
            }
            !ended
        });
        let ids: Vec<ChangeId> = self.open.keys().cloned().collect();
        for id in ids {
            self.advance(now, &id, &mut out);
        }
        out
    }

    fn absorb(&mut self, now: Time, message: Inbox, out: &mut Vec<Dispatch>) {
        match message {
            Inbox::Seen { change, version } => {
                let open = self.open.entry(change).or_insert_with(Open::new);
                if version > open.version && open.waits == Waits::Nothing {
                    open.read_again(None);
                }
            }
            Inbox::Stream { change, entries } => self.rebuild(&change, &entries, out),
            Inbox::Committed { ticket, entries } => {
                let Some((id, open)) = self.waiting(ticket) else {
                    return;
                };
                open.waits = Waits::Nothing;
                open.deciding = None;
                if let Err(error) = fold(open, &entries) {
                    out.push(Dispatch::Broken { change: id, error });
                }
            }
            Inbox::Conflict { ticket, stream } => {
                self.fenced |= stream == self.leadership.stream;
                if let Some((_, open)) = self.waiting(ticket) {
                    open.read_again(None);
                }
            }
            Inbox::Unknown { change } => {
                if let Some(open) = self.open.get_mut(&change) {
                    if let Waits::Append(ticket) = open.waits {
                        self.tickets.remove(&ticket);
                    }
                    open.read_again(Some(now + RETRY_AFTER));
                }
            }
            Inbox::Input { change, body } => {
                let known = self.open.get_mut(&change);
                match known {
                    Some(open) if open.inputs.len() < INPUTS_MAX => open.inputs.push_back(body),
                    other => out.push(refuse_input(change, other.is_some())),
                }
            }
        }
    }

    /// Whose append that was, if it is still waited for.
    fn waiting(&mut self, ticket: Ticket) -> Option<(ChangeId, &mut Open)> {
        let id = self.tickets.remove(&ticket)?;
        let open = self.open.get_mut(&id)?;
        (open.waits == Waits::Append(ticket)).then_some((id, open))
    }

    /// Folds a whole stream; one shorter than what was folded before is older, and ignored.
    fn rebuild(&mut self, id: &ChangeId, entries: &[Entry], out: &mut Vec<Dispatch>) {
        let codecs = &self.codecs;
        let open = self.open.entry(id.clone()).or_insert_with(Open::new);
        if matches!(open.waits, Waits::Append(_)) || (entries.len() as u64) < open.version {
            return;
        }
        if entries
            .iter()
            .rev()
            .find_map(moved)
            .is_some_and(ChangeState::is_final)
        {
            // Ended, perhaps in the append that opened it: nothing is left to host.
            let waiting = std::mem::take(&mut open.inputs);
            out.extend(waiting.iter().map(|_| refuse_input(id.clone(), false)));
            self.open.remove(id);
            return;
        }
        let opened = entries
            .first()
            .filter(|entry| entry.kind == OPENED)
            .ok_or(HostError::Undecodable {
                what: "stream",
                why: "its first entry does not open a change".to_owned(),
            })
            .and_then(|entry| {
                serde_json::from_str::<Change>(&entry.body).map_err(undecodable("change"))
            });
        let rebuilt = opened.and_then(|change| {
            let machine = codecs.open(&change.plan, change.opened_at)?;
            let kind = format!("{}.event", change.plan.kind);
            open.machine = Some((kind, change.plan.schema, machine));
            open.version = 1;
            open.waits = Waits::Nothing;
            fold(open, entries.get(1..).unwrap_or_default())
        });
        if let Err(error) = rebuilt {
            self.open.remove(id);
            out.push(Dispatch::Broken {
                change: id.clone(),
                error,
            });
        }
    }

    fn advance(&mut self, now: Time, id: &ChangeId, out: &mut Vec<Dispatch>) {
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        match open.waits {
            Waits::Append(_) | Waits::Stream => return,
            Waits::ToRead(at) => {
                // A clock that stepped back must not put the reading off.
                if at.is_none_or(|at| now >= at || at.since(now) > RETRY_AFTER) {
                    open.waits = Waits::Stream;
                    out.push(Dispatch::Read { change: id.clone() });
                }
                return;
            }
            Waits::Nothing => {}
        }
        self.decide(now, id, out);
        if let Some(open) = self.open.get_mut(id)
            && open.waits == Waits::Nothing
        {
            resend(now, id, open, out);
        }
    }

    /// Decides inputs in order until one has events, then asks for those to be written.
    fn decide(&mut self, now: Time, id: &ChangeId, out: &mut Vec<Dispatch>) {
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        let Some((kind, schema, machine)) = &open.machine else {
            return;
        };
        let mut tick = machine.wake_at().is_some_and(|at| now >= at);
        loop {
            let input = if tick { None } else { open.inputs.pop_front() };
            if !tick && input.is_none() {
                return;
            }
            tick = false;
            let mut entries = Vec::new();
            let mut direction = Direction::Forward;
            let decided = machine.decide(now, input.as_deref()).and_then(|decided| {
                direction = decided.direction;
                entries = entries_of(id, kind, *schema, decided, machine.standing().state)?;
                Ok(())
            });
            if let Err(error) = decided {
                out.push(match error {
                    HostError::Refused(refusal) => Dispatch::Refused {
                        change: id.clone(),
                        refusal,
                    },
                    HostError::UnknownPlan { .. } | HostError::Undecodable { .. } => {
                        Dispatch::Broken {
                            change: id.clone(),
                            error,
                        }
                    }
                });
                continue;
            }
            if entries.is_empty() {
                continue;
            }
            self.next_ticket += 1;
            let ticket = Ticket(self.next_ticket);
            open.waits = Waits::Append(ticket);
            self.tickets.insert(ticket, id.clone());
            open.deciding = input;
            let of_stream = Expected {
                stream: change_stream(id),
                version: open.version,
            };
            let mut expected = vec![self.leadership.clone(), of_stream];
            if planted::is(Bug::LeadershipUnexpected) {
                expected.remove(0);
            }
            out.push(Dispatch::Append {
                ticket,
                change: id.clone(),
                direction,
                append: Append {
                    actor: self.actor.clone(),
                    at: now,
                    expected,
                    entries,
                },
            });
            return;
        }
    }
}

/// The state that an entry moves its change to, if it does.
fn moved(entry: &Entry) -> Option<ChangeState> {
    let body = (entry.kind == MOVED).then_some(entry.body.as_str())?;
    serde_json::from_str::<Moved>(body)
        .ok()
        .map(|moved| moved.state)
}

fn refuse_input(change: ChangeId, open: bool) -> Dispatch {
    let (value, limit, remedy) = if open {
        (
            format!("{INPUTS_MAX} inputs wait"),
            format!("{INPUTS_MAX}"),
            "send it again when some are decided",
        )
    } else {
        (
            "not open".to_owned(),
            "an open change".to_owned(),
            "look it up in the ledger",
        )
    };
    Dispatch::Refused {
        change,
        refusal: Refusal {
            signal: "input".to_owned(),
            value,
            limit,
            remedy: remedy.to_owned(),
        },
    }
}

/// Folds entries of the change's own stream, each once and in order.
fn fold(open: &mut Open, entries: &[Entry]) -> Result<(), HostError> {
    for entry in entries {
        if entry.version <= open.version {
            continue;
        }
        if let Some((kind, _, machine)) = &mut open.machine
            && entry.kind == *kind
        {
            machine.evolve(&entry.body)?;
        }
        open.version = entry.version;
    }
    Ok(())
}

/// The events, and a `change.moved` where they put the change into another state.
fn entries_of(
    id: &ChangeId,
    kind: &str,
    schema: u16,
    decided: crate::hosted::Decided,
    before: ChangeState,
) -> Result<Vec<NewEntry>, HostError> {
    let entry = |kind: &str, schema, body| NewEntry {
        stream: change_stream(id),
        kind: kind.to_owned(),
        schema,
        body,
    };
    let moved = decided.after.state != before;
    let mut entries: Vec<NewEntry> = decided
        .bodies
        .into_iter()
        .map(|body| entry(kind, schema, body))
        .collect();
    if moved {
        let body = serde_json::to_string(&decided.after).map_err(undecodable("move"))?;
        entries.push(entry(MOVED, 1, body));
    }
    let largest = entries.iter().map(|it| it.body.len()).max().unwrap_or(0);
    if largest > BODY_BYTES_MAX || entries.len() > APPEND_ENTRIES_MAX {
        return Err(HostError::Refused(Refusal {
            signal: "entries".to_owned(),
            value: format!("{} entries, the largest of {largest} bytes", entries.len()),
            limit: format!("{APPEND_ENTRIES_MAX} entries of {BODY_BYTES_MAX} bytes"),
            remedy: "send a smaller input".to_owned(),
        }));
    }
    Ok(entries)
}

/// Sends what is due and was not sent lately; forgets what is no longer due.
fn resend(now: Time, id: &ChangeId, open: &mut Open, out: &mut Vec<Dispatch>) {
    let Some((_, _, machine)) = &open.machine else {
        return;
    };
    let due = match machine.due(now) {
        Ok(due) => due,
        Err(error) => {
            out.push(Dispatch::Broken {
                change: id.clone(),
                error,
            });
            return;
        }
    };
    open.sent
        .retain(|sent, _| due.iter().any(|(wanted, _)| wanted == sent));
    for (effect, body) in due {
        let recently = open
            .sent
            .get(&effect)
            .is_some_and(|at| *at <= now && now.since(*at) < RESEND_AFTER);
        if !recently {
            open.sent.insert(effect.clone(), now);
            out.push(Dispatch::Effect {
                change: id.clone(),
                id: effect,
                body,
            });
        }
    }
}
