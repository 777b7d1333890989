//! The way of alerts to Alertmanagers, API v2.
//!
//! Guarantees: each Alertmanager has a queue of its own, and a slow one delays no other; a try has a deadline
//! and is not repeated, since what fires is told again each minute. Never follows a redirect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use mainstay_ekg::{
    adapter::Told,
    relabel::{self, Rule, Set},
};
use mainstay_rules::External;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{config::Webhook, outbound};

/// Alerts in one request.
const BATCH: usize = 64;
/// How long an Alertmanager may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Alerts that may wait for one Alertmanager, as with Prometheus.
const WAITING_MAX: usize = 10_000;

/// Alerts since the start, over all Alertmanagers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) dropped: u64,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    dropped: AtomicU64,
}

struct Desk {
    url: Url,
    to: mpsc::Sender<Value>,
}

/// One carrier for each Alertmanager.
pub(super) struct Carriers {
    desks: Vec<Desk>,
    external: External,
    relabel: Vec<Rule>,
    counters: Arc<Counters>,
}

impl Carriers {
    pub(super) fn start(
        alertmanagers: Vec<Webhook>,
        (external, relabel): (&External, Vec<Rule>),
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let client = outbound::client(ANSWER_WITHIN).context("no Alertmanager can be posted to")?;
        let counters: Arc<Counters> = Arc::default();
        let mut desks = Vec::new();
        for Webhook(base) in alertmanagers {
            let mut url = base.clone();
            url.set_path(&format!(
                "{}/api/v2/alerts",
                base.path().trim_end_matches('/')
            ));
            let (to, waiting) = mpsc::channel(WAITING_MAX);
            tasks.spawn(carry(
                client.clone(),
                url.clone(),
                waiting,
                Arc::clone(&counters),
                stop.clone(),
            ));
            desks.push(Desk { url, to });
        }
        Ok(Self {
            desks,
            external: external.clone(),
            relabel,
            counters,
        })
    }

    /// Where they are, without the secrets of their addresses.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.desks.iter().map(|desk| outbound::named(&desk.url))
    }

    /// Alerts that somebody should have heard of and has not.
    pub(super) fn lose(&self, alerts: usize) {
        let dropped = &self.counters.dropped;
        dropped.fetch_add(alerts as u64, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            sent: self.counters.sent.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// Puts alerts into every queue, but those that relabeling drops; what has no room is counted.
    pub(super) fn send(&self, alerts: &[Told]) {
        for alert in alerts {
            let Some(body) = posted(alert, &self.external, &self.relabel) else {
                continue;
            };
            for desk in &self.desks {
                if desk.to.try_send(body.clone()).is_err() {
                    self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

async fn carry(
    client: Client,
    url: Url,
    mut waiting: mpsc::Receiver<Value>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_down = false;
    loop {
        let next = stop.run_until_cancelled(waiting.recv_many(&mut batch, BATCH));
        if !matches!(next.await, Some(1..)) {
            return stop.cancelled().await;
        }
        let count = batch.len() as u64;
        let posted = client.post(url.clone()).json(&batch).send().await;
        let taken = posted.and_then(reqwest::Response::error_for_status);
        match taken {
            Ok(_) => {
                counters.sent.fetch_add(count, Ordering::Relaxed);
                is_down = false;
            }
            Err(error) => {
                counters.dropped.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut is_down, true) {
                    let (name, error) = (outbound::named(&url), error.without_url());
                    tracing::warn!(name, %error, "an Alertmanager takes no alerts");
                }
            }
        }
        batch.clear();
    }
}

/// An alert as API v2 takes it, unless relabeling drops it.
fn posted(told: &Told, external: &External, rules: &[Rule]) -> Option<Value> {
    let alert = &told.alert;
    let mut labels: Set = external.labels.clone();
    let own = alert.labels.iter();
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let labels = relabel::apply(rules, labels)?;
    let expr = [("g0.expr", told.expr.as_str()), ("g0.tab", "1")];
    let link = crate::client::parameters(&expr);
    Some(json!({
        "labels": labels,
        "annotations": alert.annotations,
        "startsAt": alert.fired_at.unwrap_or(alert.active_at).to_string(),
        "endsAt": told.ends_at.to_string(),
        "generatorURL": format!("{}/graph{link}", external.url.trim_end_matches('/')),
    }))
}
