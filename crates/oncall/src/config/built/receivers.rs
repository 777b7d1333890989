//! Receivers: each channel with all that it needs, from itself or from what holds for all.
//!
//! Guarantees: what a channel lacks or asks for in vain is said with its receiver's name. Never opens a file.

use std::{fmt::Display, sync::Arc};

use serde_saphyr::{Location, Spanned};

use super::{Outcome, wrong};
use crate::config::{
    Integration, Receiver,
    channels::{Channel, Email, PagerDuty, Slack, Teams, Webhook},
    file,
    http::{Held, Http},
};

pub(super) fn receiver(written: file::Receiver, global: &file::Global) -> Outcome<Receiver> {
    if written.name.value.is_empty() {
        return Err(wrong(
            written.name.referenced,
            "a receiver has no name; give it one",
        ));
    }
    if let Some((kind, list)) = written.refused().next() {
        let what = format!(
            "receiver `{}`: {kind} is not served here; send webhook_configs to something that translates, or leave \
             this receiver to the original",
            written.name.value
        );
        return Err(wrong(list.referenced, what));
    }
    let name: Arc<str> = written.name.value.as_str().into();
    let mut adding = Adding {
        global,
        name: &name,
        integrations: Vec::new(),
    };
    for it in written.webhook_configs {
        adding.webhook(it)?;
    }
    for it in written.email_configs {
        adding.email(it)?;
    }
    for it in written.pagerduty_configs {
        adding.pagerduty(it)?;
    }
    for it in written.slack_configs {
        adding.slack(it)?;
    }
    for it in written.msteams_configs {
        adding.teams(it, Channel::Teams)?;
    }
    for it in written.msteamsv2_configs {
        adding.teams(it, Channel::TeamsV2)?;
    }
    Ok(Receiver {
        integrations: adding.integrations,
        name,
    })
}

/// The channels of one receiver, one by one.
struct Adding<'a> {
    global: &'a file::Global,
    name: &'a Arc<str>,
    integrations: Vec<Arc<Integration>>,
}

