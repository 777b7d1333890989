//! What an incident is opened with.

use mainstay_core::{ChangeId, escalation::Severity};
use serde::{Deserialize, Serialize};

use crate::{Labels, escalation::Policy};

/// Bytes of a title.
pub const TITLE_MAX: usize = 200;
/// Bytes of the labels that are kept of what opened it.
const LABELS_MAX: usize = 400;

/// What does not change of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Its id, which keys of pages are made of.
    pub id: ChangeId,
    /// In a line.
    pub title: String,
    /// How bad it was at first.
    pub severity: Severity,
    /// What it is escalated by.
    pub policy: Policy,
    /// What alerts of the same incident have alike; none where a person opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The labels that those have.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Plan {
    /// One that a person opens; a title that is too long is cut.
    pub fn new(id: ChangeId, title: &str, severity: Severity, policy: Policy) -> Self {
        let title: String = title
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        Self {
            id,
            title: cut(&title, TITLE_MAX),
            severity,
            policy,
            key: None,
            labels: Labels::default(),
        }
    }

    /// With less of what people read, where what was written is mostly quotes.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.title = cut(&self.title, TITLE_MAX / 4);
        self.labels = Labels::default();
        self
    }

    /// The same for alerts that are alike in `labels`, of which as many are kept as there is room for.
    #[must_use]
    pub fn of_alerts(mut self, key: String, labels: &Labels) -> Self {
        let mut room = LABELS_MAX;
        self.labels = labels.kept(|name, value| {
            let bytes = name.len() + value.len() + 6;
            let fits = bytes <= room;
            if fits {
                room -= bytes;
            }
            fits
        });
        self.key = Some(key);
        self
    }
}

/// At most so many bytes, at a letter's end.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    let text = text.trim();
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_text_is_cut_at_a_letters_end_and_says_so() {
        assert_eq!(cut(" short ", 10), "short");
        let long = "ä".repeat(200);
        let kept = cut(&long, 101);
        assert!(kept.len() <= 101 && kept.ends_with('…'), "{kept}");
    }
}
