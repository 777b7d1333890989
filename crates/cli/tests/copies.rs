//! Copies of what a server keeps: in a store that speaks S3, on a full disk, and after a kill.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "copies/s3.rs"]
mod s3;
#[path = "copies/server.rs"]
mod server;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use s3::{S3, Way, python};
use serde_json::Value;
use server::{Mainstay, SECRET, asked, program, until};
use tempfile::TempDir;

/// A day's beginning, three days ago, in seconds.
fn began() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now.as_secs() / 86_400 - 3) * 86_400
}

/// A text of `count` samples of each of two series.
fn dump(count: u64) -> String {
    let mut text = "# TYPE kept gauge\n".to_owned();
    for at in ["a", "b"] {
        for number in 0..count {
            let (time, value) = (began() + number, number as f64 / 8.0);
            writeln!(text, "kept{{at=\"{at}\"}} {value} {time}").unwrap();
        }
    }
    text + "# EOF\n"
}

/// Prints name, labels, time and value of each row.
const READER: &str = "
import sys
import pyarrow.parquet as pq
table = pq.ParquetFile(sys.argv[1]).read()
for name, labels, at, value in zip(*(table.column(i) for i in range(4))):
    print(name.as_py(), dict(labels.as_py())['at'], at.value, repr(value.as_py()))
";

