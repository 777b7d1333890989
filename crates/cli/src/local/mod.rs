//! A whole platform with the example site on one machine: real processes, real ports, real load.
//!
//! **Guarantees.** Everything started here ends with the process that started it, whether that is stopped,
//! fails or is killed: each child hangs on a leash, and what survives its stop is killed and told of.
//! **Never** touches a process that it did not start, or a port that somebody else holds.
//!
//! Example: `Cluster::start(…)`, `site.apply(…)`, `Load::start(…)`, `Cluster::stop()`.

mod api;
mod cluster;
mod load;
mod opening;
mod ports;
mod process;
mod site;
mod survivors;

pub(crate) use api::{Api, Rollout};
pub(crate) use cluster::{Cluster, Ground, Role};
pub(crate) use load::{Load, LoadPlan, Report};
pub(crate) use opening::open;
pub(crate) use ports::free as free_port;
pub(crate) use process::{Process, Program};
pub(crate) use site::{Build, FIRST, Site};
pub(crate) use survivors::{Survivor, running_under};
