//! What people type, against a server that answers from a script.

mod fake;

use std::{
    io::{BufRead as _, BufReader, Lines, Read as _},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use fake::Fake;
use serde_json::{Value, json};

use super::{BINARY, stderr};

fn rollout(state: &str, because: &str) -> Value {
    json!({
        "change": "chg-aaaa", "service": "feed", "from": "v1", "to": "v2", "strategy": "canary",
        "state": state, "phase": "canary", "because": because, "openedAt": 1_000, "endedAt": null,
        "actor": {"id": "ana", "verified": true}, "reason": "cache",
        "progress": {"total": 10, "new": 1, "verified": 1}, "weights": {"lax": {"v1": 9_900, "v2": 100}},
        "batches": [], "verdicts": [],
        "verdict": {"step": "canary", "at": 2_000, "findings": [{"signal": "error ratio", "outcome": "fail",
            "value": "2.1 %", "limit": "0.1 %", "remedy": "read the canary's log"}]},
    })
}

fn stands(fake: &Fake, one: Value) {
    fake.says("GET /api/v1/views/rollouts", json!([one.clone()]));
    fake.says("GET /api/v1/views/rollouts/chg-aaaa", one);
}

fn command(fake: &Fake, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).args(["--server", &fake.url()]);
    command
}

fn run(fake: &Fake, args: &[&str]) -> Output {
    command(fake, args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that is still running, read a line at a time.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    read: Vec<String>,
}

impl Watching {
    fn start(fake: &Fake, args: &[&str]) -> Self {
        let mut child = command(fake, args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            read: Vec::new(),
        }
    }

    /// Reads on to a line that contains `text`.
    fn until(&mut self, text: &str) {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.read.push(line.clone());
            if line.contains(text) {
                return;
            }
        }
        panic!("it ended without `{text}`: {:?}", self.read);
    }

    fn end(mut self) -> (Option<i32>, String, String) {
        self.read.extend(self.lines.by_ref().map(Result::unwrap));
        let mut errors = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut errors).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, self.read.join("\n"), errors)
    }
}

#[test]
fn a_paused_rollout_ends_the_watching_with_three_and_says_what_would_unblock_it() {
    let fake = Fake::start();
    stands(&fake, rollout("running", "1 % of lax"));
    let blocked = json!([{"what": "feed", "because": "x", "remedy": "raise the weight", "change": "chg-aaaa"}]);
    fake.says("GET /api/v1/views/status", json!({ "blocked": blocked }));
    let mut watching = Watching::start(&fake, &["rollout", "watch", "feed"]);
    watching.until("running · canary: 1 % of lax");
    stands(&fake, rollout("paused", "no evidence within 30m"));
    let (code, text, _) = watching.end();
    assert_eq!(code, Some(3), "{text}");
    for wanted in [
        "feed v1 → v2 (chg-aaaa) opened by ana: cache",
        "verdict on canary: fail — error ratio: 2.1 % (limit 0.1 %)",
        "paused · canary: no evidence within 30m",
        "→ read the canary's log",
        "to unblock: raise the weight",
        "mainstay rollout resume chg-aaaa",
    ] {
        assert_eq!(text.matches(wanted).count(), 1, "{wanted} in\n{text}");
    }
    assert!(
        !text.contains('\x1b'),
        "no colour where there is no terminal: {text}"
    );
}

#[test]
fn json_is_one_object_at_the_end_and_going_back_exits_with_one() {
    let fake = Fake::start();
    stands(&fake, rollout("rolling-back", "errors"));
    let args = ["rollout", "watch", "chg-aaaa", "--output", "json"];
    let watching = Watching::start(&fake, &args);
    stands(&fake, rollout("rolled-back", "errors"));
    let (code, text, errors) = watching.end();
    assert_eq!(code, Some(1), "{errors}");
    let last: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(last, rollout("rolled-back", "errors"));
    assert!(
        errors.contains("rolled-back"),
        "transitions go aside: {errors}"
    );
}

