//! The real binary as its user runs it: a server, a client, wrong input, and a kill half-way.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

mod hostile;
mod kills;
mod monitors;
mod oncall;
mod samples;
mod verbs;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

struct Server {
    child: Child,
    url: String,
    dir: PathBuf,
}

impl Server {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    fn start_with(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args([
                "serve",
                "--otlp-listen",
                "none",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("listening on ")
                    .map(|(_, url)| url.trim().to_owned())
            })
            .expect("the server says where it listens");
        Self {
            child,
            url,
            dir: dir.to_owned(),
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(args)
            .args(["--server", &self.url])
            .output()
            .unwrap()
    }

    fn apply(&self, yaml: &str) -> Output {
        let file = self.dir.join("input.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.run(&["apply", "-f", file.to_str().unwrap()])
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fabric(name: &str) -> String {
    format!("apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {{name: {name}}}\nspec: {{}}\n")
}

fn service(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: mainstay/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{owner: team, {rest}}}\n"
    )
}

#[test]
fn what_is_applied_is_listed_recorded_as_one_change_and_the_chain_holds() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let output = server.apply(&format!(
        "{}---\n{}",
        service("feed", "instances: {lax: 3}"),
        fabric("lax")
    ));
    assert!(output.status.success(), "{}", stderr(&output));

    let services = server.json(&["get", "services"]);
    assert_eq!(services[0]["apiVersion"], "mainstay/v1");
    assert_eq!(services[0]["metadata"]["name"], "feed");
    assert_eq!(services, server.json(&["get", "service"]));

    let changes = server.json(&["changes"]);
    assert_eq!(changes.as_array().unwrap().len(), 1);
    assert_eq!(
        (&changes[0]["state"], &changes[0]["change"]["kind"]),
        (&"done".into(), &"apply".into())
    );
    assert_eq!(changes[0]["change"]["actor"]["verified"], false);
    let told = Command::new("id").args(["-un"]).output().unwrap();
    let me = String::from_utf8_lossy(&told.stdout);
    assert_eq!(changes[0]["change"]["actor"]["id"], me.trim());
    assert_eq!(
        server.json(&["ledger", "verify"])["entries"],
        5,
        "one of them takes the leadership"
    );

    let again = server.apply(&fabric("lax"));
    assert!(String::from_utf8_lossy(&again.stdout).contains("fabric/lax unchanged"));
    assert_eq!(
        server.json(&["changes"]).as_array().unwrap().len(),
        1,
        "nothing changed, so no change"
    );
}

#[test]
fn a_catalog_that_cannot_hold_is_refused_whole_with_field_and_remedy() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let refused = |yaml: &str, wanted: &[&str]| {
        let output = server.apply(yaml);
        assert_eq!(output.status.code(), Some(2));
        for text in wanted {
            assert!(
                stderr(&output).contains(text),
                "{text} in {}",
                stderr(&output)
            );
        }
    };
    refused(
        &service("feed", "instances: {nowhere: 3}"),
        &["spec.instances.nowhere", "there is no fabric", "remedy"],
    );
    let call = |to: &str, wait: &str| format!("dependencies: [{{service: {to}, timeout: {wait}}}]");
    let cycle = format!(
        "{}---\n{}",
        service("a", &call("b", "1s")),
        service("b", &call("a", "1s"))
    );
    refused(&cycle, &["cycle: a → b → a"]);
    let outlives = format!(
        "{}---\n{}---\n{}",
        service("a", &call("b", "200ms")),
        service("b", &call("c", "500ms")),
        service("c", "tier: 1")
    );
    refused(&outlives, &["a → b", "b → c", "outlives"]);
    refused(
        &service("a", "replicas: {}"),
        &["input.yaml:4:", "replicas"],
    );
    refused(
        "apiVersion: mainstay/v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n",
        &["input.yaml:2:", "Pod"],
    );
    assert_eq!(server.json(&["get", "services"]), Value::Array(vec![]));
    assert_eq!(server.json(&["ledger", "verify"])["entries"], 1);
}

