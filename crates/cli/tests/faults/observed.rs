//! What moves without an order, end to end: real server, router and agent, and a hand from outside.

use std::process::Command;

use super::platform::Platform;
use serde_json::Value;

/// A platform that runs the two instances of its service.
fn running() -> Platform {
    let platform = Platform::start();
    platform.build("v1", &[]);
    let applied = platform.apply(&platform.service("v1", "careful"));
    assert!(applied.status.success());
    platform.wait_for("shop", "done");
    platform
}

/// Observed changes whose title has `words`.
fn observed(platform: &Platform, words: &str) -> Vec<Value> {
    let all = platform.json(&["changes", "--kind", "observed"]);
    let mut found = all.as_array().unwrap().clone();
    found.retain(|it| it["change"]["title"].as_str().unwrap().contains(words));
    found
}

#[test]
fn a_process_killed_by_hand_is_started_again_and_stands_in_the_ledger() {
    let platform = running();
    let before = platform.pids();
    let (name, pid) = before.first_key_value().unwrap();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
    platform.until("a new process", || {
        platform.pids().get(name).is_some_and(|now| now != pid)
    });
    platform.until("an observed change", || {
        observed(&platform, "it exited without an order").len() == 1
    });
    let change = &observed(&platform, "it exited without an order")[0];
    let title = change["change"]["title"].as_str().unwrap();
    assert!(
        title.starts_with(name.as_str()) && title.contains("signal: 9"),
        "{title}"
    );
    assert_eq!(change["state"], "done");
    assert_eq!(change["change"]["blastRadius"]["services"][0], "shop");
    let untouched = before.iter().nth(1).unwrap();
    assert_eq!(platform.pids().get(untouched.0), Some(untouched.1));
    assert!(platform.run(&["ledger", "verify"]).status.success());
}

#[test]
fn an_executable_exchanged_on_disk_stands_in_the_ledger_and_the_process_goes_on() {
    let platform = running();
    let before = platform.pids();
    // A copy beside, renamed over it: the old file is that of the running processes.
    platform.exchange("v1");
    platform.until("an observed change", || {
        !observed(&platform, "its artifact on disk is now").is_empty()
    });
    assert_eq!(platform.pids().len(), before.len());
    assert!(platform.run(&["ledger", "verify"]).status.success());
}

#[test]
fn the_host_and_the_agent_are_measured_in_monitoring_under_their_own_job() {
    let platform = running();
    let found = |expr: &str| {
        let answer = platform.json(&["query", expr]);
        let result = answer.get("result").unwrap_or(&answer);
        result.as_array().is_some_and(|found| !found.is_empty())
    };
    let host = r#"{job="mainstay-agent",host="h1",fabric="lax"}"#;
    platform.until("the host's metrics", || {
        found(&format!("node_memory_MemAvailable_bytes{host} > 0"))
            && found(&format!("mainstay_agent_instances{host} == 2"))
            && found(&format!(
                "rate(mainstay_agent_turn_duration_seconds_count{host}[10s]) > 0"
            ))
    });
}
