//! The `mainstay` binary: the server, and the client that speaks to it.
//!
//! ```text
//! mainstay serve --data-dir ./data &
//! mainstay apply -f site.yaml
//! mainstay get services
//! ```

mod admin;
mod alerting;
mod args;
mod claims;
mod client;
mod commands;
mod config;
mod copies;
mod demo;
mod doors;
mod ending;
mod hubs;
mod itself;
mod jobs;
mod leading;
mod link;
mod local;
mod metrics;
mod monitors;
mod notify;
mod oncall;
mod outbound;
mod output;
mod platform;
mod ports;
mod production;
mod reload;
mod rota;
mod style;
mod targets;
mod yaml;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main()
}