fn rows(python: &str, file: &Path) -> Vec<String> {
    let read = Command::new(python)
        .args(["-c", READER])
        .arg(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}");
    let text = String::from_utf8(read.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The same of an answer to a query.
fn rows_of(answer: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for series in answer.as_array().unwrap() {
        let at = series["metric"]["at"].as_str().unwrap();
        for pair in series["values"].as_array().unwrap() {
            let ms = (pair[0].as_f64().unwrap() * 1_000.0).round();
            let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
            rows.push(format!("kept {at} {ms} {value:?}"));
        }
    }
    rows
}

fn restore(from: &str, endpoint: Option<&str>, into: &Path) -> std::process::Output {
    let mut command = program();
    command
        .args(["metrics", "restore", "--from", from, "--data-dir"])
        .arg(into);
    if let Some(endpoint) = endpoint {
        command.args(["--endpoint", endpoint, "--region", "us-east-1"]);
    }
    command.output().unwrap()
}

fn is_copied(server: &Mainstay) -> bool {
    let copy = &server.copies()["copy"];
    copy["parts"].as_u64() > Some(0) && copy["behindSeconds"] == 0.0
}

#[test]
fn a_bucket_holds_nothing_half_after_a_kill_and_everything_later() {
    let Some(python) = python("moto.server, pyarrow.parquet") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let store = S3::start(&python);
    let way = Way::closed(&store);
    let config = format!(
        "[metrics.copy]\nurl = \"s3://copies/shop\"\nendpoint = \"{0}\"\nregion = \"us-east-1\"\n\
         [metrics.archive]\nurl = \"s3://copies/days\"\nendpoint = \"{0}\"\nregion = \"us-east-1\"\n",
        way.url
    );
    let server = Mainstay::start(dir.path(), "data", &config);
    server.import(&dump(500));
    until("an upload is under way", || way.is_holding());
    drop(server);
    assert_eq!(
        store.objects("shop/"),
        Vec::<String>::new(),
        "half an upload is none"
    );
    way.open();

    let server = Mainstay::start(dir.path(), "data", &config);
    until("everything is copied", || is_copied(&server));
    until("the day is archived", || {
        server.copies()["archive"]["days"] == 1
    });
    let kept = server.values();
    assert_eq!(kept.as_array().unwrap().len(), 2);
    let parts = store.objects("shop/parts/");
    assert!(!parts.is_empty());
    let told = server.printed(&["metrics", "copy", "status"]);
    assert!(
        told.contains("s3://copies/shop") && told.contains("up to date"),
        "{told}"
    );
    let metrics = server.text("/metrics");
    assert!(
        metrics.contains("mainstay_metrics_copy_failing 0\n"),
        "{metrics}"
    );
    let shown = server.text("/api/v1/status/config") + &server.said() + &metrics + &told;
    assert!(!shown.contains(SECRET), "a secret is shown");

    let file = dir.path().join("kept.parquet");
    let out = file.to_str().unwrap();
    let export = [
        "metrics",
        "export",
        "--format",
        "parquet",
        "--match",
        "kept",
        "--from",
        "2020-01-01T00:00:00Z",
        "--out",
        out,
    ];
    server.printed(&export);
    assert_eq!(rows(&python, &file), rows_of(&kept));
    let days = store.objects("days/");
    assert_eq!(days.len(), 1, "{days:?}");
    let day = dir.path().join("day.parquet");
    store.save(&python, &days[0], &day);
    assert_eq!(rows(&python, &day), rows_of(&kept));
    drop(server);

    let back = dir.path().join("back");
    let restored = restore("s3://copies/shop", Some(&store.url), &back);
    let errors = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success(), "{errors}");
    assert!(!errors.contains(SECRET), "{errors}");
    let server = Mainstay::start(dir.path(), "back", "");
    assert_eq!(server.values(), kept);
    assert_eq!(server.data, back);
    drop(server);

    let change = |part: &String| store.put(part, b"something else".to_vec());
    parts.iter().for_each(change);
    let other = dir.path().join("other");
    let broken = restore("s3://copies/shop", Some(&store.url), &other);
    assert_eq!(broken.status.code(), Some(2));
    let told = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(told.contains("is not what was uploaded"), "{told}");
    for part in &parts {
        store.remove(part);
    }
    let broken = restore(
        "s3://copies/shop",
        Some(&store.url),
        &dir.path().join("third"),
    );
    let told = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(told.contains("is missing"), "{told}");
}

/// A small disk of its own, where this process may mount one.
struct Disk(PathBuf);

impl Disk {
    fn of(kilobytes: u32, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"]);
        let is_mounted = mount.arg(at).output().is_ok_and(|it| it.status.success());
        if !is_mounted {
            println!("skipped: no file system can be mounted here");
        }
        is_mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self, kilobytes: u32) {
        let size = format!("remount,size={kilobytes}k");
        let grown = Command::new("mount")
            .args(["-o", &size])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // An error leaves a mount behind in a temporary directory, which the test's own end reports.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_of_copies_is_told_and_holds_no_sample_up() {
    let dir = TempDir::new().unwrap();
    let Some(disk) = Disk::of(16, &dir.path().join("copies")) else {
        return;
    };
    let config = format!("[metrics.copy]\nurl = \"file://{}\"\n", disk.0.display());
    let server = Mainstay::start(dir.path(), "data", &config);
    // Values that no code makes small.
    let mut text = "# TYPE kept gauge\n".to_owned();
    let mut state = 1_u64;
    for number in 0..8_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let value = f64::from_bits(state >> 2 | 1 << 61);
        writeln!(text, "kept{{at=\"a\"}} {value:e} {}", began() + number).unwrap();
    }
    server.import(&(text + "# EOF\n"));
    let failing = || {
        server.copies()["copy"]["failing"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until("the disk is full", || !failing().is_empty());
    assert!(failing().contains("No space left"), "{}", failing());
    let told = server.printed(&["metrics", "copy", "status"]);
    assert!(told.contains("failing for"), "{told}");
    assert!(
        server
            .text("/metrics")
            .contains("mainstay_metrics_copy_failing 1\n")
    );
    server.import(&format!("# TYPE more gauge\nmore 1 {}\n# EOF\n", began()));
    let (status, _) = {
        let url = format!("{}/-/ready", server.url);
        asked(move |client| client.get(url)).unwrap()
    };
    assert_eq!(status, 200);
    disk.grow(1_024);
    until("everything is copied", || is_copied(&server));
    assert_eq!(failing(), "");
    let folder = format!("file://{}", disk.0.display());
    drop(server);
    let restored = restore(&folder, None, &dir.path().join("back"));
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
}
