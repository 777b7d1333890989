//! The channels that are served: what each can be told in the file.
//!
//! Guarantees: every field of the original is known, with its default; a text may be a template. Never sends.

use std::collections::BTreeMap;

use mainstay_core::Span;
use serde::Deserialize;

use super::http::{Held, Http, Secret, Tls};

/// A way to tell somebody.
#[derive(Debug, Clone, PartialEq)]
pub enum Channel {
    /// JSON to an address.
    Webhook(Webhook),
    /// A mail.
    Email(Email),
    /// A message in Slack.
    Slack(Slack),
    /// An event to PagerDuty.
    PagerDuty(PagerDuty),
    /// A card in Microsoft Teams, through a connector.
    Teams(Teams),
    /// A card in Microsoft Teams, through a workflow.
    TeamsV2(Teams),
}

impl Channel {
    /// Its name in keys and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
            Self::Slack(_) => "slack",
            Self::PagerDuty(_) => "pagerduty",
            Self::Teams(_) => "msteams",
            Self::TeamsV2(_) => "msteamsv2",
        }
    }
}

/// `webhook_configs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Whether it hears of what is over; it does unless this says no.
    pub send_resolved: Option<bool>,
    /// How it is reached.
    pub http_config: Option<Http>,
    /// Where.
    pub url: Secret,
    /// Where, in a file.
    pub url_file: String,
    /// How many alerts a message holds; 0 is all.
    pub max_alerts: usize,
    /// How long it may take; 0 is until the next time the group is told.
    pub timeout: Span,
}

/// `email_configs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Email {
    /// Whether it hears of what is over; it does not unless this says so.
    pub send_resolved: Option<bool>,
    /// To whom; several with commas between.
    pub to: String,
    /// From whom.
    pub from: String,
    /// How we call ourselves.
    pub hello: String,
    /// Host and port.
    pub smarthost: String,
    /// Who we are.
    pub auth_username: String,
    /// By what.
    pub auth_password: Secret,
    /// By what, in a file.
    pub auth_password_file: String,
    /// For CRAM-MD5, which is not spoken here.
    pub auth_secret: Secret,
    /// For CRAM-MD5, which is not spoken here.
    pub auth_secret_file: String,
    /// On whose behalf.
    pub auth_identity: String,
    /// More headers, or others.
    pub headers: BTreeMap<String, String>,
    /// The text with markup.
    pub html: Option<String>,
    /// The text without.
    pub text: String,
    /// Whether it is refused where there is no TLS.
    pub require_tls: Option<bool>,
    /// Whether TLS begins at once; by the port, where unset.
    pub force_implicit_tls: Option<bool>,
    /// How the other side is believed.
    pub tls_config: Option<Tls>,
    /// Not done here.
    pub threading: Option<serde::de::IgnoredAny>,
}

/// `slack_configs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// Whether it hears of what is over; it does not unless this says so.
    pub send_resolved: Option<bool>,
    /// How it is reached.
    pub http_config: Option<Http>,
    /// Where.
    pub api_url: Secret,
    /// Where, in a file.
    pub api_url_file: String,
    /// By what an app shows who it is.
    pub app_token: Secret,
    /// The same, in a file.
    pub app_token_file: String,
    /// Where apps write to.
    pub app_url: String,
    /// Where it is read.
    pub channel: String,
    /// As whom.
    pub username: String,
    /// At the side.
    pub color: String,
    /// Above.
    pub title: String,
    /// Where the title leads.
    pub title_link: String,
    /// Before all.
    pub pretext: String,
    /// What is said.
    pub text: String,
    /// What is said outside of the attachment.
    pub message_text: String,
    /// Small tables.
    pub fields: Vec<SlackField>,
    /// Whether those are short, where they do not say it.
    pub short_fields: bool,
    /// Below.
    pub footer: String,
    /// Where nothing else can be shown.
    pub fallback: String,
    /// For actions.
    pub callback_id: String,
    /// The face.
    pub icon_emoji: String,
    /// The face.
    pub icon_url: String,
    /// A picture.
    pub image_url: String,
    /// A small one.
    pub thumb_url: String,
    /// Whether names become links.
    pub link_names: bool,
    /// Where markup counts.
    pub mrkdwn_in: Vec<String>,
    /// Buttons.
    pub actions: Vec<SlackAction>,
    /// How long it may take; 0 is until the next time the group is told.
    pub timeout: Span,
    /// Not done here.
    pub update_message: Option<serde::de::IgnoredAny>,
}