#[test]
fn a_guard_or_a_policy_that_can_never_hold_is_refused_with_its_place_and_the_remedy() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let guard = |spec: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: Guard\nmetadata: {{name: errors}}\nspec:\n  op: \"<\"\n  limit: 1\n{spec}"
        )
    };
    let policy = |spec: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: RolloutPolicy\nmetadata: {{name: careful}}\nspec: {{{spec}}}\n"
        )
    };
    let before = fabric("lax");
    for (broken, wanted) in [
        (
            guard("  expr: sum(rate(errors_total[5m]) by (job)\n"),
            [
                "input.yaml:12:9: Guard/errors spec.expr: 1:28: expected",
                "mainstay promql check",
            ],
        ),
        (
            guard("  expr: errors_total[5m]\n"),
            [
                "input.yaml:12:9: Guard/errors spec.expr",
                "it is a range vector",
            ],
        ),
        (
            guard("  expr: up\n  window: 10ms\n"),
            [
                "input.yaml:13:11: Guard/errors spec.window",
                "write 1s or more",
            ],
        ),
        (
            guard("  expr: up\n  services: [nobody]\n"),
            [
                "input.yaml:13:13: Guard/errors spec.services",
                "there is no service `nobody`",
            ],
        ),
        (
            policy("batch: 0%"),
            [
                "input.yaml:9:15: RolloutPolicy/careful spec.batch",
                "write a batch above 0 %",
            ],
        ),
        (
            policy("maxEvidenceWait: 10ms"),
            [
                "10ms for evidence, where every gate is open for at least 3s",
                "write more than 3s",
            ],
        ),
    ] {
        let output = server.apply(&format!("{before}---\n{broken}"));
        assert_eq!(output.status.code(), Some(2), "{broken}");
        for text in wanted {
            assert!(
                stderr(&output).contains(text),
                "{text} in {}",
                stderr(&output)
            );
        }
    }
    let twice = server.apply(&format!("{before}---\n{before}"));
    for place in [
        "input.yaml:3:18 and ",
        "input.yaml:8:18: Fabric/lax metadata.name",
    ] {
        assert!(stderr(&twice).contains(place), "{}", stderr(&twice));
    }
    assert_eq!(server.json(&["ledger", "verify"])["entries"], 1);
    let good = guard("  expr: sum(rate(errors_total[5m])) or vector(0)\n");
    let output = server.apply(&format!("{good}---\n{}", policy("batch: 20%")));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path());
    for n in 0..20 {
        assert!(server.apply(&fabric(&format!("f{n}"))).status.success());
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let server = Server::start(dir.path());
    assert_eq!(
        server.json(&["get", "fabrics"]).as_array().unwrap().len(),
        20
    );
    let verified = server.json(&["ledger", "verify"]);
    assert_eq!(
        (&verified["holds"], &verified["entries"]),
        (&true.into(), &62.into())
    );
}

#[test]
fn things_are_pointed_at_by_kind_and_name_as_well_and_several_at_once() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let all = format!("{}---\n{}", fabric("lax"), fabric("iad"));
    assert!(server.apply(&all).status.success());
    let names = |args: &[&str]| {
        let list = server.json(args);
        let one = |it: &Value| it["metadata"]["name"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(names(&["get", "fabric/lax"]), ["lax"]);
    assert_eq!(names(&["get", "fabric", "lax", "iad"]), ["lax", "iad"]);
    assert_eq!(
        names(&["describe", "fabric/iad", "fabrics/lax"]),
        ["iad", "lax"]
    );
    assert_eq!(
        server.json(&["describe", "fabric/iad"])["metadata"]["name"],
        "iad"
    );
    let lonely = server.run(&["describe", "fabric"]);
    assert_eq!(lonely.status.code(), Some(2));
    assert!(
        stderr(&lonely).contains("`KIND/NAME`"),
        "{}",
        stderr(&lonely)
    );

    let deleted = server.run(&["delete", "fabric/lax", "fabric/gone", "fabric/iad"]);
    assert_eq!(deleted.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&deleted.stdout).contains("fabric/lax deleted"));
    assert!(
        stderr(&deleted).contains("no Fabric `gone`"),
        "{}",
        stderr(&deleted)
    );
    assert_eq!(names(&["get", "fabrics"]), ["iad"]);
}

