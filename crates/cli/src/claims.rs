//! Asks the instances of observed services how they say they are.
//!
//! Guarantees: an answer is a claim, shown and never acted upon; each instance is asked once a round, few at a
//! time, and has a deadline. Never follows a redirect: a login page is not health.

use std::{collections::BTreeSet, time::Duration};

use mainstay_core::{Claim, ServiceName};
use mainstay_deploy::adapter::Engine;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{ports, targets::joined};

/// How often is asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Requests under way at once.
const CONCURRENT_MAX: usize = 32;

/// Asks until `stop`.
pub(crate) async fn keep_asking(engine: Engine, stop: CancellationToken) {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "instances of observed services are not asked how they are");
            return stop.cancelled().await;
        }
    };
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        if stop
            .run_until_cancelled(round(&engine, &client))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn round(engine: &Engine, client: &reqwest::Client) {
    let mut questions: BTreeSet<(ServiceName, String, String)> = BTreeSet::new();
    for (service, spec) in engine.observed() {
        let urls = spec.observe.unwrap_or_default().urls;
        let question = |url: String| {
            let asked = joined(&url, &spec.health);
            (service.clone(), url, asked)
        };
        questions.extend(urls.into_iter().map(question));
    }
    let mut asked = JoinSet::new();
    for (service, url, health) in questions {
        if asked.len() >= CONCURRENT_MAX {
            take(engine, asked.join_next().await);
        }
        let client = client.clone();
        asked.spawn(async move {
            let answer = client.get(health).send().await;
            let value = answer.is_ok_and(|it| it.status().is_success());
            (service, url, value)
        });
    }
    while let Some(answer) = asked.join_next().await {
        take(engine, Some(answer));
    }
}

type Answer = Option<Result<(ServiceName, String, bool), tokio::task::JoinError>>;

fn take(engine: &Engine, answer: Answer) {
    if let Some(Ok((service, url, value))) = answer {
        let claim = Claim {
            value,
            claimed_at: ports::now(),
            claimant: url.clone(),
        };
        engine.claim(&service, &url, claim);
    }
}
