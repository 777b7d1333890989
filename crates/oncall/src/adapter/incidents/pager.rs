//! Does what incidents want done: looks up who is meant, and tells them.
//!
//! Guarantees: a page's try goes out once from this process, however often it is asked for, and only while it leads;
//! what comes of it is told to the incident. What would be too much for one person and channel is told in one message.
//! A page that finds no room is not taken, and so asked for again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use mainstay_core::{
    ChangeId, Name, Span, Time,
    ports::{BoxFuture, Clock},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Book,
    link::{Links, Said},
};
use crate::{
    escalation::{
        About, Letter, Throttle, Who,
        outbox::{Due, End, Offered, Outbox},
    },
    incident::{Effect, Input},
    machine::Failure,
};

/// Messages that are sent at the same time.
const SENT_AT_ONCE: usize = 256;
/// Pages under way, those that wait among them; more are asked for again.
const UNDERWAY_MAX: usize = 20_000;
/// How long pages that waited are gathered into one message.
const GATHER: Duration = Duration::from_millis(250);
/// How long messages under way may take when the process ends.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Hands a letter to a channel.
pub trait Channels: Send + Sync {
    /// Whether the channel took it.
    fn tell<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What a pager stands on.
pub struct Paging {
    /// Who is meant.
    pub who: Arc<dyn Who>,
    /// How they are told.
    pub channels: Arc<dyn Channels>,
    /// Links to acknowledge by.
    pub links: Links,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What each incident hears of what came of it, as JSON.
    pub answers: mpsc::Sender<(ChangeId, String)>,
    /// What is known of incidents: a page that is not needed any more when its turn comes is not sent.
    pub book: Arc<Book>,
    /// Pages that a person gets by one channel in a minute; P0 is not counted.
    pub pages_per_minute: usize,
}

/// See the module.
#[derive(Clone)]
pub struct Pager(Arc<Inner>);

struct Inner {
    paging: Paging,
    outbox: Mutex<Outbox>,
    sending: Semaphore,
    tasks: TaskTracker,
    /// Ends with the term in which this process leads.
    term: Mutex<CancellationToken>,
    taken: AtomicU64,
    refused: AtomicU64,
}

/// Messages since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// That channels took.
    pub taken: u64,
    /// That they did not.
    pub refused: u64,
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pager")
    }
}

