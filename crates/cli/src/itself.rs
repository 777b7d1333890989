//! Mainstay as a target of its own monitoring.
//!
//! Guarantees: the secret that lets the server scrape itself where it asks for tokens is made at each start, is kept
//! in memory alone, and opens nothing but reading. Never shown.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mainstay_core::ports::{BoxFuture, Clock, Identity, LedgerError, TokenHolder};
use mainstay_ekg::{
    Ekg,
    adapter::{Credentials, Held, Remotes, Secret, Sending},
};
use mainstay_fleet::hub::FleetHub;
use mainstay_oncall::adapter::incidents::{Book, Pager};
use mainstay_rules::RuleFile;
use mainstay_server::{Gauge, Gauges, Leader};
use mainstay_traffic::hub::RouteHub;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::{copies::Copies, notify::SILENT_AFTER, rota::Ahead};

/// The name under which its rules are listed.
pub(crate) const OWN_FILE: &str = "mainstay (built in)";
const OWN_RULES: &str = include_str!("../rules/own.yml");
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// The rules by which it tells that it is not well.
pub(crate) fn own_rules() -> anyhow::Result<RuleFile> {
    RuleFile::parse(OWN_RULES).map_err(|wrongs| {
        let lines: Vec<String> = wrongs.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{OWN_FILE}: {}", lines.join("; "))
    })
}

/// What lets the server read its own metrics.
#[derive(Clone)]
pub(crate) struct OwnSecret(String);

impl OwnSecret {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut bytes = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut bytes).context("no randomness for the server's own secret")?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::Token {
            kind: "Bearer".to_owned(),
            token: Held::Here(Secret::new(self.0.clone())),
        }
    }
}

/// Knows the server itself, and whoever `others` know.
pub(crate) struct WithItself {
    pub(crate) own: OwnSecret,
    pub(crate) others: Arc<dyn Identity>,
}

impl Identity for WithItself {
    fn holder<'a>(
        &'a self,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>> {
        let is_own: bool = secret.as_bytes().ct_eq(self.own.0.as_bytes()).into();
        if is_own {
            let holder = TokenHolder {
                name: "mainstay".to_owned(),
                scopes: vec!["read".to_owned()],
            };
            return Box::pin(async move { Ok(Some(holder)) });
        }
        self.others.holder(secret)
    }
}

/// What is true of this server now.
pub(crate) struct Vitals {
    pub(crate) data_dir: PathBuf,
    pub(crate) remotes: Remotes,
    pub(crate) copies: Copies,
    pub(crate) fleet: FleetHub,
    pub(crate) routes: RouteHub,
    pub(crate) leader: watch::Receiver<Leader>,
    pub(crate) ahead: Ahead,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ekg: Ekg,
    pub(crate) book: Arc<Book>,
    pub(crate) pager: Pager,
}

impl Gauges for Vitals {
    fn gauges(&self) -> Vec<Gauge> {
        let leads = *self.leader.borrow() == Leader::Here;
        let mut gauges = vec![Gauge::new(
            "mainstay_leading",
            "Whether this server leads.",
            Vec::new(),
            f64::from(u8::from(leads)),
        )];
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) as f64;
            gauges.push(Gauge::new(
                "mainstay_data_dir_free_bytes",
                "Space that is left for the data directory.",
                Vec::new(),
                bytes(disk.f_bavail),
            ));
        }
        let damaged = self.ekg.quarantined();
        for (what, count) in [("parts", damaged.parts), ("pages", damaged.pages)] {
            gauges.push(Gauge::new(
                "mainstay_metrics_quarantined",
                "What of the samples on disk is damaged and not served: whole parts, and pages of others.",
                vec![("what", what.to_owned())],
                count as f64,
            ));
        }
        let now = self.clock.now();
        let heard = |connected: bool, at| connected && now.since(at) < SILENT_AFTER;
        let (fleet, routes) = (self.fleet.view(), self.routes.view());
        let agents = fleet.hosts.values();
        let agents = agents.map(|it| heard(it.connected, it.received_at));
        let routers = routes.fabrics.values();
        let routers = routers.map(|it| heard(it.connected, it.received_at));
        let kinds: [(&str, Vec<bool>); 2] =
            [("agent", agents.collect()), ("router", routers.collect())];
        for (kind, heard) in kinds {
            for (state, is) in [("heard", true), ("silent", false)] {
                let count = heard.iter().filter(|it| **it == is).count();
                gauges.push(Gauge::new(
                    "mainstay_peers",
                    "Agents and routers that connected since the server began, by whether they are heard.",
                    vec![("kind", kind.to_owned()), ("state", state.to_owned())],
                    count as f64,
                ));
            }
        }
        gauges.extend(self.ahead.gauges(&*self.clock));
        gauges.extend(sending(&self.remotes.sending()));
        gauges.extend(self.copies.gauges(now));
        for (status, count) in self.book.counts() {
            gauges.push(Gauge::new(
                "mainstay_incidents",
                "Incidents that are not closed, by where they stand.",
                vec![("status", status.as_str().to_owned())],
                count as f64,
            ));
        }
        let sent = self.pager.sent();
        for (outcome, count) in [("taken", sent.taken), ("refused", sent.refused)] {
            gauges.push(Gauge::counter(
                "mainstay_pages_total",
                "Messages to people, by whether their channel took them.",
                vec![("outcome", outcome.to_owned())],
                count,
            ));
        }
        gauges
    }
}

