//! Figures that need real processes and real users: scenarios, as anyone can play them.
//!
//! Guarantees: what is taken from a scenario is what its load generator measured from outside. A scenario whose
//! numbers are void gives no figure, nor does one that did not end as its script says it must, where it has to;
//! the others are played all the same.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::budget::Said;

/// A scenario, and which of its numbers are which figures.
struct Scenario {
    args: &'static [&'static str],
    /// Whether it has to end as its script says; a rarer defect than the script's own is only timed.
    must_end_so: bool,
    figures: &'static [(&'static str, &'static str)],
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        args: &["good"],
        must_end_so: true,
        figures: &[("failed", "good_failed_requests")],
    },
    Scenario {
        args: &["bad-canary", "--defect", "errors=0.2", "--rate", "200"],
        must_end_so: true,
        figures: &[
            ("detected_s", "detected_at_20_percent_s"),
            ("bad_version_user_share", "users_met_bad_at_20_percent"),
        ],
    },
    Scenario {
        args: &["bad-canary", "--defect", "errors=0.05", "--rate", "200"],
        must_end_so: false,
        figures: &[("detected_s", "detected_at_5_percent_s")],
    },
    Scenario {
        args: &["bad-canary", "--defect", "errors=0.01", "--rate", "200"],
        must_end_so: false,
        figures: &[("detected_s", "detected_at_1_percent_s")],
    },
    // Two fabrics: a hundred processes of one service.
    Scenario {
        args: &["bad-late", "--instances", "50", "--rate", "400"],
        must_end_so: true,
        figures: &[("exposed_after_verdict_s", "rollback_100_real_instances_s")],
    },
];

/// Builds what `make run` builds, and plays all.
pub(super) fn play() -> anyhow::Result<Vec<Said>> {
    let built = Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--package",
            "mainstay",
            "--package",
            "mainstay-site",
        ])
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "mainstay and its site do not build");
    let mut said = Vec::new();
    for scenario in &SCENARIOS {
        let line = scenario.args.join(" ");
        let ending = match ending(scenario) {
            Ok(ending) => ending,
            Err(error) => {
                // Its figures are missed at the end.
                println!("{line}: {error:#}");
                continue;
            }
        };
        for (field, figure) in scenario.figures {
            let figure = (*figure).to_owned();
            let one = match ending[*field].as_f64() {
                Some(value) => Said::Figure(figure, value),
                None if scenario.must_end_so => continue,
                None => Said::Unmeasured(
                    figure,
                    "it was not found before the rollout was over".to_owned(),
                ),
            };
            println!("{line}: {one}");
            said.push(one);
        }
    }
    Ok(said)
}

fn ending(scenario: &Scenario) -> anyhow::Result<Value> {
    let line = scenario.args.join(" ");
    let played = Command::new(binary()?)
        .arg("demo")
        .args(scenario.args)
        .args(["--output", "json"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run mainstay")?;
    let ending: Value = serde_json::from_slice(&played.stdout)
        .with_context(|| format!("`mainstay demo {line}` printed no object"))?;
    let void = ending["void"].as_array().is_none_or(|it| !it.is_empty());
    ensure!(!void, "its numbers are void: {}", ending["void"]);
    ensure!(
        played.status.success() || !scenario.must_end_so,
        "{}; missed {}",
        played.status,
        ending["missed"]
    );
    Ok(ending)
}

/// Beside this program: both are built in the dev profile.
fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    Ok(own.with_file_name("mainstay"))
}
