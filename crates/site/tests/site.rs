//! The real binary, as release builder, instance and load generator.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should fail where it stands"
)]

mod running;

use std::process::Command;

use running::{PatternServer, Running, Serves, artifact, folder, load, site, until};
use serde_json::Value;

#[test]
fn a_built_artifact_says_what_it_is_and_differs_by_version() {
    let out = folder("a_built_artifact");
    let one = artifact(
        &out,
        "feed",
        "1.0.0",
        &["--workers", "3", "--defect", "slow=0.1,ms=9"],
    );
    let again = artifact(
        &folder("a_built_artifact_again"),
        "feed",
        "1.0.0",
        &["--workers", "3", "--defect", "slow=0.1,ms=9"],
    );
    let two = artifact(&out, "feed", "1.0.1", &["--workers", "3"]);
    let output = site().arg("inspect").arg(&one).output().unwrap();
    let spec: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(spec["service"], "feed");
    assert_eq!(spec["version"], "1.0.0");
    assert_eq!(spec["workers"], 3);
    assert_eq!(spec["defects"][0]["kind"], "slow");
    let bytes = std::fs::read(&one).unwrap();
    assert_eq!(bytes, std::fs::read(&again).unwrap());
    assert_ne!(bytes, std::fs::read(&two).unwrap());
}

#[test]
fn a_running_process_is_the_artifact_byte_for_byte() {
    let out = folder("a_running_process");
    let path = artifact(&out, "feed", "1.0.0", &[]);
    let instance = Running::start(&path, &[]);
    let image = std::fs::read(format!("/proc/{}/exe", instance.pid())).unwrap();
    assert_eq!(image, std::fs::read(&path).unwrap());
}

