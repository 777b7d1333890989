//! The server's API as scenarios and `up` use it.
//!
//! **Guarantees.** What a scenario does goes over the same routes as what a person does. **Never** reads
//! the server's files or memory.
//!
//! Example: `api.rollout(&Order::of("voyager", "v2"))`, then `api.rollouts()`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use mainstay_core::{ChangeState, Resource};
use mainstay_server::{ApplyRequest, ApplyResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    args::{Format, Global},
    client::Client,
};

/// A client for processes of the site themselves, past every router.
pub(crate) fn direct(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(timeout).no_proxy();
    Ok(builder.build()?)
}

/// One server's API.
pub(crate) struct Api {
    client: Client,
    url: String,
}

/// A rollout as the server sees it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rollout {
    /// Its change.
    pub(crate) change: String,
    /// What is released.
    pub(crate) service: String,
    /// The version before; none for a first release.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// The version to run.
    pub(crate) to: String,
    /// Where it stands.
    pub(crate) state: ChangeState,
    /// The step it is at.
    #[serde(default)]
    pub(crate) phase: Value,
    /// Why it stands there.
    #[serde(default)]
    pub(crate) because: Value,
    /// Shares of each version in each fabric, in hundredths of a per cent.
    #[serde(default)]
    pub(crate) weights: BTreeMap<String, BTreeMap<String, u32>>,
    /// Batches so far.
    #[serde(default)]
    pub(crate) batches: Vec<Value>,
    /// Verdicts so far, oldest first.
    #[serde(default)]
    pub(crate) verdicts: Vec<Value>,
}

impl Rollout {
    /// When the first verdict failed that is about the version, in milliseconds since the Unix epoch.
    ///
    /// A refusal for want of capacity says nothing about the version.
    pub(crate) fn failed_at_ms(&self) -> Option<f64> {
        let fails =
            |finding: &Value| finding["outcome"] == "fail" && finding["signal"] != "capacity";
        let failed = self.verdicts.iter().find(|verdict| {
            let findings = verdict["findings"].as_array();
            findings.is_some_and(|findings| findings.iter().any(fails))
        })?;
        failed["at"].as_f64()
    }

    /// What it is and where it stands, in one line.
    pub(crate) fn line(&self) -> String {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut line = format!("{} {}: {}", self.service, self.to, state(self.state));
        let phase = text(&self.phase);
        let because = text(&self.because).filter(|because| Some(because) != phase.as_ref());
        for more in [phase, because].into_iter().flatten() {
            line.push_str(", ");
            line.push_str(&more);
        }
        line
    }
}

/// A state as the API writes it.
pub(crate) fn state(state: ChangeState) -> String {
    json!(state).as_str().unwrap_or_default().to_owned()
}

impl Api {
    /// The API at `url`.
    pub(crate) fn new(url: String) -> anyhow::Result<Self> {
        let client = Client::new(&Global {
            server: url.clone(),
            token: None,
            output: Format::Json,
        })?;
        Ok(Self { client, url })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the server answers.
    pub(crate) async fn is_ready(&self) -> bool {
        self.client.answers("/-/ready").await
    }

    /// Whether the status lists a peer as connected; `list` is `hosts` or `routers`.
    pub(crate) async fn is_connected(&self, list: &str, key: &str, name: &str) -> bool {
        let Ok(status) = self.status().await else {
            return false;
        };
        let peers = status[list].as_array().map_or(&[][..], Vec::as_slice);
        peers
            .iter()
            .any(|peer| peer[key] == name && peer["connected"] == true)
    }

    /// What an operator sees first.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        Ok(self.client.get("/api/v1/views/status").await?)
    }

    /// Declares resources; the number of them.
    pub(crate) async fn apply(
        &self,
        resources: Vec<Resource>,
        reason: &str,
    ) -> anyhow::Result<usize> {
        let request = ApplyRequest {
            resources,
            reason: reason.to_owned(),
            dry_run: false,
        };
        let answer: ApplyResponse = self.client.post("/api/v1/apply", &request).await?;
        Ok(answer.results.len())
    }

    /// Opens a rollout; `more` is laid over the order. Gives its change and its plan.
    pub(crate) async fn rollout(
        &self,
        service: &str,
        version: &str,
        reason: &str,
        more: Value,
    ) -> anyhow::Result<Opened> {
        let mut order = json!({"service": service, "version": version, "reason": reason});
        if let (Some(order), Value::Object(more)) = (order.as_object_mut(), more) {
            order.extend(more);
        }
        Ok(self.client.post("/api/v1/actions/rollout", &order).await?)
    }

    /// Gives an order of another kind than a rollout.
    pub(crate) async fn act(&self, kind: &str, order: &Value) -> anyhow::Result<Value> {
        let path = format!("/api/v1/actions/{kind}");
        Ok(self.client.post(&path, order).await?)
    }

    /// Tells an open change something.
    pub(crate) async fn steer(
        &self,
        change: &str,
        verb: &str,
        reason: &str,
    ) -> anyhow::Result<Value> {
        let path = format!("/api/v1/changes/{change}/{verb}");
        Ok(self.client.post(&path, &json!({"reason": reason})).await?)
    }

    /// All rollouts, newest first.
    pub(crate) async fn rollouts(&self) -> anyhow::Result<Vec<Rollout>> {
        Ok(self.client.get("/api/v1/views/rollouts").await?)
    }

    /// One rollout.
    pub(crate) async fn rollout_of(&self, change: &str) -> anyhow::Result<Rollout> {
        let path = format!("/api/v1/views/rollouts/{change}");
        self.client
            .get(&path)
            .await
            .with_context(|| format!("cannot read rollout {change}"))
    }

    /// All instances.
    pub(crate) async fn instances(&self) -> anyhow::Result<Vec<Value>> {
        Ok(self.client.get("/api/v1/views/instances").await?)
    }
}

/// What the server answers to an order.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Opened {
    /// The change; none where it was only planned.
    #[serde(default)]
    pub(crate) change: Option<String>,
    /// The plan, a line a step.
    #[serde(default)]
    pub(crate) plan: Vec<String>,
}