impl Adding<'_> {
    fn add(&mut self, channel: Channel, send_resolved: bool) {
        let kind = channel.kind();
        let same = self
            .integrations
            .iter()
            .filter(|it| it.channel.kind() == kind);
        self.integrations.push(Arc::new(Integration {
            receiver: Arc::clone(self.name),
            index: same.count(),
            send_resolved,
            channel,
        }));
    }

    fn refuse<T>(&self, place: Location, what: impl Display) -> Outcome<T> {
        Err(wrong(place, format!("receiver `{}`: {what}", self.name)))
    }

    /// Its own way by HTTP, or that of all.
    fn http(&self, own: Option<Http>, place: Location) -> Outcome<Option<Http>> {
        let http = own.or_else(|| self.global.http_config.clone());
        match http.as_ref().and_then(Http::refused) {
            Some(what) => self.refuse(place, format!("http_config: {what}")),
            None => Ok(http),
        }
    }

    /// An address that is written in the file has to be one.
    fn address(&self, held: &Held, field: &str, place: Location) -> Outcome<()> {
        match held {
            Held::None => self.refuse(
                place,
                format!("{field} is missing; add it, or {field}_file"),
            ),
            Held::Here(url) if !is_http(url.reveal()) => self.refuse(
                place,
                format!("{field} is no address; write https://HOST/PATH"),
            ),
            Held::Here(_) | Held::File(_) => Ok(()),
        }
    }

    fn webhook(&mut self, it: Spanned<Webhook>) -> Outcome<()> {
        let (mut own, place) = (it.value, it.referenced);
        self.address(&own.target(), "url", place)?;
        own.http_config = self.http(own.http_config, place)?;
        let send_resolved = own.send_resolved.unwrap_or(true);
        self.add(Channel::Webhook(own), send_resolved);
        Ok(())
    }

    fn email(&mut self, it: Spanned<Email>) -> Outcome<()> {
        let (mut own, place, global) = (it.value, it.referenced, self.global);
        let or = |own: &mut String, all: &String| {
            if own.is_empty() {
                own.clone_from(all);
            }
        };
        or(&mut own.from, &global.smtp_from);
        or(&mut own.hello, &global.smtp_hello);
        or(&mut own.smarthost, &global.smtp_smarthost);
        or(&mut own.auth_username, &global.smtp_auth_username);
        or(&mut own.auth_identity, &global.smtp_auth_identity);
        if own.auth_password.is_empty() && own.auth_password_file.is_empty() {
            own.auth_password = global.smtp_auth_password.clone();
            own.auth_password_file
                .clone_from(&global.smtp_auth_password_file);
        }
        let secrets = [&own.auth_secret, &global.smtp_auth_secret];
        let files = [&own.auth_secret_file, &global.smtp_auth_secret_file];
        if secrets.iter().any(|it| !it.is_empty()) || files.iter().any(|it| !it.is_empty()) {
            return self.refuse(
                place,
                "auth_secret: CRAM-MD5 is not spoken here; use auth_password over TLS",
            );
        }
        if own.threading.is_some() {
            return self.refuse(place, "threading: is not done here; remove it");
        }
        own.require_tls = Some(own.require_tls.or(global.smtp_require_tls).unwrap_or(true));
        own.force_implicit_tls = own.force_implicit_tls.or(global.smtp_force_implicit_tls);
        own.tls_config = own.tls_config.or_else(|| global.smtp_tls_config.clone());
        for (field, value) in [
            ("to", &own.to),
            ("from", &own.from),
            ("smarthost", &own.smarthost),
        ] {
            if value.is_empty() {
                let what =
                    format!("email_configs: {field} is missing; add it, or smtp_{field} to global");
                return self.refuse(place, what);
            }
        }
        if own
            .smarthost
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err())
        {
            return self.refuse(
                place,
                "email_configs: smarthost is HOST:PORT, such as mail.example.org:587",
            );
        }
        let send_resolved = own.send_resolved.unwrap_or(false);
        self.add(Channel::Email(own), send_resolved);
        Ok(())
    }

    fn slack(&mut self, it: Spanned<Slack>) -> Outcome<()> {
        let (mut own, place, global) = (it.value, it.referenced, self.global);
        if own.update_message.is_some() {
            return self.refuse(place, "update_message: is not done here; remove it");
        }
        if own.token() == Held::None && own.target() == Held::None {
            own.app_token = global.slack_app_token.clone();
            own.app_token_file.clone_from(&global.slack_app_token_file);
            own.api_url = global.slack_api_url.clone();
            own.api_url_file.clone_from(&global.slack_api_url_file);
        }
        if own.token() != Held::None && own.target() == Held::None {
            let all = (!global.slack_app_url.is_empty()).then_some(&global.slack_app_url);
            let url = Some(&own.app_url).filter(|it| !it.is_empty()).or(all);
            own.api_url = url
                .map_or("https://slack.com/api/chat.postMessage", String::as_str)
                .into();
        }
        self.address(&own.target(), "api_url", place)?;
        own.http_config = self.http(own.http_config, place)?;
        let send_resolved = own.send_resolved.unwrap_or(false);
        self.add(Channel::Slack(own), send_resolved);
        Ok(())
    }

    fn pagerduty(&mut self, it: Spanned<PagerDuty>) -> Outcome<()> {
        let (mut own, place) = (it.value, it.referenced);
        if Held::of(&own.service_key, &own.service_key_file) != Held::None {
            return self.refuse(
                place,
                "service_key is of Events API v1, which is not spoken here; make an Events API v2 integration and \
                 write its routing_key",
            );
        }
        if own.key() == Held::None {
            return self.refuse(place, "routing_key is missing; add it, or routing_key_file");
        }
        if own.url.is_empty() {
            own.url.clone_from(&self.global.pagerduty_url);
        }
        if own.url.is_empty() {
            "https://events.pagerduty.com/v2/enqueue".clone_into(&mut own.url);
        }
        if !is_http(&own.url) {
            return self.refuse(place, "url is no address; write https://HOST/v2/enqueue");
        }
        if own.source.is_empty() {
            own.source.clone_from(&own.client);
        }
        let list = |which: &str| {
            format!("{{{{ template \"pagerduty.default.instances\" .Alerts.{which} }}}}")
        };
        let count = |which: &str| format!("{{{{ .Alerts.{which} | len }}}}");
        for (name, text) in [
            ("firing", list("Firing")),
            ("resolved", list("Resolved")),
            ("num_firing", count("Firing")),
            ("num_resolved", count("Resolved")),
        ] {
            own.details.entry(name.to_owned()).or_insert(text);
        }
        own.http_config = self.http(own.http_config, place)?;
        let send_resolved = own.send_resolved.unwrap_or(true);
        self.add(Channel::PagerDuty(own), send_resolved);
        Ok(())
    }

    fn teams(&mut self, it: Spanned<Teams>, channel: fn(Teams) -> Channel) -> Outcome<()> {
        let (mut own, place) = (it.value, it.referenced);
        self.address(&own.target(), "webhook_url", place)?;
        own.http_config = self.http(own.http_config, place)?;
        let send_resolved = own.send_resolved.unwrap_or(true);
        self.add(channel(own), send_resolved);
        Ok(())
    }
}

fn is_http(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}
