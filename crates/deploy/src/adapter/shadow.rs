//! Watches services that are only observed: counts what the mapping selects, notes news in the ledger, and
//! shows where each stands.
//!
//! Guarantees: what could not be written down is tried again before anything newer; a mapping that changes
//! starts anew. Never orders anything: of all ports it uses the ledger, the signals and the clock.

use std::collections::{BTreeMap, VecDeque};

use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeKind, ChangeState, Claim, Expected, NewEntry,
    Outcome, Percent, ServiceName, Span, Time,
    catalog::{Manage, ObserveSpec, ServiceSpec},
    change::{MOVED, Moved, OPENED, Plan},
    ports::{Declined, Growth, LedgerError, No},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Engine, lock};
use crate::{
    rollout::Ruling,
    shadow::{KIND, Mapping, News, Note, Shadow, Trial},
};

/// How often is counted.
const EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Requests older than this are not evidence any more.
const TICK_MAX: Span = Span::from_secs(10);
/// News that wait for the ledger; a service has no more in an hour.
const WAITING_MAX: usize = 64;
/// A claim older than this is not shown.
const CLAIM_FRESH: Span = Span::from_secs(60);

/// One observed service, as it is watched.
#[derive(Debug)]
pub(super) struct Watched {
    observe: ObserveSpec,
    margin: Percent,
    mapping: Mapping,
    shadow: Shadow,
    until: Time,
    waiting: VecDeque<News>,
    claims: BTreeMap<String, Claim<bool>>,
}

/// What the counters of one tick came to.
struct Tick {
    requests: Growth,
    buckets: Growth,
}

/// Services that are only observed, with their specs.
fn observed(model: &crate::Model) -> impl Iterator<Item = (&ServiceName, &ServiceSpec)> {
    let all = model.services.iter();
    all.filter(|(_, spec)| spec.manage == Manage::Observe)
}

impl Engine {
    /// Services that are only observed.
    pub fn observed(&self) -> BTreeMap<ServiceName, ServiceSpec> {
        let model = self.model();
        observed(&model)
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect()
    }

    /// Wakes whenever an entry was read.
    pub fn folded(&self) -> watch::Receiver<u64> {
        self.0.folded.subscribe()
    }

    /// Keeps what an instance of an observed service says of itself. Only shown, never believed.
    pub fn claim(&self, service: &ServiceName, url: &str, claim: Claim<bool>) {
        if let Some(watched) = lock(&self.0.shadows).get_mut(service)
            && watched.observe.urls.iter().any(|it| it == url)
        {
            watched.claims.insert(url.to_owned(), claim);
        }
    }

    /// Refuses orders about services that are only observed.
    pub(super) fn refuse_observed(&self, request: &str) -> Result<(), Declined> {
        #[derive(Deserialize)]
        struct Named {
            service: Option<ServiceName>,
        }
        // What cannot be read is refused by whoever reads all of it.
        let named: Option<ServiceName> = serde_json::from_str::<Named>(request)
            .ok()
            .and_then(|it| it.service);
        let model = self.model();
        let spec = named.as_ref().and_then(|name| model.services.get(name));
        match (named, spec) {
            (Some(service), Some(spec)) if spec.manage == Manage::Observe => Err(Declined::new(
                No::Invalid,
                "observed-only",
                format!("{service} is only observed (`manage: observe`)"),
                "declare `manage: full` and what to run",
            )),
            _ => Ok(()),
        }
    }

