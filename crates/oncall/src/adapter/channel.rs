//! One message to its channel.
//!
//! Guarantees: an answer has a deadline; what the other side calls wrong is not tried again, what it cannot do now is.
//! Never shows an address in an error: it may be a secret.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use mainstay_core::Span;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::{
    client::{ClientError, authorized, client, revealed},
    email,
};
use crate::{
    config::{
        Channel, Settings,
        http::{Held, Http},
    },
    machine::{Failure, Message},
    payload::{self, Filler},
    template::{Group, TemplateError, Templates},
};

/// Letters of an answer that an error shows.
const ANSWER_MAX: usize = 512;

/// What sends: settings as they hold, and what was made of them.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) templates: Templates,
    /// By the key of the integration.
    clients: BTreeMap<String, (Client, Http)>,
    pub(super) external_url: String,
}

/// Whether an answer may be another later.
#[derive(Clone, Copy)]
struct Retries {
    /// Besides 500 and above.
    too_many: bool,
}

impl Sender {
    /// One for these settings.
    pub(super) fn new(
        settings: &Settings,
        templates: Templates,
        external_url: String,
    ) -> Result<Self, ClientError> {
        let user_agent = format!("Alertmanager/{}", env!("CARGO_PKG_VERSION"));
        let mut clients = BTreeMap::new();
        for integration in settings.receivers.iter().flat_map(|it| &it.integrations) {
            let http = match &integration.channel {
                Channel::Webhook(it) => &it.http_config,
                Channel::Slack(it) => &it.http_config,
                Channel::PagerDuty(it) => &it.http_config,
                Channel::Teams(it) | Channel::TeamsV2(it) => &it.http_config,
                Channel::Email(_) => continue,
            };
            let http = http.clone().unwrap_or_default();
            clients.insert(integration.key(), (client(&http, &user_agent)?, http));
        }
        Ok(Self {
            templates,
            clients,
            external_url,
        })
    }

    /// Sends a message; it is at its end when its time is over.
    pub(super) async fn send(
        self: Arc<Self>,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let left = Duration::try_from(message.until.duration_since(now)).unwrap_or_default();
        let own = match &message.integration.channel {
            Channel::Webhook(it) => it.timeout,
            Channel::Slack(it) => it.timeout,
            Channel::PagerDuty(it) => it.timeout,
            Channel::Email(_) | Channel::Teams(_) | Channel::TeamsV2(_) => Span::ZERO,
        };
        let within = if own == Span::ZERO {
            left
        } else {
            left.min(own.duration())
        };
        let sent = tokio::time::timeout(within, self.sent(message)).await;
        sent.unwrap_or_else(|_| {
            Err(Failure {
                why: format!("no answer within {} s", within.as_secs()),
                again: true,
            })
        })
    }

    async fn sent(&self, message: &Message) -> Result<(), Failure> {
        let group = Group {
            receiver: &message.integration.receiver,
            labels: &message.group_labels,
            alerts: &message.alerts,
            at: message.at,
            external_url: &self.external_url,
        };
        let fill = Filler::new(&self.templates, &group);
        let fires = group.fires();
        match &message.integration.channel {
            Channel::Webhook(it) => {
                let body = payload::webhook(&group, &message.group_key, it.max_alerts);
                let body = body.map_err(|error| never(&error))?;
                let target = target(&it.target(), &fill)?;
                self.post(message, &target, body, Retries { too_many: false })
                    .await
            }
            Channel::Email(it) => email::send(it, &fill).await,
            Channel::Slack(it) => {
                let body = payload::slack(it, &fill).map_err(unfilled)?;
                let target = target(&it.target(), &fill)?;
                self.post_json(message, &target, &body).await
            }
            Channel::PagerDuty(it) => {
                let key = revealed(&it.key()).map_err(|error| never(&error))?;
                let body = payload::pagerduty(it, &fill, &key, &message.group_key, fires);
                self.post_json(message, &it.url, &body.map_err(unfilled)?)
                    .await
            }
            Channel::Teams(it) => {
                let body = payload::teams(it, &fill, fires).map_err(unfilled)?;
                let target = target(&it.target(), &fill)?;
                self.post_json(message, &target, &body).await
            }
            Channel::TeamsV2(it) => {
                let body = payload::teams_v2(it, &fill, fires).map_err(unfilled)?;
                let target = target(&it.target(), &fill)?;
                self.post_json(message, &target, &body).await
            }
        }
    }

    async fn post_json(&self, message: &Message, url: &str, body: &Value) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(body).map_err(|error| never(&error))?;
        self.post(message, url, bytes, Retries { too_many: true })
            .await
    }

    async fn post(
        &self,
        message: &Message,
        url: &str,
        body: Vec<u8>,
        retries: Retries,
    ) -> Result<(), Failure> {
        let key = message.integration.key();
        let (client, http) = self
            .clients
            .get(&key)
            .ok_or_else(|| never(&"the settings changed meanwhile"))?;
        let mut request = client
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        if let Channel::Slack(slack) = &message.integration.channel
            && slack.token() != Held::None
        {
            request = request.bearer_auth(revealed(&slack.token()).map_err(|error| never(&error))?);
        }
        let request = authorized(request, http).map_err(|error| never(&error))?;
        let mut response = request.send().await.map_err(|error| Failure {
            why: chained(&error.without_url()),
            again: true,
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let begin = response.chunk().await.ok().flatten().unwrap_or_default();
        let answer = String::from_utf8_lossy(&begin);
        let answer: String = answer.chars().take(ANSWER_MAX).collect();
        Err(Failure {
            why: format!("unexpected status code {}: {answer}", status.as_u16()),
            again: status.is_server_error()
                || (retries.too_many && status == StatusCode::TOO_MANY_REQUESTS),
        })
    }
}

fn never(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        why: error.to_string(),
        again: false,
    }
}

fn unfilled(error: TemplateError) -> Failure {
    never(&error)
}

/// An address may be a template.
fn target(held: &Held, fill: &Filler<'_>) -> Result<String, Failure> {
    let url = revealed(held).map_err(|error| never(&error))?;
    fill.text(&url).map_err(unfilled)
}

/// An error with what led to it.
fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += ": ";
        text += &inner.to_string();
        source = inner.source();
    }
    text
}