#[test]
fn a_filter_that_cannot_be_is_named_with_what_it_may_be() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let refused = server.run(&["changes", "--kind", "BAD"]);
    assert_eq!(refused.status.code(), Some(2));
    let says = stderr(&refused);
    for part in ["`kind` cannot be `BAD`", "`apply`", "`limit-test`"] {
        assert!(says.contains(part), "{says}");
    }
}

/// Runs a statement on the database of a data directory, as somebody who edits it would.
fn tamper(dir: &Path, statement: &'static str) {
    let file = dir.join("mainstay.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn an_entry_that_was_edited_is_named_and_one_that_cannot_be_read_keeps_the_server_from_starting() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path());
    assert!(server.apply(&fabric("lax")).status.success());
    tamper(
        dir.path(),
        "UPDATE entry SET body = CAST(body AS BLOB) WHERE seq = 3",
    );
    let verified = server.run(&["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let says = "broken at entry 3: its column body holds a BLOB where TEXT belongs\n";
    assert_eq!(String::from_utf8_lossy(&verified.stdout), says);
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let offline = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        let data_dir = dir.path().to_str().unwrap();
        command.args(args).args(["--data-dir", data_dir]).output()
    };
    let verified = offline(&["ledger", "verify"]).unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&verified.stdout), says);
    let refused = offline(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let says = String::from_utf8_lossy(&refused.stderr);
    assert!(
        says.contains("broken at entry 3: its column body") && says.contains("put back a copy"),
        "{says}"
    );
}

#[test]
fn a_fabric_that_services_stand_in_cannot_be_deleted() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    assert!(
        server
            .apply(&format!(
                "{}---\n{}",
                fabric("lax"),
                service("feed", "instances: {lax: 1}")
            ))
            .status
            .success()
    );
    let output = server.run(&["delete", "fabric", "lax"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("Service/feed spec.instances.lax"),
        "{}",
        stderr(&output)
    );
    assert!(server.run(&["delete", "service", "feed"]).status.success());
    assert!(server.run(&["delete", "fabric", "lax"]).status.success());
    assert!(
        server.apply(&fabric("lax")).status.success(),
        "a deleted name may be declared again"
    );
}

#[test]
fn a_diff_ends_with_one_and_names_the_field_that_differs() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    assert!(server.apply(&service("feed", "tier: 1")).status.success());
    let file = dir.path().join("wanted.yaml");
    std::fs::write(&file, service("feed", "tier: 0")).unwrap();
    let output = server.run(&["diff", "-f", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("- .spec.tier: 1") && text.contains("+ .spec.tier: 0"),
        "{text}"
    );
    assert_eq!(
        server.json(&["get", "service", "feed"])[0]["spec"]["tier"],
        1,
        "a diff writes nothing"
    );
}

#[test]
fn without_a_token_no_server_listens_beyond_loopback() {
    let dir = TempDir::new().unwrap();
    let output = Command::new(BINARY)
        .args([
            "serve",
            "--otlp-listen",
            "none",
            "--listen",
            "0.0.0.0:0",
            "--data-dir",
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("mainstay token create"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_missing_server_is_named_with_the_remedy() {
    let output = Command::new(BINARY)
        .args(["get", "services", "--server", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no server answers at http://127.0.0.1:1"),
        "{}",
        stderr(&output)
    );
}

/// One request as another site's page would have the browser send it.
fn ask(url: &str, headers: &str) -> String {
    send(url, "GET /api/v1/changes", headers, "")
}

/// One request, whatever it says.
fn send(url: &str, what: &str, headers: &str, body: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "{what} HTTP/1.1\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_page_of_another_site_cannot_reach_an_open_server_by_rebinding_a_name() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let code = |headers: &str| {
        ask(&server.url, headers)
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(code("Host: localhost\r\n"), "200");
    assert_eq!(code("Host: evil.example\r\n"), "403");
    assert_eq!(
        code("Host: localhost\r\nOrigin: http://evil.example\r\n"),
        "403"
    );
    assert_eq!(
        code("Host: localhost\r\nAuthorization: Bearer mst_guess\r\n"),
        "401"
    );
    assert!(ask(&server.url, "Host: evil.example\r\n").contains("application/problem+json"));
}

#[test]
fn a_request_that_cannot_be_read_gets_a_problem_that_says_where() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let json = "Host: localhost\r\nContent-Type: application/json\r\n";
    for (what, headers, body, status, says) in [
        ("POST /api/v1/apply", json, "{bad", "400", "line 1 column 2"),
        ("POST /api/v1/apply", json, "{}", "422", "resources"),
        (
            "POST /api/v1/apply",
            "Host: localhost\r\n",
            "{}",
            "415",
            "Content-Type",
        ),
        ("GET /api/v1/changes?nosuch=1", json, "", "400", "nosuch"),
        ("GET /api/v1/changes/..", json, "", "400", "remedy"),
        (
            "POST /api/v1/changes/chg-1/abort",
            json,
            "{bad",
            "400",
            "remedy",
        ),
    ] {
        let answer = send(&server.url, what, headers, body);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{what}: {answer}");
        assert!(
            answer.contains("application/problem+json"),
            "{what}: {answer}"
        );
        assert!(answer.contains(says), "{what}: {answer}");
    }
}

#[test]
fn a_method_that_a_route_does_not_take_is_answered_with_those_it_takes() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    for (what, takes) in [
        ("PUT /api/v1/apply", "POST"),
        ("DELETE /api/v1/resources/fabrics", "GET, HEAD"),
        ("DELETE /-/ready", "GET, HEAD"),
    ] {
        let answer = send(&server.url, what, "Host: localhost\r\n", "");
        assert_eq!(answer.split(' ').nth(1), Some("405"), "{what}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.contains("application/problem+json"), "{what}: {head}");
        let allow = format!("allow: {}", takes.to_lowercase().replace(' ', ""));
        assert!(head.contains(&allow), "{what}: {head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "method-not-allowed", "{what}");
        for field in ["title", "remedy"] {
            let says = body[field].as_str().unwrap();
            assert!(says.contains(takes), "{what}: {says}");
        }
    }
}

#[test]
fn a_token_names_the_actor_and_its_scope_is_kept() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let make = |name: &str, scope: &str| {
        let output = Command::new(BINARY)
            .args(["token", "create", name, "--scope", scope, "--data-dir"])
            .arg(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (reader, writer) = (make("dashboard", "read"), make("deployer", "write"));
    let record = |token: &str| server.run(&["change", "record", "dns moved", "--token", token]);
    let refused = record(&reader);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("lacks the scope `write`"),
        "{}",
        stderr(&refused)
    );
    assert!(record(&writer).status.success());
    let changes = server.json(&["changes", "--kind", "recorded"]);
    assert_eq!(
        changes[0]["change"]["actor"],
        serde_json::json!({"id": "deployer", "verified": true})
    );
}

fn freeze(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: mainstay/v1\nkind: Freeze\nmetadata: {{name: {name}}}\nspec: {{reason: holidays{rest}}}\n"
    )
}

/// Asks until the state of change `id` is `wanted`.
fn wait_for(server: &Server, id: &str, wanted: &str) -> Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let change = server.json(&["why", id]);
        let kinds = change["entries"].as_array().unwrap();
        let began = kinds
            .iter()
            .any(|entry| entry["body"].as_str().unwrap().contains("began"));
        if change["summary"]["state"] == wanted && (began || wanted != "running") {
            return change;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{id} never came to {wanted}: {change}"
        );
    }
}

#[test]
fn a_freeze_is_walked_by_the_runtime_survives_a_kill_and_ends_with_its_resource() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path());
    assert!(server.apply(&freeze("holidays", "")).status.success());
    wait_for(&server, "freeze-holidays-1", "running");
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let server = Server::start(dir.path());
    assert_eq!(
        server
            .json(&["changes", "--kind", "freeze", "--state", "running"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let edited = server.apply(&freeze("holidays", ", until: 99999999999999"));
    assert!(
        stderr(&edited).contains("delete it and declare another"),
        "{}",
        stderr(&edited)
    );
    assert!(
        server
            .run(&["delete", "freeze", "holidays", "--reason", "back at work"])
            .status
            .success()
    );
    let lifted = wait_for(&server, "freeze-holidays-1", "done");
    let because = lifted["summary"]["because"].as_str().unwrap();
    assert!(because.ends_with(": back at work"), "{because}");

    let nobody = server.apply(&freeze("typo", ", services: [voyger]"));
    assert!(
        stderr(&nobody).contains("there is no service `voyger`"),
        "{}",
        stderr(&nobody)
    );
    let past = server.apply(&freeze("late", ", until: 1000"));
    assert!(stderr(&past).contains("spec.until"), "{}", stderr(&past));
    let soon = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
        + 1_500;
    assert!(
        server
            .apply(&freeze("brief", &format!(", until: {soon}")))
            .status
            .success()
    );
    wait_for(&server, "freeze-brief-1", "done");
    assert_eq!(server.json(&["ledger", "verify"])["holds"], true);
}

#[test]
fn changes_are_listed_newest_first_whatever_their_ids_and_each_filter_is_kept() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    for n in 0..12 {
        let service = ["feed", "profile"][n % 2];
        let title = format!("made elsewhere {n}");
        let output = server.run(&["change", "record", &title, "--service", service]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(server.apply(&fabric("lax")).status.success());
    let titles = |args: &[&str]| -> Vec<String> {
        let list = server.json(&[&["changes"], args].concat());
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| row["change"]["title"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = titles(&[]);
    assert_eq!(all.len(), 13);
    assert_eq!(
        all[1..4],
        ["made elsewhere 11", "made elsewhere 10", "made elsewhere 9"]
    );
    assert_eq!(titles(&["--limit", "2"])[..], all[..2]);
    assert_eq!(titles(&["--kind", "apply"])[..], all[..1]);
    let feed = titles(&["--service", "feed", "--state", "done", "--limit", "2"]);
    assert_eq!(feed, ["made elsewhere 10", "made elsewhere 8"]);
    assert!(titles(&["--state", "running"]).is_empty());
    assert!(titles(&["--service", "feed", "--kind", "apply"]).is_empty());
}

#[test]
fn a_freeze_may_be_written_with_times_that_people_read() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let written = "\n  from: 2098-12-20T00:00:00Z\n  until: 2099-01-02T00:00:00+01:00\n";
    let yaml = freeze("holidays", "").replace(
        "{reason: holidays}",
        &format!("\n  reason: holidays{written}"),
    );
    let output = server.apply(&yaml);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(server.run(&["get", "freezes"]).stdout).unwrap();
    assert!(
        table.contains("2098-12-20T00:00:00Z") && table.contains("2099-01-01T23:00:00Z"),
        "{table}"
    );
    let wrong = server.apply(&yaml.replace("2099-01-02T00:00:00+01:00", "next year"));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("input.yaml:7") && stderr(&wrong).contains("2026-11-05T18:00:00Z"),
        "{}",
        stderr(&wrong)
    );
}