    pub(super) async fn keep_shadowing(self) {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            for service in self.watched() {
                self.shadow(&service).await;
            }
        }
    }

    /// Names of the services to count for; a watch for each, and none for others.
    fn watched(&self) -> Vec<ServiceName> {
        let now = self.now();
        let model = self.model();
        let mut shadows = lock(&self.0.shadows);
        shadows.retain(|name, watched| {
            let spec = model.services.get(name);
            spec.is_some_and(|it| {
                it.manage == Manage::Observe
                    && it.observe.as_ref().unwrap_or(&ObserveSpec::default()) == &watched.observe
                    && margin(&model, it) == watched.margin
            })
        });
        for (name, spec) in observed(&model) {
            if shadows.contains_key(name) {
                continue;
            }
            let observe = spec.observe.clone().unwrap_or_default();
            let margin = margin(&model, spec);
            let mapping = Mapping::of(name, &observe);
            let memory = model.shadows.get(name).cloned().unwrap_or_default();
            let watched = Watched {
                shadow: Shadow::new(mapping.labels.clone(), margin, memory),
                observe,
                margin,
                mapping,
                until: now,
                waiting: VecDeque::new(),
                claims: BTreeMap::new(),
            };
            shadows.insert(name.clone(), watched);
        }
        shadows.keys().cloned().collect()
    }

    async fn shadow(&self, service: &ServiceName) {
        let now = self.now();
        let found = {
            let shadows = lock(&self.0.shadows);
            let watched = shadows.get(service);
            watched.map(|it| (it.mapping.clone(), it.until.max(now - TICK_MAX)))
        };
        let Some((mapping, from)) = found else {
            return;
        };
        let tick = self.tick(&mapping, from, now).await;
        if let Some(watched) = lock(&self.0.shadows).get_mut(service) {
            watched.until = now;
            let ticked = watched.shadow.tick(now, &tick.requests, &tick.buckets);
            match ticked {
                Ok(news) => watched.waiting.extend(news),
                Err(error) => tracing::warn!(%service, %error, "a tick of evidence was refused"),
            }
            while watched.waiting.len() > WAITING_MAX {
                let lost = watched.waiting.pop_front();
                tracing::error!(%service, ?lost, "the ledger takes nothing; this is not written down");
            }
        }
        self.tell(service).await;
    }

    async fn tick(&self, mapping: &Mapping, from: Time, now: Time) -> Tick {
        let signals = &self.0.ports.signals;
        let count = async |selector: &str| {
            let counted = signals.counts(selector, from, now).await;
            counted.map(|it| it.value().clone()).unwrap_or_default()
        };
        let mut requests = count(&mapping.requests).await;
        let mut buckets = match &mapping.buckets {
            Some(selector) => count(selector).await,
            None => Growth::default(),
        };
        let versions = match &mapping.version {
            Some(version) => mapping.versions(&count(&version.selector).await),
            None => BTreeMap::new(),
        };
        mapping.name_requests(&mut requests, &versions);
        mapping.name_buckets(&mut buckets, &versions);
        Tick { requests, buckets }
    }

    /// Writes down what waits, oldest first, until the ledger refuses.
    async fn tell(&self, service: &ServiceName) {
        loop {
            let next = lock(&self.0.shadows)
                .get(service)
                .and_then(|watched| watched.waiting.front().cloned());
            let Some(news) = next else {
                return;
            };
            let told = self.note(service, news).await;
            if let Err(error) = told {
                tracing::warn!(%service, %error, "what was observed is not written down yet");
                return;
            }
            if let Some(watched) = lock(&self.0.shadows).get_mut(service) {
                watched.waiting.pop_front();
            }
        }
    }

    async fn note(&self, service: &ServiceName, news: News) -> Result<(), LedgerError> {
        let at = self.now();
        let (title, because) = words(service, &news);
        let note = Note {
            service: service.clone(),
            news,
        };
        let change = Change {
            id: (self.0.ports.next_change_id)(),
            kind: ChangeKind::Observed,
            actor: Actor::system(),
            reason: "seen in the metrics of whoever counts its requests".to_owned(),
            title,
            blast_radius: BlastRadius {
                services: vec![service.clone()],
                ..BlastRadius::default()
            },
            emergency: None,
            opened_at: at,
            deadline: None,
            plan: Plan {
                kind: KIND.to_owned(),
                schema: 1,
                body: json!(note).to_string(),
            },
        };
        let moved = Moved {
            state: ChangeState::Done,
            because,
        };
        let entry = |kind: &str, body: Value| NewEntry {
            stream: change.stream(),
            kind: kind.to_owned(),
            schema: 1,
            body: body.to_string(),
        };
        let entries = vec![entry(OPENED, json!(change)), entry(MOVED, json!(moved))];
        let append = Append {
            actor: Actor::system(),
            at,
            expected: vec![Expected {
                stream: change.stream(),
                version: 0,
            }],
            entries,
        };
        self.0.ports.ledger.append(append).await.map(|_| ())
    }

    /// Every observed service, as it stands.
    pub(super) fn shadows(&self) -> Vec<Value> {
        let now = self.now();
        let shadows = lock(&self.0.shadows);
        let all = shadows.iter();
        all.map(|(service, it)| view(service, it, now)).collect()
    }
}

