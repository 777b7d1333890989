//! `cargo xtask fuzz`: each fuzz target for some minutes, one after another.
//!
//! Guarantees: what a target found is kept in `fuzz/artifacts` and told with how to replay it; how long each ran and
//! how often is told at the end, also after one that found something.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use clap::Args;

/// Memory that one input may take: far above what any limit of the product allows.
const MEMORY_MIB: u32 = 2_048;
/// How long one input may take.
const INPUT_SECS: u32 = 25;
/// How the fuzzer says how often it ran.
const RAN: &str = "stat::number_of_executed_units:";

/// What to run.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each target runs.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// One target; all where unset.
    #[arg(long)]
    target: Option<String>,
}

struct Ran {
    target: String,
    seconds: f64,
    inputs: u64,
    good: bool,
}

pub(crate) fn run(fuzz: &Fuzz) -> anyhow::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut targets = targets(&folder)?;
    if let Some(wanted) = &fuzz.target {
        let known = targets.join(", ");
        targets.retain(|it| it == wanted);
        ensure!(!targets.is_empty(), "no such target; known are {known}");
    }
    let built = cargo(&folder, "build")
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        bail!(
            "the targets do not build; they need `cargo install cargo-fuzz` and a nightly toolchain"
        );
    }
    let mut all = Vec::new();
    for target in targets {
        println!("== {target}");
        all.push(one(&folder, target, fuzz.minutes)?);
    }
    for Ran {
        target,
        seconds,
        inputs,
        good,
    } in &all
    {
        let found = if *good { "nothing" } else { "SOMETHING" };
        println!("{target}: {inputs} inputs in {seconds:.0} s, {found} found");
    }
    let inputs: u64 = all.iter().map(|it| it.inputs).sum();
    let minutes = all.iter().map(|it| it.seconds).sum::<f64>() / 60.0;
    println!("{inputs} inputs in {minutes:.0} minutes");
    Ok(if all.iter().all(|it| it.good) {
        ExitCode::SUCCESS
    } else {
        println!(
            "fuzz/artifacts has what was found; replay it with `cargo +nightly fuzz run TARGET FILE`"
        );
        ExitCode::from(1)
    })
}

fn cargo(folder: &Path, verb: &str) -> Command {
    let mut command = Command::new("cargo");
    // The toolchain of this tree is stable; sanitizers are not.
    command
        .args(["+nightly", "fuzz", verb])
        .arg("--fuzz-dir")
        .arg(folder)
        .current_dir(folder)
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let sources = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&sources).with_context(|| format!("no {}", sources.display()))? {
        let path: PathBuf = entry?.path();
        let name = path.file_stem().and_then(|it| it.to_str());
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn one(folder: &Path, target: String, minutes: f64) -> anyhow::Result<Ran> {
    let seconds = (minutes * 60.0).ceil();
    let began = Instant::now();
    let mut child = cargo(folder, "run")
        .args([target.as_str(), "--"])
        .args(["-print_final_stats=1", "-verbosity=0", "-max_len=16384"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut inputs = 0;
    let said = child.stderr.take().context("what it says is piped")?;
    for line in BufReader::new(said).lines() {
        let line = line.context("cannot read what the fuzzer says")?;
        match line.strip_prefix(RAN) {
            Some(count) => inputs = count.trim().parse().context("not a number")?,
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait().context("cannot wait for the fuzzer")?;
    Ok(Ran {
        target,
        seconds: began.elapsed().as_secs_f64(),
        inputs,
        good: status.success(),
    })
}
