//! The configuration file of an Alertmanager, taken as it is.
//!
//! Guarantees: every field is known; what is not done here is refused by its name, with what to do instead; an error
//! says the line. All or nothing. Never reads a file or the environment itself.
//!
//! ```
//! use mainstay_oncall::config::Settings;
//! let settings = Settings::parse("route: {receiver: team}\nreceivers: [{name: team}]\n")?;
//! assert_eq!(&*settings.receivers[0].name, "team");
//! let wrong = Settings::parse("route:\n  receiver: nobody\nreceivers: []\n").unwrap_err();
//! assert_eq!((wrong.line, wrong.to_string().contains("nobody")), (2, true));
//! # Ok::<(), mainstay_oncall::config::ConfigError>(())
//! ```

mod built;
pub mod channels;
mod file;
pub mod http;
mod shown;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use mainstay_core::Span;

use crate::{inhibit::Rule, interval::Interval, route::Tree};
pub use channels::Channel;

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct ConfigError {
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// What is wrong, and the remedy.
    pub what: String,
}

/// One way to tell a receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    /// Whose.
    pub receiver: Arc<str>,
    /// Its number among those of its kind.
    pub index: usize,
    /// Whether it hears of what is over.
    pub send_resolved: bool,
    /// The way.
    pub channel: Channel,
}

impl Integration {
    /// What it is known by in the log of what was told.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.receiver, self.channel.kind(), self.index)
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    /// What routes call it.
    pub name: Arc<str>,
    /// All of them are told.
    pub integrations: Vec<Arc<Integration>>,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// After how long an alert that nobody repeats is over.
    pub resolve_timeout: Span,
    /// Where alerts go.
    pub tree: Tree,
    /// Who is told.
    pub receivers: Vec<Receiver>,
    /// What inhibits what.
    pub inhibit: Arc<[Rule]>,
    /// By name.
    pub intervals: BTreeMap<String, Vec<Interval>>,
    /// Files of templates, by path or pattern.
    pub templates: Vec<PathBuf>,
    /// The file without its secrets.
    pub shown: String,
}

impl Settings {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: Option<file::File> =
            serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let file = file.unwrap_or_default();
        let mut settings = built::settings(file)?;
        settings.shown = shown::without_secrets(text);
        Ok(settings)
    }

    /// A receiver; routes name only those that are there.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|it| &*it.name == name)
    }
}

fn unreadable(error: &serde_saphyr::Error) -> ConfigError {
    let place = error.location();
    ConfigError {
        line: place.map_or(1, |it| it.line()),
        column: place.map_or(1, |it| it.column()),
        what: error.without_snippet().to_string(),
    }
}

#[cfg(test)]
mod tests;
