//! The scraper: asks a changing set of targets, each in its own rhythm.
//!
//! Guarantees: a target's first scrape falls somewhere in the first interval, by a hash of its name, so that
//! targets do not all answer at once; scrapes of one target never overlap; no more than
//! [`ScrapeConfig::concurrent`] requests are under way. A target that leaves the set gets staleness markers.
//! It never retries: the next interval does.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use mainstay_core::{Span, Time, ports::Clock};
use mainstay_tsdb::Labels;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Known, Target, Writer,
    batch::{Memory, SampleRules},
    fetch::{Answer, Ask, Asking, BodyError, HttpClient, ScrapeError},
    pools::Last,
    tls::{Tls, TlsError},
};
use crate::{
    Refusals, nhcb,
    text::{Exposition, TextLimits},
};

/// How often a target's descriptions of its metrics are read: they change with its version only.
const DESCRIBED_EVERY: Span = Span::from_secs(60);

/// How targets are scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// Under which name its targets are listed.
    pub pool: String,
    /// Time between two scrapes of one target.
    pub interval: Span,
    /// Time an answer may take.
    pub deadline: Span,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Requests under way at once.
    pub concurrent: usize,
    /// Targets; those above are refused and counted.
    pub targets: usize,
    /// How they are asked.
    pub asking: Asking,
    /// How TLS is spoken with them.
    pub tls: Tls,
    /// What becomes of their samples.
    pub samples: SampleRules,
    /// Limits of a body's content.
    pub text: TextLimits,
}

impl Default for ScrapeConfig {
    /// Each second, 800 ms to answer, 8 MiB, 64 at once of 2,000 targets.
    fn default() -> Self {
        Self {
            pool: "mainstay".to_owned(),
            interval: Span::from_secs(1),
            deadline: Span::from_millis(800),
            body_bytes: 8 << 20,
            concurrent: 64,
            targets: 2_000,
            asking: Asking::default(),
            tls: Tls::default(),
            samples: SampleRules::default(),
            text: TextLimits::default(),
        }
    }
}

/// Scrapes targets into a writer.
pub struct Scraper {
    writer: Writer,
    clock: Arc<dyn Clock>,
    config: ScrapeConfig,
    known: Known,
    client: HttpClient,
    requests: Semaphore,
}

type Key = (String, Labels);

