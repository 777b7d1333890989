//! What each channel is sent: the bodies of messages, as the original writes them.
//!
//! Guarantees: pure; the same group gives the same bytes. Never decides whether something is sent.

mod pagerduty;
mod slack;
mod teams;
mod webhook;

use gotmpl::Value;
use jiff::Timestamp;

pub use pagerduty::pagerduty;
pub use slack::slack;
pub use teams::{teams, teams_v2};
pub use webhook::webhook;

use crate::template::{Group, Kind, TemplateError, Templates, data};

/// Fills texts in for one message.
#[derive(Debug)]
pub struct Filler<'a> {
    templates: &'a Templates,
    data: Value,
    now: Timestamp,
}

impl<'a> Filler<'a> {
    /// One for a group.
    pub fn new(templates: &'a Templates, group: &Group<'_>) -> Self {
        Self {
            templates,
            data: data(group),
            now: group.at,
        }
    }

    /// A plain text.
    pub fn text(&self, text: &str) -> Result<String, TemplateError> {
        self.templates.fill(text, Kind::Text, &self.data, self.now)
    }

    /// HTML.
    pub fn markup(&self, text: &str) -> Result<String, TemplateError> {
        self.templates
            .fill(text, Kind::Markup, &self.data, self.now)
    }
}

/// At most so many letters; what is cut off is told by a mark.
fn at_most(text: String, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text;
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests;
