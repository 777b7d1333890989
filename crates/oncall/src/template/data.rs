//! What texts of notifications are filled with.

use std::sync::Arc;

use gotmpl::Value;
use jiff::Timestamp;
use mainstay_template::{map, text, texts};

use super::goes;
use crate::{alert::Alert, labels::Labels};

/// What a notification tells of.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Who is told.
    pub receiver: &'a str,
    /// By what its alerts are grouped.
    pub labels: &'a Labels,
    /// In order.
    pub alerts: &'a [Arc<Alert>],
    /// As of when they fire or are over.
    pub at: Timestamp,
    /// Where we are reached.
    pub external_url: &'a str,
}

impl Group<'_> {
    /// Whether any alert fires.
    pub fn fires(&self) -> bool {
        self.alerts.iter().any(|it| !it.is_resolved(self.at))
    }

    /// In a word.
    pub fn status(&self) -> &'static str {
        if self.fires() { "firing" } else { "resolved" }
    }

    /// What all alerts share, of labels or annotations.
    pub fn common(&self, of: impl Fn(&Alert) -> &Labels) -> Labels {
        let mut all = self.alerts.iter().map(|it| of(it.as_ref()));
        let first = all.next().cloned().unwrap_or_default();
        all.fold(first, |common, it| common.shared_with(it))
    }

    /// The receiver's name as the original writes it: so that it can be part of an expression.
    pub fn quoted_receiver(&self) -> String {
        let special = |c: char| "\\.+*?()|[]{}^$".contains(c);
        let letters = self.receiver.chars();
        letters
            .flat_map(|it| special(it).then_some('\\').into_iter().chain([it]))
            .collect()
    }
}

/// The values that a text can name.
pub fn data(group: &Group<'_>) -> Value {
    let alerts = group.alerts.iter().map(|it| alert(it, group.at));
    map([
        ("Receiver", text(&group.quoted_receiver())),
        ("Status", text(group.status())),
        ("Alerts", Value::List(alerts.collect())),
        ("GroupLabels", texts(group.labels.iter())),
        ("CommonLabels", texts(group.common(|it| &it.labels).iter())),
        (
            "CommonAnnotations",
            texts(group.common(|it| &it.annotations).iter()),
        ),
        ("ExternalURL", text(group.external_url)),
    ])
}

fn alert(alert: &Alert, at: Timestamp) -> Value {
    let is_over = alert.is_resolved(at);
    map([
        ("Status", text(if is_over { "resolved" } else { "firing" })),
        ("Labels", texts(alert.labels.iter())),
        ("Annotations", texts(alert.annotations.iter())),
        ("StartsAt", goes::time(Some(alert.starts_at))),
        ("EndsAt", goes::time(is_over.then_some(alert.ends_at))),
        ("GeneratorURL", text(&alert.generator_url)),
        ("Fingerprint", text(&alert.fingerprint().to_string())),
    ])
}