impl Default for Slack {
    fn default() -> Self {
        let of = |name: &str| format!("{{{{ template \"slack.default.{name}\" . }}}}");
        Self {
            send_resolved: None,
            http_config: None,
            api_url: Secret::default(),
            api_url_file: String::new(),
            app_token: Secret::default(),
            app_token_file: String::new(),
            app_url: String::new(),
            channel: String::new(),
            username: of("username"),
            color: "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}".to_owned(),
            title: of("title"),
            title_link: of("titlelink"),
            pretext: of("pretext"),
            text: of("text"),
            message_text: String::new(),
            fields: Vec::new(),
            short_fields: false,
            footer: of("footer"),
            fallback: of("fallback"),
            callback_id: of("callbackid"),
            icon_emoji: of("iconemoji"),
            icon_url: of("iconurl"),
            image_url: String::new(),
            thumb_url: String::new(),
            link_names: false,
            mrkdwn_in: Vec::new(),
            actions: Vec::new(),
            timeout: Span::ZERO,
            update_message: None,
        }
    }
}

/// One of `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackField {
    /// Above.
    pub title: String,
    /// Below.
    pub value: String,
    /// Whether two stand beside each other.
    pub short: Option<bool>,
}

/// One of `actions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackAction {
    /// Such as button.
    #[serde(rename = "type")]
    pub kind: String,
    /// What stands on it.
    pub text: String,
    /// Where it leads.
    pub url: String,
    /// Its colour.
    pub style: String,
    /// For the app.
    pub name: String,
    /// For the app.
    pub value: String,
    /// What is asked first.
    pub confirm: Option<SlackConfirm>,
}

/// What is asked before an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackConfirm {
    /// The question.
    pub text: String,
    /// Above.
    pub title: String,
    /// Yes.
    pub ok_text: String,
    /// No.
    pub dismiss_text: String,
}

/// `pagerduty_configs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDuty {
    /// Whether it hears of what is over; it does unless this says no.
    pub send_resolved: Option<bool>,
    /// How it is reached.
    pub http_config: Option<Http>,
    /// Of Events API v1, which is not spoken here.
    pub service_key: Secret,
    /// Of Events API v1, which is not spoken here.
    pub service_key_file: String,
    /// Which integration.
    pub routing_key: Secret,
    /// Which integration, in a file.
    pub routing_key_file: String,
    /// Where.
    pub url: String,
    /// Who says it.
    pub client: String,
    /// Where that one is.
    pub client_url: String,
    /// What is said.
    pub description: String,
    /// More of it.
    pub details: BTreeMap<String, String>,
    /// Pictures.
    pub images: Vec<PagerDutyImage>,
    /// Links.
    pub links: Vec<PagerDutyLink>,
    /// Where it happened; the client where unset.
    pub source: String,
    /// How bad it is; error where unset.
    pub severity: String,
    /// What kind of thing.
    pub class: String,
    /// What part.
    pub component: String,
    /// What group of parts.
    pub group: String,
    /// How long it may take; 0 is until the next time the group is told.
    pub timeout: Span,
}

impl Default for PagerDuty {
    fn default() -> Self {
        let of = |name: &str| format!("{{{{ template \"pagerduty.default.{name}\" . }}}}");
        Self {
            send_resolved: None,
            http_config: None,
            service_key: Secret::default(),
            service_key_file: String::new(),
            routing_key: Secret::default(),
            routing_key_file: String::new(),
            url: String::new(),
            client: of("client"),
            client_url: of("clientURL"),
            description: of("description"),
            details: BTreeMap::new(),
            images: Vec::new(),
            links: Vec::new(),
            source: String::new(),
            severity: String::new(),
            class: String::new(),
            component: String::new(),
            group: String::new(),
            timeout: Span::ZERO,
        }
    }
}

/// One of `images`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDutyImage {
    /// Where it is.
    pub src: String,
    /// What it shows.
    pub alt: String,
    /// Where it leads.
    pub href: String,
}

/// One of `links`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDutyLink {
    /// Where it leads.
    pub href: String,
    /// What it says.
    pub text: String,
}

/// `msteams_configs` and `msteamsv2_configs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teams {
    /// Whether it hears of what is over; it does unless this says no.
    pub send_resolved: Option<bool>,
    /// How it is reached.
    pub http_config: Option<Http>,
    /// Where.
    pub webhook_url: Secret,
    /// Where, in a file.
    pub webhook_url_file: String,
    /// Above.
    pub title: Option<String>,
    /// In short.
    pub summary: Option<String>,
    /// What is said.
    pub text: Option<String>,
}

impl Webhook {
    /// Where it is sent.
    pub fn target(&self) -> Held {
        Held::of(&self.url, &self.url_file)
    }
}

impl Slack {
    /// Where it is sent.
    pub fn target(&self) -> Held {
        Held::of(&self.api_url, &self.api_url_file)
    }

    /// By what the app shows who it is.
    pub fn token(&self) -> Held {
        Held::of(&self.app_token, &self.app_token_file)
    }
}

impl PagerDuty {
    /// Which integration.
    pub fn key(&self) -> Held {
        Held::of(&self.routing_key, &self.routing_key_file)
    }
}

impl Teams {
    /// Where it is sent.
    pub fn target(&self) -> Held {
        Held::of(&self.webhook_url, &self.webhook_url_file)
    }
}