impl Scraper {
    /// A scraper that writes through `writer` and dates samples by `clock`; none where TLS cannot be spoken as the
    /// configuration wants.
    pub fn new(
        writer: Writer,
        clock: Arc<dyn Clock>,
        config: ScrapeConfig,
        known: Known,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            writer,
            clock,
            known,
            client: config.tls.client()?,
            requests: Semaphore::new(config.concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            config,
        })
    }

    /// Follows the set of targets until `stop`; if nobody can change the set any more, it stays as it is, and where it
    /// is empty there is nothing left to do.
    pub async fn run(self, mut targets: watch::Receiver<Vec<Target>>, stop: CancellationToken) {
        let scraper = Arc::new(self);
        let mut followed: BTreeMap<Key, CancellationToken> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        let (mut open, mut changed) = (true, true);
        loop {
            if std::mem::take(&mut changed) {
                let wanted = scraper.wanted(&targets.borrow_and_update());
                let (stay, leave): (BTreeMap<_, _>, BTreeMap<_, _>) = followed
                    .into_iter()
                    .partition(|(k, _)| wanted.contains_key(k));
                followed = stay;
                for gone in leave.into_values() {
                    gone.cancel();
                }
                for (key, target) in wanted {
                    followed.entry(key).or_insert_with(|| {
                        let gone = stop.child_token();
                        let scraper = Arc::clone(&scraper);
                        tasks.spawn(scraper.follow(target, gone.clone(), stop.clone()));
                        gone
                    });
                }
            }
            if !open && followed.is_empty() && tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                result = targets.changed(), if open => (open, changed) = (result.is_ok(), result.is_ok()),
                Some(ended) = tasks.join_next() => report(ended),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }

    fn wanted(&self, targets: &[Target]) -> BTreeMap<Key, Target> {
        let mut wanted: BTreeMap<Key, Target> =
            targets.iter().map(|t| (t.key(), t.clone())).collect();
        let over = wanted.len().saturating_sub(self.config.targets);
        if over > 0 {
            tracing::warn!(
                over,
                limit = self.config.targets,
                "targets above the limit are not scraped"
            );
            self.writer.refuse(&Refusals {
                targets: over as u64,
                ..Refusals::default()
            });
        }
        for _ in 0..over {
            wanted.pop_last();
        }
        let listed = wanted.values().map(|target| {
            let interval = target.interval(self.config.interval);
            (
                target.clone(),
                interval,
                target.deadline(self.config.deadline),
            )
        });
        self.known.pools.follow(&self.config.pool, listed);
        wanted
    }

    async fn follow(
        self: Arc<Self>,
        target: Target,
        gone: CancellationToken,
        stop: CancellationToken,
    ) {
        let interval = target.interval(self.config.interval);
        let interval = interval.duration().max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + offset(&target, interval), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut memory = Memory::new(target.labels().clone(), self.config.samples.clone());
        while gone.run_until_cancelled(ticks.tick()).await.is_some() {
            if !self.scrape(&target, &mut memory, &gone).await {
                return;
            }
        }
        if !stop.is_cancelled() {
            let now = self.clock.now();
            // The writer ends with the process only, and then there is nobody to read the markers.
            let _ = self.writer.append(now, memory.gone(now)).await;
        }
    }

    /// Whether to go on.
    async fn scrape(&self, target: &Target, memory: &mut Memory, gone: &CancellationToken) -> bool {
        let Some(Ok(permit)) = gone.run_until_cancelled(self.requests.acquire()).await else {
            return true;
        };
        let (at, started) = (self.clock.now(), Instant::now());
        let deadline = target.deadline(self.config.deadline);
        let late = ScrapeError::Deadline {
            within_ms: deadline.millis(),
        };
        let answer = timeout(deadline.duration(), self.ask(target, deadline.duration()));
        let answer = answer.await.unwrap_or(Err(late));
        drop(permit);
        let seconds = started.elapsed().as_secs_f64();
        let seen = answer.as_ref().map(|answer| self.read(answer));
        let (seen, mut error) = match &seen {
            Ok(Ok(seen)) => (Some(seen), None),
            Ok(Err(error)) => {
                tracing::warn!(url = %target.url(), %error, "a target does not say what it measures");
                (None, Some(error.to_string()))
            }
            Err(error) => {
                tracing::debug!(url = %target.url(), %error, "a target does not answer");
                (None, Some(error.to_string()))
            }
        };
        let mut refused = Refusals {
            native_histograms: seen.map_or(0, |seen| seen.native_histograms),
            invalid_histograms: seen.map_or(0, |seen| seen.invalid_histograms.0),
            ..Refusals::default()
        };
        if let Some(fault) = seen.and_then(|seen| seen.invalid_histograms.1.as_ref()) {
            tracing::warn!(url = %target.url(), %fault, "a target's histogram is refused");
        }
        let written = memory.scraped(at, seconds, seen, &mut refused);
        if let Some(over) = written.over {
            tracing::warn!(url = %target.url(), error = %over, "a target says too much");
            error = Some(over.to_string());
        }
        if let Some(seen) = seen {
            self.learn(seen, target, memory, at);
        }
        let last = Last { at, seconds, error };
        self.known.pools.scraped(&self.config.pool, target, last);
        let batch = written.samples;
        self.writer.refuse(&refused);
        match self.writer.append(at, batch).await {
            Ok(more) => {
                for (series, exemplar, sample_ms) in &written.exemplars {
                    // A target says the same ones at each scrape: those that are older are there already.
                    let _ = self.writer.exemplars().add(series, exemplar, *sample_ms);
                }
                refused.add(&more);
                if refused.total() > 0 {
                    tracing::warn!(url = %target.url(), ?refused, "samples refused");
                    memory.forget_answer();
                }
                true
            }
            Err(_) => false,
        }
    }
}

impl Scraper {
    /// What an answer says, with classic histograms made native where the job asks for it.
    fn read<'a>(&self, answer: &'a Answer) -> Result<Exposition<'a>, BodyError> {
        let mut seen = answer.read(&self.config.text)?;
        if self.config.samples.custom_buckets {
            nhcb::convert(&mut seen, self.config.samples.keep_classic);
        }
        Ok(seen)
    }

    async fn ask(&self, target: &Target, deadline: Duration) -> Result<Answer, ScrapeError> {
        let asking = &self.config.asking;
        let ask = Ask {
            url: target.url(),
            headers: asking.headers(deadline)?,
            credentials: asking.credentials.as_ref(),
            gzip: asking.gzip,
            redirects: asking.redirects,
            body_bytes: self.config.body_bytes,
        };
        ask.fetch(&self.client).await
    }

    /// Takes over what a target says its metrics are, if it is time for that.
    fn learn(&self, seen: &Exposition<'_>, target: &Target, memory: &mut Memory, at: Time) {
        if !memory.described(at, DESCRIBED_EVERY) {
            return;
        }
        let families = seen.families();
        let described =
            families.filter_map(|(name, family)| self.known.metadata.learn(name, &family, at));
        let described: Vec<_> = described.collect();
        self.known
            .pools
            .described(&self.config.pool, target, described);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a target's task died");
    }
}

/// Where in its interval a target is scraped.
fn offset(target: &Target, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    target.key().hash(&mut hasher);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(hasher.finish() % nanos.max(1))
}
