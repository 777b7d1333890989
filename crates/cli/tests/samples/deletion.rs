//! Series that somebody deletes.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::{Server, stderr},
    ask, kept_at, now_ms, numbers, wait,
};

#[test]
fn deleted_samples_are_gone_after_a_kill_and_the_ledger_says_who_did_it() {
    let dir = TempDir::new().unwrap();
    let began_ms = now_ms() - 60_000;
    let mut server = Server::start(dir.path());
    (0..10).for_each(|at| kept_at(&server.url, at, began_ms + at * 1_000));
    let start = (began_ms + 3_000) as f64 / 1_000.0;
    let end = (began_ms + 5_000) as f64 / 1_000.0;
    let path = format!("/api/v1/admin/tsdb/delete_series?match[]=kept&start={start}&end={end}");
    let (code, body) = ask(&server.url, &format!("PUT {path}"), "").unwrap();
    assert_eq!((code, &*body), (204, ""));
    assert_eq!(numbers(&server.url), [0, 1, 2, 6, 7, 8, 9]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(numbers(&server.url), [0, 1, 2, 6, 7, 8, 9]);
    let deleted = server.run(&[
        "metrics",
        "delete",
        "--match",
        "kept",
        "--match",
        "{job=\"none\"}",
        "--reason",
        "a test",
    ]);
    assert!(deleted.status.success(), "{}", stderr(&deleted));
    assert_eq!(numbers(&server.url), [0_u64; 0]);
    kept_at(&server.url, 77, began_ms + 30_000);
    assert_eq!(numbers(&server.url), [77], "what comes later is kept");
    let cleaned = server.run(&["metrics", "clean"]);
    assert!(cleaned.status.success(), "{}", stderr(&cleaned));
    wait(|| {
        let manifest = fs::read_to_string(server.dir.join("metrics/manifest")).unwrap();
        !manifest.contains("deleted")
    });
    let changes = server.json(&["changes", "--kind", "data"]);
    let titles = changes.as_array().unwrap().iter();
    let titles: Vec<&str> = titles
        .map(|it| it["change"]["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        titles,
        [
            "clean deleted samples off the disk",
            "delete samples of kept and {job=\"none\"}",
            "delete samples of kept",
        ]
    );
    assert_eq!(changes[1]["change"]["reason"], "a test");
    assert_eq!(changes[1]["state"], "done");
}

#[test]
fn a_deletion_that_says_nothing_or_nonsense_is_refused() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    for (query, says) in [
        ("", "no match[] parameter provided"),
        ("?match[]=up%5B5m%5D", "selector"),
        ("?match[]=up&start=5&end=4", "before the start"),
        ("?match[]=up&start=soon", "valid timestamp"),
    ] {
        let what = format!("POST /api/v1/admin/tsdb/delete_series{query}");
        let (code, body) = ask(&server.url, &what, "").unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (code, &answer["errorType"]),
            (400, &Value::from("bad_data")),
            "{body}"
        );
        assert!(answer["error"].as_str().unwrap().contains(says), "{body}");
    }
    assert_eq!(
        server.json(&["changes", "--kind", "data"]),
        Value::Array(vec![])
    );
}
