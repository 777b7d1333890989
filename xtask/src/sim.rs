//! `cargo xtask sim`: any number of simulated worlds; a failing seed is printed and replayable.

use std::process::ExitCode;

use clap::Args;
use mainstay_sim::{Planted, Report, World};

/// Worlds between two lines of progress.
const PROGRESS_EVERY: u64 = 1_000;

/// Which worlds to run.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed; with `--seeds 1` it replays one world and prints its trace.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on until stopped or until a seed fails.
    #[arg(long)]
    forever: bool,
}

pub(crate) fn run(sim: &Sim) -> ExitCode {
    let end = if sim.forever {
        u64::MAX
    } else {
        sim.seed.saturating_add(sim.seeds)
    };
    for seed in sim.seed..end {
        let report = World::new(seed, Planted::Nothing).run();
        if sim.seeds == 1 && !sim.forever {
            println!("{report:#?}");
        }
        if !report.violations.is_empty() {
            return failed(seed, &report);
        }
        let done = seed - sim.seed + 1;
        if done.is_multiple_of(PROGRESS_EVERY) {
            eprintln!("{done} worlds hold");
        }
    }
    println!("{} worlds hold every invariant", end - sim.seed);
    ExitCode::SUCCESS
}

fn failed(seed: u64, report: &Report) -> ExitCode {
    eprintln!("seed {seed} breaks: {:#?}", report.violations);
    eprintln!("replay it with `cargo xtask sim --seed {seed} --seeds 1`");
    ExitCode::from(1)
}
