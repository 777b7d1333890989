//! People, and the channels by which they are reached.
//!
//! Guarantees: nobody is declared who cannot be reached; each channel answers within its time; what the other side
//! calls wrong is not tried again, what it cannot do now is. An address is never shown: it may be a secret.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use lettre::{AsyncTransport as _, Message, message::Mailbox};
use mainstay_core::{Name, ports::BoxFuture};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        client::{ClientError, authorized, client, revealed},
        email,
    },
    Channels,
};
use crate::{
    config::{
        channels::{Email, PagerDuty, Slack, Teams, Webhook},
        http::{Held, Http},
    },
    escalation::{Letter, Recipient},
    machine::Failure,
};

/// How long a channel may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Letters of an answer that an error shows.
const ANSWER_MAX: usize = 200;
/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// By what a receiver sees that two are one.
const KEY: &str = "idempotency-key";
/// Channels of one person.
const METHODS_MAX: usize = 6;

/// `[[oncall.people.NAME.channels]]`: one way to reach a person.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What policies call it, such as `push`.
    pub name: Name,
    /// JSON to an address.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// A mail.
    #[serde(default)]
    pub email: Option<Email>,
    /// A message in Slack.
    #[serde(default)]
    pub slack: Option<Slack>,
    /// An event to PagerDuty.
    #[serde(default)]
    pub pagerduty: Option<PagerDuty>,
    /// A card in Microsoft Teams, through a connector.
    #[serde(default)]
    pub msteams: Option<Teams>,
    /// A card in Microsoft Teams, through a workflow.
    #[serde(default)]
    pub msteamsv2: Option<Teams>,
}

/// `[oncall.people.NAME]`: who can be told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Their time zone, by its IANA name.
    #[serde(default = "utc")]
    pub zone: String,
    /// How they are reached, in the order in which that is tried.
    pub channels: Vec<Method>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Why people cannot be told as it is said.
#[derive(Debug, thiserror::Error)]
pub enum ContactsError {
    /// They cannot be told at all.
    #[error(
        "oncall.people.{0} has no channel: give 1 to {METHODS_MAX}, such as [[oncall.people.{0}.channels]]"
    )]
    NoChannel(Name),
    /// A zone that there is not.
    #[error("oncall.people.{person}.zone: `{zone}` is no time zone; write such as Europe/Berlin")]
    Zone {
        /// Whose.
        person: Name,
        /// As given.
        zone: String,
    },
    /// Two of a name.
    #[error("oncall.people.{person}: two channels are named `{channel}`; rename one")]
    Twice {
        /// Whose.
        person: Name,
        /// Which.
        channel: Name,
    },
    /// None, or several, ways in one.
    #[error(
        "oncall.people.{person}: the channel `{channel}` says {count} ways; give one of webhook, email, slack, \
         pagerduty, msteams, msteamsv2"
    )]
    Ways {
        /// Whose.
        person: Name,
        /// Which.
        channel: Name,
        /// How many.
        count: usize,
    },
    /// A way lacks something.
    #[error("oncall.people.{person}: the channel `{channel}`: {what}")]
    Lacks {
        /// Whose.
        person: Name,
        /// Which.
        channel: Name,
        /// What.
        what: String,
    },
}

/// A way, with what it needs.
enum Way {
    Webhook(Webhook, Client),
    Email(Box<Email>),
    Slack(Box<Slack>, Client),
    PagerDuty(Box<PagerDuty>, Client),
    Teams(Teams, Client, bool),
}

/// Everybody who can be told.
#[derive(Clone)]
pub struct Contacts {
    people: BTreeMap<Name, Recipient>,
    ways: BTreeMap<(Name, Name), Arc<Way>>,
}

impl std::fmt::Debug for Contacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.people.keys()).finish()
    }
}

impl Contacts {
    /// Of what is declared; says what is missing.
    pub fn new(people: BTreeMap<Name, Person>) -> Result<Self, ContactsError> {
        let mut contacts = Self {
            people: BTreeMap::new(),
            ways: BTreeMap::new(),
        };
        for (name, person) in people {
            contacts.add(name, person)?;
        }
        Ok(contacts)
    }