#[test]
fn a_server_that_goes_away_is_waited_for_and_the_change_is_followed_to_its_end() {
    let mut fake = Fake::start();
    stands(&fake, rollout("running", "1 % of lax"));
    let mut watching = Watching::start(&fake, &["rollout", "watch", "feed"]);
    watching.until("running");
    fake.go();
    watching.until("server away since");
    stands(&fake, rollout("done", "10 of 10 verified"));
    fake.come();
    watching.until("server is back after");
    let (code, text, _) = watching.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("done · canary: 10 of 10 verified"), "{text}");
    assert_eq!(
        text.matches("opened by").count(),
        1,
        "nothing is told twice: {text}"
    );
}

#[test]
fn ctrl_c_stops_the_watching_and_not_the_rollout() {
    let fake = Fake::start();
    stands(&fake, rollout("running", "1 % of lax"));
    let mut watching = Watching::start(&fake, &["rollout", "watch", "feed"]);
    watching.until("running");
    let pid = watching.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, _, errors) = watching.end();
    assert_eq!(code, Some(130));
    assert!(errors.contains("chg-aaaa goes on without you"), "{errors}");
    assert!(
        errors.contains("mainstay rollout watch chg-aaaa"),
        "{errors}"
    );
    assert!(
        fake.asked("POST").is_empty(),
        "nothing was told to the rollout"
    );
}

#[test]
fn what_is_no_rollout_is_watched_by_its_entry_in_the_list_of_changes() {
    let fake = Fake::start();
    fake.says(
        "GET /api/v1/views/instances",
        json!([{"metadata": {"name": "feed-lax-1"},
        "spec": {"service": "feed"}}]),
    );
    fake.says(
        "POST /api/v1/actions/restart",
        json!({"change": "chg-bbbb"}),
    );
    fake.says("GET /api/v1/changes/chg-bbbb", json!({"summary": {"state": "aborted", "because": "no spare",
        "lastVerdict": null, "updatedAt": 5_000, "change": {"kind": "restart", "title": "restart feed-lax-1",
        "openedAt": 1_000, "reason": "", "actor": {"id": "ana", "verified": true}}}, "entries": []}));
    let output = run(
        &fake,
        &["restart", "feed-lax-1", "--reason", "stuck", "--watch"],
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("restart feed-lax-1 (chg-bbbb) opened by ana"));
    assert!(stdout(&output).contains("1970-01-01T00:00:05Z  aborted: no spare"));
    assert_eq!(
        fake.asked("POST"),
        [(
            "POST /api/v1/actions/restart".to_owned(),
            json!({"instance": "feed-lax-1", "reason": "stuck"})
        )]
    );
}

