//! Scenarios with the real binaries: a whole platform, a real site, real users.
//!
//! A busy machine may make the load generator late, and it then says that its numbers are void (exit code 4).
//! What the platform did must hold all the same.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

/// Scenarios measure time: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The example site's binary, which is another package's.
fn site() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_mainstay")).with_file_name("mainstay-site");
    if !beside.is_file() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "mainstay-site"])
            .status()
            .unwrap();
        assert!(built.success());
    }
    beside
}

fn play(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .env("MAINSTAY_SITE_BIN", site())
        .args(["demo", "--output", "json"])
        .args(args)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let ending: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert!(
        matches!(output.status.code(), Some(0 | 4)),
        "{ending:#}\n{told}"
    );
    assert_eq!(ending["missed"], Value::Array(Vec::new()), "{told}");
    assert_eq!(ending["left_behind"], 0, "{told}");
    ending
}

#[test]
fn a_good_release_goes_all_the_way_and_no_request_fails() {
    let _alone = alone();
    let ending = play(&["good", "--rate", "150", "--instances", "3"]);
    assert_eq!(ending["rollout"]["state"], "done");
    assert_eq!(ending["failed"], 0);
    assert_eq!(ending["versions"]["v2"], 6);
}

#[test]
fn a_bad_release_is_taken_back_from_the_canary() {
    let _alone = alone();
    let ending = play(&["bad-canary", "--rate", "150", "--instances", "3"]);
    assert_eq!(ending["rollout"]["state"], "rolled-back");
    assert_eq!(ending["versions"]["v1"], 6);
    assert!(ending["bad_version_user_share"].as_f64().unwrap() <= 0.01);
}