    /// Adds somebody; says what is missing, and is then as before.
    pub(super) fn add(&mut self, name: Name, person: Person) -> Result<(), ContactsError> {
        if person.channels.is_empty() || person.channels.len() > METHODS_MAX {
            return Err(ContactsError::NoChannel(name));
        }
        if TimeZone::get(&person.zone).is_err() {
            let zone = person.zone;
            return Err(ContactsError::Zone { person: name, zone });
        }
        let mut ways: Vec<(Name, Way)> = Vec::new();
        for method in person.channels {
            let channel = method.name.clone();
            if ways.iter().any(|(it, _)| *it == channel) {
                let person = name;
                return Err(ContactsError::Twice { person, channel });
            }
            let way = way(&name, method)?;
            ways.push((channel, way));
        }
        let recipient = Recipient {
            person: name.clone(),
            zone: person.zone,
            channels: ways.iter().map(|(channel, _)| channel.clone()).collect(),
        };
        for (channel, way) in ways {
            self.ways.insert((name.clone(), channel), Arc::new(way));
        }
        self.people.insert(name, recipient);
        Ok(())
    }

    /// Those of some people.
    pub(super) fn only(&self, keeps: impl Fn(&Name) -> bool) -> Self {
        let mut kept = self.clone();
        kept.people.retain(|name, _| keeps(name));
        kept.ways.retain(|(name, _), _| keeps(name));
        kept
    }

    /// Somebody, with all their channels.
    pub(super) fn person(&self, name: &Name) -> Option<Recipient> {
        self.people.get(name).cloned()
    }

    /// Whether there is a person of this name.
    pub fn knows(&self, person: &Name) -> bool {
        self.people.contains_key(person)
    }
}

fn way(person: &Name, method: Method) -> Result<Way, ContactsError> {
    let channel = method.name.clone();
    let lacks = |what: String| ContactsError::Lacks {
        person: person.clone(),
        channel: channel.clone(),
        what,
    };
    let made = |http: Option<&Http>| {
        let http = http.cloned().unwrap_or_default();
        if let Some(refused) = http.refused() {
            return Err(lacks(format!("http_config: {refused}")));
        }
        let agent = format!("mainstay/{}", env!("CARGO_PKG_VERSION"));
        client(&http, &agent).map_err(|error| lacks(error.to_string()))
    };
    let needs = |held: Held, field: &str| match held {
        Held::None => Err(lacks(format!("{field}: is missing; say where it leads"))),
        Held::Here(_) | Held::File(_) => Ok(()),
    };
    let Method {
        name: _,
        webhook,
        email,
        slack,
        pagerduty,
        msteams,
        msteamsv2,
    } = method;
    let mut ways = Vec::new();
    if let Some(it) = webhook {
        needs(it.target(), "webhook.url")?;
        let client = made(it.http_config.as_ref())?;
        ways.push(Way::Webhook(it, client));
    }
    if let Some(it) = email {
        for (field, text) in [
            ("to", &it.to),
            ("from", &it.from),
            ("smarthost", &it.smarthost),
        ] {
            if text.is_empty() {
                return Err(lacks(format!("email.{field}: is missing")));
            }
        }
        ways.push(Way::Email(Box::new(it)));
    }
    if let Some(it) = slack {
        needs(it.target(), "slack.api_url")?;
        let client = made(it.http_config.as_ref())?;
        ways.push(Way::Slack(Box::new(it), client));
    }
    if let Some(it) = pagerduty {
        needs(it.key(), "pagerduty.routing_key")?;
        let client = made(it.http_config.as_ref())?;
        ways.push(Way::PagerDuty(Box::new(it), client));
    }
    for (it, is_workflow) in [(msteams, false), (msteamsv2, true)] {
        if let Some(it) = it {
            needs(it.target(), "msteams.webhook_url")?;
            let client = made(it.http_config.as_ref())?;
            ways.push(Way::Teams(it, client, is_workflow));
        }
    }
    match (ways.pop(), ways.len()) {
        (Some(way), 0) => Ok(way),
        (way, more) => Err(ContactsError::Ways {
            person: person.clone(),
            channel,
            count: more + usize::from(way.is_some()),
        }),
    }
}

impl Channels for Contacts {
    fn tell<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let told = tokio::time::timeout(ANSWER_WITHIN, self.told(letter)).await;
            told.unwrap_or_else(|_| {
                Err(Failure {
                    why: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
                    again: true,
                })
            })
        })
    }
}

