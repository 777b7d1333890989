//! The scenarios that must hold on every machine, played with the real binaries and judged by what the load
//! generator measured from outside.
//!
//! A run whose load generator was itself too late proves nothing (exit code 4): it is played again, and where
//! the machine stays too busy the test says that it was skipped, and why.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
const EXIT_VOID: i32 = 4;
/// Plays of a scenario before the machine is held to be too busy.
const PLAYS_MAX: usize = 3;

/// The example site's binary, built where it is missing: tests of one package do not build another's.
fn site() -> PathBuf {
    let beside = Path::new(BINARY).with_file_name("mainstay-site");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "mainstay-site"])
        .status()
        .unwrap();
    assert!(built.success() && beside.is_file(), "{}", beside.display());
    beside
}

fn play(name: &str) -> Option<Value> {
    let site = site();
    for _ in 0..PLAYS_MAX {
        let output = Command::new(BINARY)
            .args(["demo", name, "--output", "json"])
            .env("MAINSTAY_SITE_BIN", &site)
            .output()
            .unwrap();
        let progress = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(EXIT_VOID) {
            eprintln!("played again, the load generator was late:\n{progress}");
            continue;
        }
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{progress}\n{said:#}");
        assert_eq!(said["ok"], true, "{said:#}");
        return Some(said);
    }
    eprintln!("skipped: the load generator was too late in {PLAYS_MAX} plays of {name}");
    None
}

#[test]
fn a_good_release_goes_over_the_site_without_a_failed_request() {
    let Some(said) = play("good") else { return };
    assert_eq!(said["failed"], 0, "{said:#}");
    assert!(said["requests"].as_u64().unwrap() > 1_000);
    assert!(said["batches"].as_array().unwrap().len() > 1);
}

#[test]
fn a_release_that_fails_one_request_in_five_is_taken_back_from_one_user_in_a_hundred() {
    let Some(said) = play("bad-canary") else {
        return;
    };
    let detected = said["detected_s"].as_f64().unwrap();
    assert!(detected <= 30.0, "{said:#}");
    assert!(
        said["bad_version_user_share"].as_f64().unwrap() <= 0.01,
        "{said:#}"
    );
}