impl Pager {
    /// One that does not lead yet.
    pub fn new(paging: Paging) -> Self {
        let over = CancellationToken::new();
        over.cancel();
        let throttle = Throttle::new(paging.pages_per_minute, Span::from_secs(60));
        Self(Arc::new(Inner {
            paging,
            outbox: Mutex::new(Outbox::new(throttle)),
            sending: Semaphore::new(SENT_AT_ONCE),
            tasks: TaskTracker::new(),
            term: Mutex::new(over),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Messages since the start.
    pub fn sent(&self) -> Sent {
        Sent {
            taken: self.0.taken.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    /// This process leads until `over`.
    pub fn lead(&self, over: CancellationToken) {
        let mut term = self.0.term.lock().unwrap_or_else(PoisonError::into_inner);
        *term = over;
    }

    /// Waits until `stop`, then for messages under way, for a while.
    pub async fn finish(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.0.tasks.close();
        let _ = tokio::time::timeout(FINISH_WITHIN, self.0.tasks.wait()).await;
    }

    /// Does what an incident wants done; what that leads to at once, as JSON.
    pub fn perform(&self, incident: ChangeId, body: &str) -> Vec<String> {
        let effect: Effect = match serde_json::from_str(body) {
            Ok(effect) => effect,
            Err(error) => {
                tracing::error!(%incident, %error, "what an incident wants cannot be read");
                return Vec::new();
            }
        };
        let answer = match effect {
            Effect::Find { cycle, step, who } => {
                let at = moment(self.0.paging.clock.now());
                let people = who.iter().flat_map(|it| self.0.paging.who.of(it, at));
                Some(Input::Found {
                    cycle,
                    step,
                    people: people.collect(),
                })
            }
            Effect::Send(ask) => self.send(Due { incident, ask }),
        };
        answer.and_then(|it| json(&it)).into_iter().collect()
    }

    /// Puts a page on its way, or says what is known of it.
    fn send(&self, due: Due) -> Option<Input> {
        let now = self.0.paging.clock.now();
        let offered = {
            let mut outbox = self.outbox();
            if outbox.underway() >= UNDERWAY_MAX {
                tracing::warn!("{UNDERWAY_MAX} pages are under way: one is asked for again");
                return None;
            }
            outbox.offer(&due, now)
        };
        match offered {
            Offered::Nothing => None,
            Offered::Answer(input) => Some(input),
            Offered::Send => {
                let pager = self.clone();
                self.0
                    .tasks
                    .spawn(async move { pager.told(vec![due]).await });
                None
            }
            Offered::Gather { is_first } => {
                if is_first {
                    let pager = self.clone();
                    let (person, channel) = (due.ask.person, due.ask.channel);
                    self.0
                        .tasks
                        .spawn(async move { pager.gather(person, channel).await });
                }
                None
            }
        }
    }

    async fn gather(self, person: Name, channel: Name) {
        tokio::time::sleep(GATHER).await;
        let now = self.0.paging.clock.now();
        let all = self.outbox().gathered(&person, &channel, now);
        self.told(all).await;
    }

    /// Tells pages of one person and channel in one message.
    async fn told(self, all: Vec<Due>) {
        let Ok(_room) = self.0.sending.acquire().await else {
            return;
        };
        let is_over = {
            let term = self.0.term.lock().unwrap_or_else(PoisonError::into_inner);
            term.is_cancelled()
        };
        // While it waited somebody may have acted; and where another leads by now, that one sends it.
        let book = &self.0.paging.book;
        let is_due = |due: &Due| !is_over && book.is_needed(&due.incident, &due.ask.key);
        let (all, dropped): (Vec<Due>, Vec<Due>) = all.into_iter().partition(is_due);
        self.outbox().forget(&dropped);
        let Some(letter) = self.letter(&all) else {
            return;
        };
        let end = match self.0.paging.channels.tell(&letter).await {
            Ok(()) => {
                self.0.taken.fetch_add(1, Ordering::Relaxed);
                End::Taken
            }
            Err(Failure { why, again }) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                let (person, channel) = (&letter.person, &letter.channel);
                tracing::warn!(%person, %channel, why, "a page was not taken");
                End::Refused { why, again }
            }
        };
        let answers = self.outbox().ended(&all, &end);
        for (incident, input) in answers {
            if let Some(body) = json(&input) {
                // Where nobody hears it any more, it is asked for again.
                let _ = self.0.paging.answers.send((incident, body)).await;
            }
        }
    }

    fn letter(&self, all: &[Due]) -> Option<Letter> {
        let mut about = all.iter().map(|due| About {
            incident: due.incident.clone(),
            severity: due.ask.severity,
            title: due.ask.title.clone(),
            key: due.ask.key.clone(),
            acknowledge: self.0.paging.links.to(&Said {
                incident: due.incident.clone(),
                demand: due.ask.demand,
                person: due.ask.person.clone(),
            }),
        });
        let first = all.first()?;
        Some(Letter {
            person: first.ask.person.clone(),
            channel: first.ask.channel.clone(),
            step: first.ask.step,
            at: self.0.paging.clock.now(),
            about: about.next()?,
            others: about.collect(),
        })
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        let outbox = self.0.outbox.lock();
        outbox.unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(input: &Input) -> Option<String> {
    serde_json::to_string(input).ok()
}

/// The same instant for calendars.
pub(super) fn moment(at: Time) -> Timestamp {
    let past = at.millis() < 0;
    let beyond = if past { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.millis()).unwrap_or(beyond)
}