impl Contacts {
    async fn told(&self, letter: &Letter) -> Result<(), Failure> {
        let place = (letter.person.clone(), letter.channel.clone());
        let Some(way) = self.ways.get(&place) else {
            return Err(never(&format!(
                "{} has no channel `{}` any more",
                letter.person, letter.channel
            )));
        };
        match &**way {
            Way::Webhook(it, client) => {
                let url = secret(&it.target())?;
                let http = it.http_config.clone().unwrap_or_default();
                post(client, &http, (&url, None), (letter, &letter.json())).await
            }
            Way::Slack(it, client) => {
                let url = secret(&it.target())?;
                let token = secret(&it.token())?;
                let token = (!token.is_empty()).then_some(token);
                let http = it.http_config.clone().unwrap_or_default();
                let body = letter.slack(&it.channel);
                post(client, &http, (&url, token.as_deref()), (letter, &body)).await
            }
            Way::PagerDuty(it, client) => {
                let url = if it.url.is_empty() {
                    PAGERDUTY
                } else {
                    &it.url
                };
                let http = it.http_config.clone().unwrap_or_default();
                let body = letter.pagerduty(&secret(&it.key())?);
                post(client, &http, (url, None), (letter, &body)).await
            }
            Way::Teams(it, client, is_workflow) => {
                let url = secret(&it.target())?;
                let http = it.http_config.clone().unwrap_or_default();
                let body = if *is_workflow {
                    letter.teams_v2()
                } else {
                    letter.teams()
                };
                post(client, &http, (&url, None), (letter, &body)).await
            }
            Way::Email(it) => mail(it, letter).await,
        }
    }
}

fn never(why: &dyn std::fmt::Display) -> Failure {
    Failure {
        why: why.to_string(),
        again: false,
    }
}

fn secret(held: &Held) -> Result<String, Failure> {
    // A file that is being replaced is there again in a moment.
    revealed(held).map_err(|error: ClientError| Failure {
        why: error.to_string(),
        again: true,
    })
}

async fn post(
    client: &Client,
    http: &Http,
    (url, token): (&str, Option<&str>),
    (letter, body): (&Letter, &Value),
) -> Result<(), Failure> {
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header(KEY, &letter.about.key)
        .body(body.to_string());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let request = authorized(request, http).map_err(|error| never(&error))?;
    let mut response = request.send().await.map_err(|error| Failure {
        // Without its address, which may be a secret.
        why: format!("not reached: {}", error.without_url()),
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
        why: format!("it answers {}: {answer}", status.as_u16()),
        again: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
    })
}

async fn mail(config: &Email, letter: &Letter) -> Result<(), Failure> {
    let mailbox = |text: &str| {
        let parsed = text.trim().parse::<Mailbox>();
        parsed.map_err(|error| never(&format!("`{text}` is no mail address: {error}")))
    };
    let id = format!("<{}@mainstay>", letter.about.key);
    let mut builder = Message::builder()
        .message_id(Some(id))
        .date_now()
        .from(mailbox(&config.from)?)
        .subject(letter.subject());
    for to in config.to.split(',') {
        builder = builder.to(mailbox(to)?);
    }
    let message = builder.body(letter.text()).map_err(|error| never(&error))?;
    let transport = email::transport(config)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure {
            again: !error.is_permanent(),
            why: format!("{}: {error}", config.smarthost),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Contacts, String> {
        let people: BTreeMap<Name, Person> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        Contacts::new(people).map_err(|error| error.to_string())
    }

    #[test]
    fn a_person_has_a_channel_and_each_channel_is_one_way_that_leads_somewhere() {
        let hook = r#"{"name": "push", "webhook": {"url": "http://127.0.0.1:9/"}}"#;
        let contacts = read(&format!(
            r#"{{"alice": {{"zone": "Europe/Berlin", "channels": [{hook}]}}}}"#
        ))
        .unwrap();
        let alice = contacts.person(&Name::new("alice").unwrap()).unwrap();
        assert_eq!(alice.channels[0].as_str(), "push");
        for (channels, zone, says) in [
            (String::new(), "UTC", "has no channel"),
            (
                format!("{hook}, {hook}"),
                "UTC",
                "two channels are named `push`",
            ),
            (r#"{"name": "push"}"#.to_owned(), "UTC", "says 0 ways"),
            (
                r#"{"name": "push", "webhook": {}}"#.to_owned(),
                "UTC",
                "webhook.url: is missing",
            ),
            (
                r#"{"name": "mail", "email": {"to": "a@example.com"}}"#.to_owned(),
                "UTC",
                "email.from: is missing",
            ),
            (hook.to_owned(), "Berlin", "`Berlin` is no time zone"),
        ] {
            let said = read(&format!(
                r#"{{"alice": {{"zone": "{zone}", "channels": [{channels}]}}}}"#
            ));
            let said = said.map(|_| ()).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
