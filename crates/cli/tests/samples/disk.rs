//! Samples on a disk that is full, and on one that nothing can be written to.

use mainstay_siege::SmallDisk;
use tempfile::TempDir;

use super::{
    super::{BINARY, Server, stderr},
    ask, gauge, kept_at, now_ms, numbers, wait,
};

#[test]
fn on_a_full_disk_nothing_is_acknowledged_orders_say_why_and_with_room_it_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let Some(disk) = SmallDisk::mount(300, &data).unwrap() else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let began_ms = now_ms() - 60_000;
    let mut server = Server::start(&data);
    (0..3).for_each(|at| kept_at(&server.url, at, began_ms + at));

    disk.fill(0).unwrap();
    let send = |url: &str, value: u64| {
        let body = gauge(value, began_ms + value);
        ask(url, "POST /api/v1/otlp/v1/metrics", &body).unwrap()
    };
    for value in 3..6 {
        let (code, body) = send(&server.url, value);
        assert!(
            code == 503 && body.contains("disk is full"),
            "{code} {body}"
        );
    }
    assert!(
        numbers(&server.url).starts_with(&[0, 1, 2]),
        "what was there is read"
    );
    let dump = dir.path().join("old.txt");
    std::fs::write(&dump, "# TYPE old gauge\nold 1 1700000000000\n").unwrap();
    let dump = dump.to_str().unwrap();
    for order in [
        &["metrics", "delete", "--match", "kept"][..],
        &["metrics", "clean"],
        &["metrics", "snapshot"],
        &["import", dump],
    ] {
        let refused = server.run(order);
        assert_eq!(refused.status.code(), Some(2), "{order:?}");
        let told = stderr(&refused);
        assert!(told.contains("disk is full"), "{order:?}: {told}");
    }

    disk.empty().unwrap();
    wait(|| send(&server.url, 6).0 == 200);
    let made = server.run(&["metrics", "snapshot"]);
    assert!(made.status.success(), "{}", stderr(&made));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Server::start(&data);
    let found = numbers(&server.url);
    let acknowledged = |value: &u64| [0, 1, 2, 6].contains(value);
    let kept: Vec<u64> = found.iter().copied().filter(acknowledged).collect();
    assert_eq!(kept, [0, 1, 2, 6], "{found:?}");
    let verified = server.run(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    drop(server);

    disk.make_read_only().unwrap();
    let refused = std::process::Command::new(BINARY)
        .args(["serve", "--otlp-listen", "none", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = stderr(&refused);
    assert!(
        told.contains("mainstay.db") && told.to_lowercase().replace('-', "").contains("readonly"),
        "{told}"
    );
}