#[test]
fn an_artifact_builds_another_without_nesting_trailers() {
    let out = folder("an_artifact_builds");
    let first = artifact(&out, "feed", "1.0.0", &[]);
    let status = Command::new(&first)
        .args(["build", "--service", "ads", "--version", "2", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(status.status.success());
    let direct = artifact(&folder("an_artifact_builds_direct"), "ads", "2", &[]);
    assert_eq!(
        std::fs::read(out.join("ads/2/run")).unwrap(),
        std::fs::read(direct).unwrap()
    );
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let out = folder("names_that_would_leave");
    for version in ["..", "../x", "a/b", ""] {
        let output = site()
            .args(["build", "--service", "feed", "--version", version, "--out"])
            .arg(&out)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{version:?} was accepted");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn an_instance_serves_and_exports_metrics() {
    let out = folder("an_instance_serves");
    let path = artifact(&out, "feed", "1.4.2", &["--service-ms", "2"]);
    let instance = Running::start(&path, &[]);
    for _ in 0..3 {
        let answer = instance.get("/feed/home");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-service-version"), Some("1.4.2"));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["service"], "feed");
        assert_eq!(body["instance"], "test-1");
    }
    assert_eq!(instance.get("/feed/nothing").status, 404);
    assert_eq!(instance.get("/ads/home").status, 404);
    assert_eq!(instance.get("/healthz").status, 200);
    let metrics = instance.get("/metrics").body;
    for line in [
        "http_requests_total{route=\"/feed/home\",code=\"200\"} 3",
        "http_requests_total{route=\"other\",code=\"404\"} 2",
        "http_request_duration_seconds_count{route=\"/feed/home\"} 3",
        "http_request_duration_seconds_bucket{route=\"/feed/home\",le=\"+Inf\"} 3",
        "http_in_flight 0",
        "site_build_info{service=\"feed\",version=\"1.4.2\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    assert!(metrics.contains("\nprocess_start_time_seconds "));
}

#[test]
fn an_overloaded_instance_says_so_and_recovers() {
    let out = folder("an_overloaded_instance");
    let path = artifact(
        &out,
        "feed",
        "1",
        &[
            "--workers",
            "2",
            "--queue",
            "2",
            "--service-ms",
            "2000",
            "--spread",
            "0",
        ],
    );
    let instance = Running::start(&path, &[]);
    assert_eq!(instance.get("/healthz").status, 200);
    let held: Vec<_> = (0..4).map(|_| instance.send("/feed/home")).collect();
    instance.until_metric("site_queue_length", 2.0);
    assert_eq!(instance.get("/feed/home").status, 503);
    assert_eq!(instance.get("/healthz").status, 503);
    for request in held {
        assert_eq!(request.read().unwrap().status, 200);
    }
    until(|| instance.get("/healthz").status == 200);
}

#[test]
fn lying_health_says_ok_while_requests_hang() {
    let out = folder("lying_health");
    let path = artifact(
        &out,
        "feed",
        "1",
        &[
            "--workers",
            "2",
            "--queue",
            "1",
            "--service-ms",
            "60000",
            "--spread",
            "0",
            "--defect",
            "lying-health",
        ],
    );
    let instance = Running::start(&path, &[]);
    let _held: Vec<_> = (0..3).map(|_| instance.send("/feed/home")).collect();
    instance.until_metric("site_queue_length", 1.0);
    let hanging = instance.send("/feed/home");
    instance.until_metric("http_in_flight", 4.0);
    assert_eq!(instance.get("/healthz").status, 200);
    // A deadline does not help: the connection is never given back.
    let late = instance.send_with("/feed/home", "x-mainstay-deadline-ms: 1\r\n");
    instance.until_metric("http_in_flight", 5.0);
    assert!(hanging.is_silent());
    assert!(late.is_silent());
    drop(hanging);
    instance.until_metric("http_in_flight", 4.0);
    let metrics = instance.get("/metrics").body;
    assert!(metrics.contains("code=\"499\"} 1"), "{metrics}");
}

#[test]
fn a_hanging_release_loses_its_workers_after_overload_for_good() {
    let out = folder("a_hanging_release");
    let path = artifact(
        &out,
        "feed",
        "1",
        &[
            "--workers",
            "1",
            "--queue",
            "1",
            "--service-ms",
            "500",
            "--spread",
            "0",
            "--defect",
            "hang",
        ],
    );
    let instance = Running::start(&path, &[]);
    let first = instance.send("/feed/home");
    instance.until_metric("http_in_flight", 1.0);
    let second = instance.send("/feed/home");
    instance.until_metric("site_queue_length", 1.0);
    let third = instance.send("/feed/home");
    assert_eq!(first.read().unwrap().status, 200);
    // The queued request took the only worker with it.
    instance.until_metric("site_queue_length", 0.0);
    instance.until_metric("site_idle_workers", 0.0);
    assert!(second.is_silent() && third.is_silent());
    drop((second, third));
    instance.until_metric("http_in_flight", 0.0);
    instance.until_metric("site_idle_workers", 0.0);
    assert_eq!(instance.get("/healthz").status, 503);
}

#[test]
fn errors_bite_only_the_route_they_name() {
    let out = folder("errors_bite");
    let path = artifact(
        &out,
        "feed",
        "1",
        &["--service-ms", "1", "--defect", "errors=1,route=/feed/home"],
    );
    let instance = Running::start(&path, &[]);
    assert_eq!(instance.get("/feed/home").status, 500);
    assert_eq!(instance.get("/feed/updates").status, 200);
}

#[test]
fn a_leak_bites_late() {
    let out = folder("a_leak");
    let path = artifact(
        &out,
        "feed",
        "1",
        &["--service-ms", "1", "--defect", "leak=2,mb=4"],
    );
    let instance = Running::start(&path, &[]);
    for _ in 0..20 {
        assert_eq!(instance.get("/feed/home").status, 200);
    }
    let before = instance.metric("process_resident_memory_bytes").unwrap();
    until(|| instance.get("/feed/home").status == 500);
    let after = instance.metric("process_resident_memory_bytes").unwrap();
    assert!(after > before, "{before} then {after}");
}

#[test]
fn a_request_past_its_deadline_is_given_up() {
    let out = folder("a_request_past");
    let path = artifact(
        &out,
        "feed",
        "1",
        &["--service-ms", "60000", "--spread", "0"],
    );
    let instance = Running::start(&path, &[]);
    let late = instance.send_with("/feed/home", "x-mainstay-deadline-ms: 20\r\n");
    assert_eq!(late.read().unwrap().status, 504);
}

#[test]
fn a_dependency_is_called_with_user_and_deadline_and_named_in_the_answer() {
    let out = folder("a_dependency");
    let router = PatternServer::start(&[200]);
    let path = artifact(
        &out,
        "feed",
        "1",
        &["--service-ms", "1", "--dependency", "identity/profile"],
    );
    let base = format!("http://{}", router.address());
    let instance = Running::start(&path, &[("ROUTER", &base)]);
    let request = "x-mainstay-deadline-ms: 30000\r\nx-user-id: u7\r\n";
    let answer = instance.send_with("/feed/home", request).read().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("x-dependency-versions"),
        Some("identity=9.9.9")
    );
    let asked = router.requests();
    assert!(asked[0].starts_with("GET /identity/profile HTTP/1.1"));
    assert!(asked[0].contains("x-user-id: u7"));
    let left: u64 = asked[0]
        .lines()
        .find_map(|line| line.strip_prefix("x-mainstay-deadline-ms: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..30_000).contains(&left), "{left}");
}

#[test]
fn sigterm_finishes_the_request_in_flight_and_ends_with_success() {
    let out = folder("sigterm");
    let path = artifact(&out, "feed", "1", &["--service-ms", "400", "--spread", "0"]);
    let mut instance = Running::start(&path, &[]);
    let request = instance.send("/feed/home");
    instance.until_metric("http_in_flight", 1.0);
    instance.signal("TERM");
    assert_eq!(request.read().unwrap().status, 200);
    assert!(instance.wait().success());
}

#[test]
fn the_stop_command_stops_an_honest_release() {
    let out = folder("the_stop_command");
    let path = artifact(&out, "feed", "1", &[]);
    let mut instance = Running::start(&path, &[]);
    assert_eq!(instance.get("/admin/stop").status, 405);
    let answer = instance.post("/admin/stop");
    assert!(answer.body.contains("\"stopped\""));
    assert!(instance.wait().success());
}

#[test]
fn a_release_that_ignores_stop_survives_both_ways_to_stop_it() {
    let out = folder("a_release_that_ignores");
    let path = artifact(&out, "feed", "1", &["--defect", "ignores-stop"]);
    let mut instance = Running::start(&path, &[]);
    let answer = instance.post("/admin/stop");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\"stopped\""));
    instance.signal("TERM");
    until(|| !instance.signal_pending("TERM"));
    assert_eq!(instance.get("/feed/home").status, 200);
    assert!(instance.is_running());
    instance.signal("KILL");
    assert!(!instance.wait().success());
}

#[test]
fn load_counts_failures_exactly() {
    // Every fourth answer is a 500, every fourth a closed connection.
    let server = PatternServer::start(&[200, 500, 200, 0]);
    let file = folder("load_counts").join("report.json");
    let (report, status) = load(
        &server,
        &[
            "--rate",
            "100",
            "--duration",
            "2",
            "--users",
            "10",
            "--bad-version",
            "feed=9.9.9",
            "--routes",
            "/feed/home=3,/feed/updates=1",
            "--report-file",
            file.to_str().unwrap(),
        ],
    );
    assert!(status.success(), "{report}");
    let served = server.requests().len() as u64;
    let requests = report["requests"].as_u64().unwrap();
    assert!(requests > 100, "{report}");
    assert_eq!(requests, served);
    let counted = server.counted();
    assert_eq!(report["failures"]["status"], counted.errors);
    assert_eq!(report["failures"]["transport"], counted.closed);
    assert_eq!(report["failed"], counted.errors + counted.closed);
    assert_eq!(report["bad_version_requests"], requests - counted.closed);
    assert_eq!(report["bad_version_users"], 10);
    assert!(report["exposed_s"].as_f64().unwrap() > 1.0);
    let by_route = |key: &str| {
        report["routes"]
            .as_object()
            .unwrap()
            .values()
            .map(|route| route[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(by_route("requests"), requests);
    assert_eq!(by_route("failed"), counted.errors + counted.closed);
    let followed: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(followed, report);
}

#[test]
fn load_counts_silence_as_failure_and_latency_from_the_planned_instant() {
    let out = folder("load_counts_silence");
    let path = artifact(
        &out,
        "feed",
        "1",
        &["--service-ms", "60000", "--spread", "0"],
    );
    let instance = Running::start(&path, &[]);
    let (report, _) = load(
        &instance,
        &["--rate", "20", "--duration", "1", "--deadline-ms", "300"],
    );
    assert_eq!(report["failed"], report["requests"]);
    assert_eq!(report["outage_s"], 1);
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() >= 290.0);
}

#[test]
fn load_refuses_to_leave_this_machine() {
    let output = site()
        .args([
            "load",
            "--target",
            "http://192.0.2.1:80",
            "--rate",
            "1",
            "--duration",
            "1",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a loopback address"));
}

#[test]
fn a_late_generator_says_void_and_exits_with_4() {
    let server = PatternServer::start(&[200]);
    let (report, status) = load(
        &server,
        &["--rate", "50", "--duration", "1", "--max-lag-ms", "0"],
    );
    assert_eq!(status.code(), Some(4));
    assert_eq!(report["void"].as_array().unwrap().len(), 1);
}

#[test]
fn load_ends_early_on_sigterm_and_still_reports() {
    let server = PatternServer::start(&[200]);
    let mut child =
        running::load_command(&server.address(), &["--rate", "100", "--duration", "3600"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
    server.until_served(20);
    running::send_signal(child.id(), "TERM");
    let output = {
        let mut text = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
        text
    };
    assert!(child.wait().unwrap().success());
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["finished"], true);
    assert_eq!(report["requests"], server.requests().len() as u64);
}

#[test]
fn a_stalled_site_shows_in_the_latency_of_all_who_came_meanwhile() {
    let out = folder("a_stalled_site");
    let path = artifact(
        &out,
        "feed",
        "1",
        &[
            "--workers",
            "1",
            "--queue",
            "1000",
            "--service-ms",
            "1",
            "--spread",
            "0",
            "--defect",
            "slow=0.02,ms=400",
        ],
    );
    let instance = Running::start(&path, &[]);
    let (report, _) = load(&instance, &["--rate", "100", "--duration", "2"]);
    assert_eq!(report["failed"], 0);
    // One request in fifty is slow, but those behind it wait too: were waiting users to hold back
    // later ones, the median would be a few milliseconds.
    assert!(
        report["latency_ms"]["p50"].as_f64().unwrap() > 40.0,
        "{report}"
    );
}
