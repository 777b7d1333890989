//! Schedules: who is on call when, as a function of what was declared and of who stands in.
//!
//! Guarantees: at every instant a role has exactly one person, or it is a gap. A time of the wall clock means one
//! instant ([`civil`]): the first at which the clock of its zone shows that time or a later one, so that a time which
//! a change of clocks skips is the moment of the change, and one that comes twice is its first. Never reads a clock,
//! but in [`adapter`].
//!
//! ```
//! use mainstay_core::oncall::{Role, ScheduleSpec};
//! use mainstay_oncall::schedule::Schedule;
//! let spec: ScheduleSpec = serde_json::from_value(serde_json::json!({
//!     "zone": "Europe/Berlin",
//!     "layers": [{"name": "week", "people": ["alice", "bob"], "from": "2026-03-23"}],
//! }))?;
//! let schedule = Schedule::build("feed".parse()?, &spec).map_err(|flaws| flaws[0].what.clone())?;
//! // Monday 09:00 is 08:00 UTC before clocks are put forward, and 07:00 UTC after.
//! let shift = schedule.on_call(Role::Primary, "2026-03-23T08:00:00Z".parse()?).ok_or("nobody")?;
//! assert_eq!(shift.person.as_str(), "alice");
//! assert_eq!(shift.until, "2026-03-30T07:00:00Z".parse()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
pub mod civil;
pub mod flaws;
mod gap;
mod hours;
pub mod ical;
mod layer;
mod plan;
pub mod reach;
mod shift;
mod standin;

pub use gap::{Trouble, Why};
pub use plan::{EXPAND_DAYS_MAX, Schedule};
pub use shift::{Shift, Source};
pub use standin::{NotTaken, StandIn, What};

#[cfg(test)]
mod tests;
