//! `cargo xtask crash`: a real server, killed under load again and again; a loss is told with its seed.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Args;
use mainstay_siege::crash::{Plan, Round, run as play};

use crate::bench;

/// How often, how long, and with what chance.
#[derive(Args)]
pub(crate) struct Crash {
    /// How many kills.
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// How long senders send between two kills, at most.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Whence the moments of the kills come; from the clock where unset.
    #[arg(long)]
    seed: Option<u64>,
    /// A server to kill; where unset the one of this tree is built.
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) fn run(crash: &Crash) -> anyhow::Result<ExitCode> {
    let binary = crash
        .binary
        .clone()
        .map_or_else(|| bench::server("dev"), Ok)?;
    let clock = || {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |it| it.as_secs())
    };
    let seed = crash.seed.unwrap_or_else(clock);
    println!("seed {seed}: {} kills", crash.kills);
    let plan = Plan {
        kills: crash.kills,
        load: Duration::try_from_secs_f64(crash.seconds)?,
        ..Plan::new(binary, seed)
    };
    match play(&plan, &mut |round| println!("{}", line(round))) {
        Ok(outcome) => {
            println!(
                "{} kills: all {} acknowledged samples are there, in {} parts and the log; the ledger's {} entries hold",
                outcome.kills, outcome.samples, outcome.parts, outcome.entries
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("seed {seed} breaks: {error}");
            Ok(ExitCode::from(1))
        }
    }
}

fn line(round: &Round) -> String {
    let Round {
        number,
        samples,
        checked,
        lived,
    } = round;
    let lived = lived.as_millis();
    checked.map_or_else(
        || format!("kill {number}: {lived} ms after its start"),
        |checked| {
            let checked = checked.as_millis();
            format!("kill {number}: ready and checked in {checked} ms, under load for {lived} ms, {samples} samples")
        },
    )
}
