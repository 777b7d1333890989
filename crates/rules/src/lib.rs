//! Recording and alerting rules: files as Prometheus has them, their evaluation, the life of an alert; and monitors,
//! which expect something of every entity of the catalog.
//!
//! Guarantees: pure; what a rule gives depends on its file, the answers of [`Source`] and the time it is told.
//! A rule that fails says why and leaves its alerts as they were. Never reads a clock, never sends anything,
//! never forgets an alert that fired before [`RESOLVED_KEPT`] after its end.
//!
//! ```
//! use mainstay_rules::RuleFile;
//! let file = RuleFile::parse(
//!     "groups:\n- name: shop\n  rules:\n  - alert: Slow\n    expr: latency_seconds > 1\n    for: 5m\n",
//! )
//! .unwrap();
//! assert_eq!(file.groups[0].rules[0].name(), "Slow");
//! let wrong = RuleFile::parse("groups:\n- name: shop\n  rules:\n  - alert: Slow\n    expr: latency >\n");
//! assert_eq!(wrong.unwrap_err()[0].line, 5);
//! ```

mod alert;
mod backtest;
mod external;
mod file;
mod group;
mod guarded;
mod live;
pub mod monitor;
pub mod stream;
mod template;
mod unit;
mod watched;
mod way;
mod whole;

pub use alert::{Alert, AlertState, Alerts, RESOLVED_KEPT};
pub use backtest::{Firing, Steps, backtest};
pub use external::External;
pub use file::{FileError, Group, Kind, Rule, RuleFile};
pub use group::{Evaluation, GroupRun, RuleError, RuleRun, Sample, Source};
pub use live::{Around, LiveGroup, Slots};
pub use template::{Template, TemplateError};
pub use unit::{Missed, Tested, UnitFile};
pub use watched::Watched;
pub use way::{Still, Way};
pub use whole::{REST_MIN, REST_TIMES, WholeGroup};