#[test]
fn a_rollout_is_started_with_its_plan_printed_and_refused_with_the_arithmetic() {
    let fake = Fake::start();
    let plan = json!(["canary: 1 % of lax", "batches of 8"]);
    fake.says(
        "POST /api/v1/actions/rollout",
        json!({"change": "chg-aaaa", "plan": plan}),
    );
    let args = [
        "rollout",
        "start",
        "feed",
        "v2",
        "--reason",
        "cache",
        "--batch",
        "10%",
        "--strategy",
        "blue-green",
    ];
    let output = run(&fake, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "canary: 1 % of lax\nbatches of 8\nchange chg-aaaa\nfollow it: mainstay rollout watch chg-aaaa\n"
    );
    assert_eq!(
        fake.asked("POST")[0].1,
        json!({"service": "feed", "version": "v2", "reason": "cache", "dryRun": false, "batch": "10%",
            "strategy": "blue-green"})
    );
    fake.answers("POST /api/v1/actions/rollout", 409, json!({"code": "denied", "title": "the guard denies it",
        "remedy": "smaller batches", "verdict": {"step": "batch 1", "at": 0, "findings": [{"signal": "capacity",
        "outcome": "fail", "value": "50 instances carry 3,500 rps", "limit": "demand 5,200",
        "remedy": "largest safe batch is 8"}]}}));
    let output = run(&fake, &["rollout", "start", "feed", "v2", "--watch"]);
    assert_eq!(output.status.code(), Some(2));
    for text in [
        "50 instances carry 3,500 rps",
        "demand 5,200",
        "largest safe batch is 8",
        "denied",
    ] {
        assert!(
            stderr(&output).contains(text),
            "{text} in {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_service_stands_for_its_open_rollout_and_where_none_is_open_the_last_is_named() {
    let fake = Fake::start();
    stands(&fake, rollout("running", ""));
    fake.says(
        "POST /api/v1/changes/chg-aaaa/pause",
        json!({"state": "paused"}),
    );
    let output = run(&fake, &["rollout", "pause", "feed", "--reason", "looking"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fake.asked("POST")[0].1, json!({"reason": "looking"}));
    stands(&fake, rollout("done", ""));
    let output = run(&fake, &["rollout", "pause", "feed"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("chg-aaaa, is done"),
        "{}",
        stderr(&output)
    );
    let output = run(&fake, &["rollout", "watch", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("`nobody` is no change"),
        "{}",
        stderr(&output)
    );
    let history = stdout(&run(&fake, &["rollout", "history", "feed"]));
    assert!(
        history.contains("feed v1 → v2") && history.contains("done"),
        "{history}"
    );
}

#[test]
fn rollouts_and_instances_are_listed_as_resources() {
    let fake = Fake::start();
    stands(&fake, rollout("running", ""));
    let instance = json!({"apiVersion": "mainstay/v1", "kind": "Instance", "metadata": {"name": "feed-lax-1"},
        "spec": {"service": "feed", "fabric": "lax", "host": "h1", "version": "v1"},
        "status": {"claimed": "ok", "measured": "failing", "verdict": "lying", "evidence": "0 of 40 rps"}});
    fake.says("GET /api/v1/views/instances", json!([instance]));
    let json = |args: &[&str]| -> Value {
        let output = run(&fake, &[args, &["--output", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(json(&["get", "instances"]), json!([instance]));
    assert_eq!(json(&["get", "instance", "feed-lax-1"]), json!([instance]));
    let rollouts = json(&["get", "rollouts"]);
    assert_eq!(rollouts[0]["metadata"], json!({"name": "chg-aaaa"}));
    assert_eq!(
        (&rollouts[0]["spec"]["to"], &rollouts[0]["status"]["state"]),
        (&json!("v2"), &json!("running"))
    );
    let table = stdout(&run(&fake, &["get", "instances"]));
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .contains("ok       failing   lying"),
        "{table}"
    );
    let missing = run(&fake, &["describe", "instance", "feed-lax-2"]);
    assert_eq!(missing.status.code(), Some(2));
    let described = stdout(&run(&fake, &["describe", "instance", "feed-lax-1"]));
    assert!(
        described.contains("evidence\n    0 of 40 rps"),
        "{described}"
    );
}

#[test]
fn a_query_is_sent_whole_and_its_error_is_marked() {
    let fake = Fake::start();
    fake.says(
        "GET /api/v1/query_range",
        json!({"status": "success", "data": {"resultType": "matrix",
        "result": [{"metric": {"__name__": "up"}, "values": [[1, "1"]]}]}}),
    );
    let args = [
        "query",
        "up{a=\"&\"}",
        "--time",
        "1970-01-01T00:10:00Z",
        "--range",
        "5m",
        "--step",
        "1500ms",
    ];
    assert_eq!(stdout(&run(&fake, &args)), "up{} =>\n1 @[1]\n");
    assert_eq!(
        fake.asked("GET")[0].0,
        "GET /api/v1/query_range?query=up%7Ba%3D%22%26%22%7D&start=300&end=600&step=1.500"
    );
    for status in [200, 400] {
        fake.answers(
            "GET /api/v1/query",
            status,
            json!({"status": "error", "errorType": "bad_data",
            "error": "1:4: unexpected `)`"}),
        );
        let output = run(&fake, &["query", "up )"]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            stderr(&output),
            "error: 1:4: unexpected `)`\n  up )\n     ^\n"
        );
    }
}

#[test]
fn status_leads_with_what_is_blocked() {
    let fake = Fake::start();
    fake.says(
        "GET /api/v1/views/status",
        json!({"blocked": [{"what": "feed v2", "because": "errors",
        "remedy": "roll back"}], "changes": [], "services": [], "hosts": [], "routers": []}),
    );
    let text = stdout(&run(&fake, &["status"]));
    assert!(
        text.starts_with("Blocked: 1\n  feed v2: errors\n    to unblock: roll back\n"),
        "{text}"
    );
    let output = run(&fake, &["status", "--output", "json"]);
    let whole: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(whole["blocked"][0]["what"], "feed v2");
}

#[test]
fn a_reader_that_goes_away_ends_a_completion_script_quietly() {
    let mut child = Command::new(BINARY)
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