/// The difference that the service's policy calls no worse.
fn margin(model: &crate::Model, spec: &ServiceSpec) -> Percent {
    let policy = spec
        .policy
        .as_ref()
        .and_then(|name| model.policies.get(name));
    policy.cloned().unwrap_or_default().margin
}

/// What a rollout would have come to.
fn would(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Pass => "pass",
        Ruling::Harm => "fail",
        Ruling::SharedFailure => "wait: both versions fail alike",
        Ruling::Insufficient | Ruling::Frozen => "wait for evidence",
    }
}

/// Title and reason of the entry for `news`.
fn words(service: &ServiceName, news: &News) -> (String, String) {
    match news {
        News::First { version } => (
            format!("{service} {version} seen"),
            "the first version of which requests were counted".to_owned(),
        ),
        News::Beside { from, to } => (
            format!("{service} {to} seen beside {from}"),
            "nobody ordered it here; a shadow verdict follows".to_owned(),
        ),
        News::Ruled {
            from,
            to,
            ruling,
            findings,
        } => {
            let wanted = match ruling {
                Ruling::Harm => Outcome::Fail,
                Ruling::Pass | Ruling::SharedFailure | Ruling::Insufficient | Ruling::Frozen => {
                    Outcome::Pass
                }
            };
            let decisive = findings.iter().filter(|it| it.outcome == wanted);
            let values: Vec<&str> = decisive.map(|it| it.value.as_str()).collect();
            (
                format!("{service} {from} → {to} would {}", would(*ruling)),
                format!("{}; nothing was done", values.join("; ")),
            )
        }
    }
}

fn view(service: &ServiceName, watched: &Watched, now: Time) -> Value {
    let shadow = &watched.shadow;
    let serving: Vec<Value> = shadow
        .serving()
        .map(|(version, last)| json!({ "version": version, "lastRequestAt": last }))
        .collect();
    let claim = |url: &String| {
        let claim = watched.claims.get(url);
        let claim = claim.filter(|it| now.since(it.claimed_at) <= CLAIM_FRESH);
        json!({
            "url": url,
            "claimed": claim.map(|it| if it.value { "ok" } else { "failing" }),
            "claimedAt": claim.map(|it| it.claimed_at),
        })
    };
    json!({
        "service": service,
        "countedBy": watched.mapping.counted_by,
        "requests": watched.mapping.requests,
        "latency": watched.mapping.buckets,
        "serving": serving,
        "stable": shadow.stable(),
        "trial": shadow.trial().map(trial),
        "because": shadow.because(),
        "instances": watched.observe.urls.iter().map(claim).collect::<Vec<_>>(),
    })
}

fn trial(trial: &Trial) -> Value {
    let ruled = trial.rule();
    let (new, old) = trial.requests();
    json!({
        "from": trial.from,
        "to": trial.to,
        "since": trial.since,
        "ruling": ruled.ruling,
        "would": would(ruled.ruling),
        "requests": { "new": new, "old": old },
        "neededRequests": ruled.needed_requests,
        "findings": ruled.findings,
    })
}
