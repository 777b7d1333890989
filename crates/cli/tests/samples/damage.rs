//! What becomes of queries when bytes on disk are not what was written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{super::Server, ask, kept_at, now_ms};

/// Parts of a server that has ended; a start seals what was in its log.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("metrics")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let parts = files.filter(|path| path.extension().is_some_and(|it| it == "part"));
    parts.collect()
}

fn answer(server: &Server) -> Value {
    let (code, body) = ask(&server.url, "GET /api/v1/query?query=kept%5B1h%5D", "").unwrap();
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn found(answer: &Value) -> usize {
    let values = answer["data"]["result"][0]["values"].as_array();
    values.map_or(0, Vec::len)
}

fn sealed(dir: &Path) {
    let server = Server::start(dir);
    super::wait(|| {
        let manifest = fs::read_to_string(server.dir.join("metrics/manifest"));
        manifest.is_ok_and(|text| text.contains(".part"))
    });
}

#[test]
fn a_query_that_meets_damage_is_answered_with_a_warning_and_the_rest() {
    let dir = TempDir::new().unwrap();
    let began_ms = now_ms() - 60_000;
    {
        let server = Server::start(dir.path());
        (0..50).for_each(|at| kept_at(&server.url, at, began_ms + at));
    }
    sealed(dir.path());
    let part = parts(dir.path()).remove(0);
    let whole = fs::read(&part).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&part, bytes).unwrap();
    };
    let (mut warned, mut intact) = (0, 0);
    // The magic, pages of samples, of series and of the index, the directory, the footer.
    for at in [
        2,
        12,
        40,
        whole.len() / 2,
        whole.len() - 60,
        whole.len() - 10,
    ] {
        flipped(at);
        let server = Server::start(dir.path());
        kept_at(&server.url, 99, began_ms + 59_000);
        let answer = answer(&server);
        let (warnings, found) = (answer["warnings"].to_string(), found(&answer));
        assert!(found >= 1, "byte {at}: what came later is served: {answer}");
        if found < 51 {
            assert!(warnings.contains(".part"), "byte {at}: {answer}");
            let (_, metrics) = ask(&server.url, "GET /metrics", "").unwrap();
            let counted = metrics.lines().any(|line| {
                line.starts_with("mainstay_metrics_quarantined{") && line.ends_with(" 1")
            });
            assert!(counted, "byte {at}: {metrics}");
            warned += 1;
        } else {
            intact += 1;
        }
        drop(server);
        // What this round added must not stand in for what is damaged in the next.
        for path in fs::read_dir(dir.path().join("metrics")).unwrap() {
            let path = path.unwrap().path();
            if path.extension().is_some_and(|it| it == "wal") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    assert!(warned >= 3, "{warned} {intact}");
    fs::write(&part, &whole).unwrap();
    let server = Server::start(dir.path());
    let answer = answer(&server);
    assert!(
        found(&answer) >= 50 && answer["warnings"].is_null(),
        "{answer}"
    );
}
