use mainstay_core::Time;
use serde_json::{Value, json};

use super::{
    order,
    progress::{self, Rollout},
    seen::Seen,
    watch,
};
use crate::{
    args::{Emergency, RolloutStart},
    style::{self, Style},
};

const NOW: Time = Time::from_millis(100_000);

fn view() -> Value {
    json!({
        "change": "chg-a", "service": "feed", "from": "v1", "to": "v2", "strategy": "canary",
        "state": "running", "phase": "batches", "because": "batch 2 of 10", "openedAt": 10_000,
        "endedAt": null, "actor": {"id": "ana", "verified": false}, "reason": "fixes the cache",
        "progress": {"total": 50, "new": 10, "verified": 5},
        "weights": {"iad": {"v1": 10_000}, "lax": {"v1": 9_900, "v2": 100}},
        "batches": [
            {"number": 1, "fabric": "lax", "instances": ["a", "b"], "beganAt": 20_000, "verifiedAt": 50_000,
                "arithmetic": "48 carry 4,900 rps, demand 3,100"},
            {"number": 2, "fabric": "lax", "instances": ["c"], "beganAt": 60_000, "verifiedAt": null,
                "arithmetic": null},
        ],
        "verdict": {"step": "batch 1", "at": 49_000, "findings": [{"signal": "error ratio", "outcome": "pass",
            "value": "0.02 %", "limit": "0.1 %", "remedy": ""}]},
        "verdicts": [],
    })
}

fn read(view: Value) -> Rollout {
    serde_json::from_value(view).unwrap()
}

#[test]
fn the_block_shows_progress_weights_findings_and_batches() {
    let lines = progress::block(&read(view()), NOW, Style::PLAIN, 200);
    assert_eq!(
        lines,
        [
            "feed v1 → v2  running · batches  chg-a  90s",
            "  because    batch 2 of 10",
            "  instances  [██▒▒░░░░░░░░░░░░░░░░] 10/50 new, 5 verified",
            "  weights    iad  v1 100 %",
            "             lax  v1 99 %  v2 1 %",
            "  verdict    batch 1: pass  at 1970-01-01T00:00:49Z",
            "             pass  error ratio: 0.02 % (limit 0.1 %)",
            "  batches    1 in lax (2 instances) verified in 30s",
            "             2 in lax (c) since 40s",
        ]
    );
}

#[test]
fn no_line_of_a_block_is_wider_than_the_terminal() {
    for width in [1, 20, 40] {
        for line in progress::block(&read(view()), NOW, Style::PLAIN, width) {
            assert!(style::width(&line) <= width, "{line}");
        }
    }
}

#[test]
fn each_transition_is_told_once_and_numbers_that_only_move_are_not() {
    let mut seen = Seen::default();
    let first = seen.lines(&read(view()), NOW);
    assert_eq!(
        first,
        [
            "1970-01-01T00:00:10Z  feed v1 → v2 (chg-a) opened by ana (unverified): fixes the cache",
            "1970-01-01T00:00:20Z  batch 1 in lax (2 instances) began: 48 carry 4,900 rps, demand 3,100",
            "1970-01-01T00:00:49Z  verdict on batch 1: pass — error ratio: 0.02 % (limit 0.1 %)",
            "1970-01-01T00:00:50Z  batch 1 in lax (2 instances) verified",
            "1970-01-01T00:01:00Z  batch 2 in lax (c) began",
            "1970-01-01T00:01:40Z  running · batches: batch 2 of 10",
        ]
    );
    let mut same = view();
    same["because"] = same["phase"].clone();
    let last = Seen::default().lines(&read(same), NOW).pop();
    assert_eq!(
        last.as_deref(),
        Some("1970-01-01T00:01:40Z  running · batches"),
        "said once"
    );
    let mut moved = view();
    moved["because"] = json!("batch 2 of 10, 11 s left");
    moved["verdict"]["at"] = json!(90_000);
    moved["verdict"]["findings"][0]["value"] = json!("0.03 %");
    assert!(seen.lines(&read(moved.clone()), NOW).is_empty());
    moved["batches"][1]["verifiedAt"] = json!(95_000);
    moved["state"] = json!("done");
    moved["phase"] = json!("done");
    moved["because"] = json!("50 of 50 verified");
    moved["endedAt"] = json!(99_000);
    assert_eq!(
        seen.lines(&read(moved.clone()), NOW),
        [
            "1970-01-01T00:01:35Z  batch 2 in lax (c) verified",
            "1970-01-01T00:01:39Z  done: 50 of 50 verified",
        ]
    );
    assert!(seen.lines(&read(moved), NOW).is_empty());
}

#[test]
fn of_the_transitions_of_verdicts_only_those_after_the_last_are_told() {
    let verdict = |at: i64, outcome: &str| {
        json!({"step": "canary", "at": at, "findings": [{"signal": "errors", "outcome": outcome,
            "value": "1", "limit": "2", "remedy": ""}]})
    };
    let (mut seen, mut of) = (Seen::default(), view());
    of["verdicts"] = json!([verdict(1_000, "insufficient-evidence")]);
    seen.lines(&read(of.clone()), NOW);
    of["verdicts"] = json!([
        verdict(1_000, "insufficient-evidence"),
        verdict(2_000, "pass")
    ]);
    assert_eq!(
        seen.lines(&read(of), NOW),
        ["1970-01-01T00:00:02Z  verdict on canary: pass — errors: 1 (limit 2)"]
    );
}

#[test]
fn a_paused_change_says_what_would_unblock_it() {
    let mut paused = view();
    paused["state"] = json!("paused");
    paused["because"] = json!("no evidence within 30m");
    paused["verdict"]["findings"] = json!([{"signal": "latency", "outcome": "insufficient-evidence",
        "value": "81 requests", "limit": "2,000 requests", "remedy": "raise the weight"}]);
    let blocked = [json!({"change": "chg-a", "remedy": "promote it with the sample at hand"})];
    assert_eq!(
        watch::unblock(&read(paused), &blocked),
        [
            "chg-a is paused for a person.",
            "  because: no evidence within 30m",
            "  insufficient-evidence  latency: 81 requests (limit 2,000 requests) → raise the weight",
            "  to unblock: promote it with the sample at hand",
            "  go on    mainstay rollout resume chg-a",
            "  go back  mainstay rollout rollback chg-a",
            "  end it   mainstay rollout abort chg-a",
        ]
    );
}

#[test]
fn an_emergency_carries_its_policy_and_reason_and_is_nothing_without_one() {
    let mut start = RolloutStart {
        service: "feed".parse().unwrap(),
        version: "v2".parse().unwrap(),
        reason: "CVE".to_owned(),
        emergency: Emergency {
            policy: Some("security".parse().unwrap()),
            stated_demand: Some(400.0),
            stated_capacity: None,
        },
        expose: Some("20%".to_owned()),
        batch: Some("5%".to_owned()),
        strategy: None,
        dry_run: false,
        watch: false,
    };
    assert_eq!(
        order(&start).unwrap(),
        json!({"service": "feed", "version": "v2", "reason": "CVE", "dryRun": false,
            "emergency": {"policy": "security", "reason": "CVE", "statedDemandRps": 400.0}, "batch": "5%",
            "expose": "20%"})
    );
    start.reason = " ".to_owned();
    assert!(order(&start).unwrap_err().to_string().contains("--reason"));
}
