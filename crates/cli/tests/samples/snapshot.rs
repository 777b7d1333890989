//! Snapshots, and data directories made of them.

use tempfile::TempDir;

use super::{
    super::{BINARY, Server, stderr},
    ask, kept_at, now_ms, numbers,
};

#[test]
fn a_snapshot_of_a_running_server_is_restored_into_an_empty_directory_only() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let began_ms = now_ms() - 60_000;
    let server = Server::start(dir.path());
    (0..5).for_each(|at| kept_at(&server.url, at, began_ms + at * 1_000));
    let made = server.run(&["metrics", "snapshot"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let name = String::from_utf8(made.stdout).unwrap();
    kept_at(&server.url, 99, began_ms + 30_000);
    let (code, body) = ask(
        &server.url,
        "PUT /api/v1/admin/tsdb/snapshot?skip_head=true",
        "",
    )
    .unwrap();
    assert!(
        code == 200 && body.contains("\"name\":\"20"),
        "{code} {body}"
    );
    let folder = dir.path().join("metrics/snapshots").join(name.trim());
    let restore = || {
        let mut command = std::process::Command::new(BINARY);
        command.args(["metrics", "restore"]).arg(&folder);
        command
            .arg("--data-dir")
            .arg(other.path())
            .output()
            .unwrap()
    };
    let restored = restore();
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert_eq!(numbers(&Server::start(other.path()).url), [0, 1, 2, 3, 4]);
    let refused = restore();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("name one that holds nothing"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(numbers(&server.url), [0, 1, 2, 3, 4, 99]);
}