/// How the receivers of remote write stand.
fn sending(all: &[Sending]) -> Vec<Gauge> {
    let name = |it: &Sending| vec![("receiver", it.name.clone())];
    let mut gauges = Vec::new();
    let mut counter = |name_of, help, count: fn(&Sending) -> u64| {
        gauges.extend(
            all.iter()
                .map(|it| Gauge::counter(name_of, help, name(it), count(it))),
        );
    };
    counter(
        "mainstay_remote_write_samples_total",
        "Samples that a receiver took.",
        |it| it.sent,
    );
    counter(
        "mainstay_remote_write_bytes_total",
        "Bytes of requests that a receiver took.",
        |it| it.bytes,
    );
    counter(
        "mainstay_remote_write_retried_total",
        "Samples that were sent again.",
        |it| it.retried,
    );
    counter(
        "mainstay_remote_write_relabeled_total",
        "Samples that write_relabel_configs dropped.",
        |it| it.relabeled,
    );
    for (of, name_of, help) in [
        (
            0,
            "mainstay_remote_write_pending",
            "Samples in memory that a receiver has not taken.",
        ),
        (
            1,
            "mainstay_remote_write_catching_up",
            "Whether samples are read from the store for a receiver.",
        ),
        (
            2,
            "mainstay_remote_write_newest_sent_seconds",
            "Time of the newest sample that a receiver took.",
        ),
        (
            3,
            "mainstay_remote_write_newest_seconds",
            "Time of the newest sample for a receiver.",
        ),
    ] {
        let value = |it: &Sending| match of {
            0 => it.pending as f64,
            1 => f64::from(u8::from(it.catching_up)),
            2 => it
                .newest_sent
                .map_or(0.0, |at| at.millis() as f64 / 1_000.0),
            _ => it.newest.map_or(0.0, |at| at.millis() as f64 / 1_000.0),
        };
        gauges.extend(
            all.iter()
                .map(|it| Gauge::new(name_of, help, name(it), value(it))),
        );
    }
    for it in all {
        for (why, count) in it.given_up {
            let labels = vec![("receiver", it.name.clone()), ("reason", why.to_owned())];
            let help = "Samples that a receiver will never take.";
            gauges.push(Gauge::counter(
                "mainstay_remote_write_dropped_total",
                help,
                labels,
                count,
            ));
        }
    }
    for it in all {
        for (code, count) in &it.requests {
            let labels = vec![("receiver", it.name.clone()), ("code", code.clone())];
            let help = "Requests to a receiver, by what it answered.";
            gauges.push(Gauge::counter(
                "mainstay_remote_write_requests_total",
                help,
                labels,
                *count,
            ));
        }
    }
    gauges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_rules_are_rules() {
        let file = own_rules().unwrap();
        assert!(file.groups[0].rules.len() >= 22);
    }
}
