//! `mainstay demo`: plays a scenario and says how it ended.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{
    args::Global,
    demo::{self, Ending, Options},
    ending, output,
};

/// The exit code of a scenario whose numbers must not be used.
const EXIT_VOID: u8 = 4;

pub(crate) async fn demo(global: &Global, options: &Options) -> anyhow::Result<ExitCode> {
    super::log_to_stderr("warn");
    let played = tokio::select! {
        played = demo::play(options) => played,
        stopped = ending::told(false) => {
            stopped?;
            // What was started ended when the scenario was dropped.
            anyhow::bail!("interrupted");
        }
    };
    let ending = match played {
        Ok(ending) => ending,
        Err(error) => {
            let broken = json!({
                "scenario": options.scenario.name(), "ok": false, "error": format!("{error:#}"),
            });
            if !output::value(global.output, &broken)? {
                output::print(&format!("{}: not ok: {error:#}", options.scenario.name()))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    if !output::value(global.output, &ending.json())? {
        summary(options, &ending)?;
    }
    if ending.is_void() {
        return Ok(ExitCode::from(EXIT_VOID));
    }
    Ok(if ending.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn summary(options: &Options, ending: &Ending) -> anyhow::Result<()> {
    let word = match (ending.is_ok(), ending.is_void()) {
        (true, _) => "ok",
        (false, true) => "void",
        (false, false) => "not ok",
    };
    output::print(&format!("{}: {word}", options.scenario.name()))?;
    output::print(&format!("  expected: {}", ending.expected()))?;
    for missed in ending.missed() {
        output::print(&format!("  did not hold: {missed}"))?;
    }
    let all = ending.json();
    for reason in all["void"].as_array().into_iter().flatten() {
        output::print(&format!("  void: {}", reason.as_str().unwrap_or_default()))?;
    }
    for name in [
        "requests",
        "failed",
        "users",
        "bad_version_requests",
        "bad_version_users",
        "exposed_s",
        "outage_s",
        "detected_s",
    ] {
        if let Some(number) = all.get(name).filter(|value| value.is_number()) {
            output::print(&format!("  {name}: {}", rounded(number)))?;
        }
    }
    let state = all["rollout"]["state"].as_str();
    if let Some(state) = state {
        output::print(&format!("  rollout: {state}"))?;
    }
    Ok(())
}

fn rounded(number: &Value) -> String {
    match number.as_f64() {
        Some(value) if value.fract() != 0.0 => format!("{value:.2}"),
        _ => number.to_string(),
    }
}
