//! The file as it is written: all of its fields, and none that is not.
//!
//! Guarantees: a field that is not known is refused with its line. Never decides what a field means.

use mainstay_core::Span;
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    channels::{Email, PagerDuty, Slack, Teams, Webhook},
    http::{Http, Secret, Tls},
};
use crate::interval::Interval;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) global: Option<Global>,
    pub(super) route: Option<Spanned<Route>>,
    pub(super) inhibit_rules: Option<Vec<Inhibit>>,
    pub(super) receivers: Option<Vec<Receiver>>,
    pub(super) templates: Option<Vec<String>>,
    pub(super) mute_time_intervals: Option<Vec<Intervals>>,
    pub(super) time_intervals: Option<Vec<Intervals>>,
    pub(super) tracing: Option<Spanned<IgnoredAny>>,
}

/// What holds for channels that say nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Global {
    pub(super) resolve_timeout: Option<Span>,
    pub(super) http_config: Option<Http>,
    pub(super) smtp_from: String,
    pub(super) smtp_hello: String,
    pub(super) smtp_smarthost: String,
    pub(super) smtp_auth_username: String,
    pub(super) smtp_auth_password: Secret,
    pub(super) smtp_auth_password_file: String,
    pub(super) smtp_auth_secret: Secret,
    pub(super) smtp_auth_secret_file: String,
    pub(super) smtp_auth_identity: String,
    pub(super) smtp_require_tls: Option<bool>,
    pub(super) smtp_tls_config: Option<Tls>,
    pub(super) smtp_force_implicit_tls: Option<bool>,
    pub(super) slack_api_url: Secret,
    pub(super) slack_api_url_file: String,
    pub(super) slack_app_token: Secret,
    pub(super) slack_app_token_file: String,
    pub(super) slack_app_url: String,
    pub(super) pagerduty_url: String,
    opsgenie_api_url: Option<IgnoredAny>,
    opsgenie_api_key: Option<IgnoredAny>,
    opsgenie_api_key_file: Option<IgnoredAny>,
    wechat_api_url: Option<IgnoredAny>,
    wechat_api_secret: Option<IgnoredAny>,
    wechat_api_secret_file: Option<IgnoredAny>,
    wechat_api_corp_id: Option<IgnoredAny>,
    victorops_api_url: Option<IgnoredAny>,
    victorops_api_key: Option<IgnoredAny>,
    victorops_api_key_file: Option<IgnoredAny>,
    telegram_api_url: Option<IgnoredAny>,
    telegram_bot_token: Option<IgnoredAny>,
    telegram_bot_token_file: Option<IgnoredAny>,
    webex_api_url: Option<IgnoredAny>,
    jira_api_url: Option<IgnoredAny>,
    rocketchat_api_url: Option<IgnoredAny>,
    rocketchat_token: Option<IgnoredAny>,
    rocketchat_token_file: Option<IgnoredAny>,
    rocketchat_token_id: Option<IgnoredAny>,
    rocketchat_token_id_file: Option<IgnoredAny>,
    mattermost_webhook_url: Option<IgnoredAny>,
    mattermost_webhook_url_file: Option<IgnoredAny>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Words {
    One(String),
    Several(Vec<String>),
}

impl Words {
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Several(several) => several.clone(),
        }
    }
}

/// Label names and texts, in the order in which they are written.
pub(super) type Pairs = std::collections::BTreeMap<String, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    pub(super) receiver: Option<Spanned<String>>,
    pub(super) group_by: Option<Spanned<Vec<String>>>,
    #[serde(rename = "match")]
    pub(super) equal: Pairs,
    pub(super) match_re: Option<Spanned<Pairs>>,
    pub(super) matchers: Option<Spanned<Words>>,
    #[serde(rename = "continue")]
    pub(super) goes_on: bool,
    pub(super) routes: Option<Vec<Spanned<Route>>>,
    pub(super) group_wait: Option<Span>,
    pub(super) group_interval: Option<Spanned<Span>>,
    pub(super) repeat_interval: Option<Spanned<Span>>,
    pub(super) mute_time_intervals: Option<Vec<Spanned<String>>>,
    pub(super) active_time_intervals: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Inhibit {
    #[serde(rename = "name")]
    _name: Option<String>,
    pub(super) source_match: Pairs,
    pub(super) source_match_re: Option<Spanned<Pairs>>,
    pub(super) source_matchers: Option<Spanned<Words>>,
    pub(super) target_match: Pairs,
    pub(super) target_match_re: Option<Spanned<Pairs>>,
    pub(super) target_matchers: Option<Spanned<Words>>,
    pub(super) equal: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intervals {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) time_intervals: Vec<Interval>,
}

/// Channels that nobody serves here are read so far that they can be refused by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receiver {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) webhook_configs: Vec<Spanned<Webhook>>,
    #[serde(default)]
    pub(super) email_configs: Vec<Spanned<Email>>,
    #[serde(default)]
    pub(super) slack_configs: Vec<Spanned<Slack>>,
    #[serde(default)]
    pub(super) pagerduty_configs: Vec<Spanned<PagerDuty>>,
    #[serde(default)]
    pub(super) msteams_configs: Vec<Spanned<Teams>>,
    #[serde(default)]
    pub(super) msteamsv2_configs: Vec<Spanned<Teams>>,
    opsgenie_configs: Option<Spanned<Vec<IgnoredAny>>>,
    victorops_configs: Option<Spanned<Vec<IgnoredAny>>>,
    pushover_configs: Option<Spanned<Vec<IgnoredAny>>>,
    wechat_configs: Option<Spanned<Vec<IgnoredAny>>>,
    sns_configs: Option<Spanned<Vec<IgnoredAny>>>,
    telegram_configs: Option<Spanned<Vec<IgnoredAny>>>,
    discord_configs: Option<Spanned<Vec<IgnoredAny>>>,
    webex_configs: Option<Spanned<Vec<IgnoredAny>>>,
    jira_configs: Option<Spanned<Vec<IgnoredAny>>>,
    rocketchat_configs: Option<Spanned<Vec<IgnoredAny>>>,
    mattermost_configs: Option<Spanned<Vec<IgnoredAny>>>,
    incidentio_configs: Option<Spanned<Vec<IgnoredAny>>>,
}

impl Receiver {
    /// The channels that it names and nobody serves here.
    pub(super) fn refused(
        &self,
    ) -> impl Iterator<Item = (&'static str, &Spanned<Vec<IgnoredAny>>)> {
        let all = [
            ("opsgenie_configs", &self.opsgenie_configs),
            ("victorops_configs", &self.victorops_configs),
            ("pushover_configs", &self.pushover_configs),
            ("wechat_configs", &self.wechat_configs),
            ("sns_configs", &self.sns_configs),
            ("telegram_configs", &self.telegram_configs),
            ("discord_configs", &self.discord_configs),
            ("webex_configs", &self.webex_configs),
            ("jira_configs", &self.jira_configs),
            ("rocketchat_configs", &self.rocketchat_configs),
            ("mattermost_configs", &self.mattermost_configs),
            ("incidentio_configs", &self.incidentio_configs),
        ];
        let named = all
            .into_iter()
            .filter_map(|(name, it)| Some((name, it.as_ref()?)));
        named.filter(|(_, it)| !it.value.is_empty())
    }
}
