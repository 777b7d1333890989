//! The way of a note to a webhook.
//!
//! Guarantees: notes of one webhook arrive in their order; one that it does not take is tried again, later
//! and later, until [`GIVE_UP_AFTER`] from when it was sent; each try has a deadline, redirects are not
//! followed, and the answer's body is not read. What is dropped is counted: the next note that arrives says
//! how many in `dropped`. Never makes anybody wait.
//!
//! Example: `Posts::start(webhooks, &stop)?.send(&note)`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::Note;
use crate::{config::Webhook, outbound};

/// How long a note is tried: whoever was away for longer reads the ledger.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// How long a webhook may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Notes that wait for one webhook.
const WAITING_MAX: usize = 256;
/// Bytes of one body: title and reason are cut long before.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// How long is waited between two tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) longest: Duration,
    pub(super) in_all: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            in_all: GIVE_UP_AFTER,
        }
    }
}

/// A note on its way.
struct Letter {
    body: Value,
    sent: Instant,
}

struct Desk {
    to: mpsc::Sender<Letter>,
    name: String,
    dropped: Arc<AtomicU64>,
}

/// All webhooks, each with a task of its own.
pub(super) struct Posts {
    desks: Vec<Desk>,
    tasks: JoinSet<()>,
}

impl Posts {
    pub(super) fn start(webhooks: Vec<Webhook>, stop: &CancellationToken) -> anyhow::Result<Self> {
        Self::start_with(webhooks, stop, Patience::default())
    }

    pub(super) fn start_with(
        webhooks: Vec<Webhook>,
        stop: &CancellationToken,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let client = outbound::client(ANSWER_WITHIN).context("nobody can be posted to")?;
        let mut posts = Self {
            desks: Vec::new(),
            tasks: JoinSet::new(),
        };
        for Webhook(url) in webhooks {
            let (to, letters) = mpsc::channel(WAITING_MAX);
            let dropped = Arc::new(AtomicU64::new(0));
            posts.desks.push(Desk {
                to,
                name: outbound::named(&url),
                dropped: Arc::clone(&dropped),
            });
            let carrier = Carrier {
                client: client.clone(),
                name: outbound::named(&url),
                url,
                dropped,
                patience,
            };
            let stop = stop.clone();
            posts.tasks.spawn(async move {
                // What still waits when the server ends is in the ledger.
                let _ = stop.run_until_cancelled(carrier.carry(letters)).await;
            });
        }
        Ok(posts)
    }

    /// Puts a note on its way to every webhook.
    pub(super) fn send(&self, note: &Note) {
        let body = json!(note);
        for desk in &self.desks {
            let letter = Letter {
                body: body.clone(),
                sent: Instant::now(),
            };
            if desk.to.try_send(letter).is_err() {
                let dropped = desk.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(
                    webhook = desk.name,
                    dropped,
                    "{WAITING_MAX} notes wait for it already: one was dropped"
                );
            }
        }
    }

    /// Comes back only when a task died.
    pub(super) async fn died(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok(())) => anyhow::anyhow!("a webhook's task ended before it was told to"),
            Some(Err(died)) => anyhow::Error::new(died).context("a webhook's task died"),
        }
    }

    /// Waits for the tasks, which were told to end.
    pub(super) async fn ended(mut self) -> Result<(), tokio::task::JoinError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

struct Carrier {
    client: Client,
    url: Url,
    name: String,
    dropped: Arc<AtomicU64>,
    patience: Patience,
}

impl Carrier {
    async fn carry(&self, mut letters: mpsc::Receiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            self.deliver(letter).await;
        }
    }

    async fn deliver(&self, mut letter: Letter) {
        let until = letter.sent + self.patience.in_all;
        let mut wait = self.patience.first;
        let mut tries = 0_u32;
        let webhook = &self.name;
        loop {
            let missing = self.dropped.load(Ordering::Relaxed);
            if missing > 0 {
                letter.body["dropped"] = json!(missing);
            }
            let why = match self.post(letter.body.to_string()).await {
                Ok(()) => {
                    self.dropped.fetch_sub(missing, Ordering::Relaxed);
                    return;
                }
                Err(why) => why,
            };
            tries += 1;
            if Instant::now() + wait >= until {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(webhook, tries, "a note was given up: {why}");
                return;
            }
            if tries == 1 {
                tracing::warn!(webhook, "a note was not taken: {why}; it is tried again");
            } else {
                tracing::debug!(webhook, tries, "a note was not taken: {why}");
            }
            sleep(wait).await;
            wait = (wait * 2).min(self.patience.longest);
        }
    }

    async fn post(&self, body: String) -> Result<(), String> {
        if body.len() > BODY_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, at most {BODY_BYTES_MAX} are sent",
                body.len()
            ));
        }
        let request = self.client.post(self.url.clone());
        let sent = request.header(CONTENT_TYPE, "application/json").body(body);
        match sent.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answers {}", answer.status())),
            Err(error) => Err(format!("{:#}", anyhow::Error::new(error.without_url()))),
        }
    }
}
