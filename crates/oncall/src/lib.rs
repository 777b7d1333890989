//! Alerts in, notifications out: what an Alertmanager does, with its own configuration file.
//!
//! Guarantees: an alert that was taken is told to whom the file says, or it is recorded why not; nothing is told twice
//! but where it may have been lost. The machines ([`config`], [`matcher`], [`route`], [`dispatch`], [`inhibit`],
//! [`silence`], [`interval`], [`log`], all together [`machine`]) read no clock and send nothing.
//!
//! ```
//! use mainstay_oncall::{Labels, Posted, config::Settings, machine::{Effect, Machine}};
//! use std::sync::Arc;
//! let file = "route: {receiver: team, group_wait: 0s}\n\
//!             receivers: [{name: team, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}]\n";
//! let now = "2026-11-05T12:00:00Z".parse()?;
//! let settings = Arc::new(Settings::parse(file)?);
//! let mut machine = Machine::new(settings, "120h".parse()?, None, now);
//! let labels = Labels::from_iter([("alertname", "Down")]);
//! machine.accept(vec![Posted { labels, ..Posted::default() }], now);
//! assert!(machine.due(now).iter().any(|it| matches!(it, Effect::Send(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
mod alert;
pub mod config;
pub mod dispatch;
pub mod escalation;
pub mod incident;
pub mod inhibit;
pub mod interval;
mod labels;
pub mod log;
pub mod machine;
pub mod matcher;
pub mod moment;
pub mod payload;
pub mod route;
pub mod schedule;
pub mod silence;
pub mod template;

pub use alert::{Alert, AlertError, Alerts, Posted};
pub use labels::{Fingerprint, Labels};
