//! What becomes of samples when the server is killed while they come in.

mod damage;
mod deletion;
mod disk;
mod downsampling;
mod import;
mod snapshot;

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Server;

const LIMIT: Duration = Duration::from_secs(30);

/// The code and body of an answer, if there is one.
fn ask(url: &str, what: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(cut)?, body.to_owned()))
}

fn gauge(value: u64, at_ms: u64) -> String {
    let point = json!({ "timeUnixNano": (at_ms * 1_000_000).to_string(), "asDouble": value });
    let metric = json!({ "name": "kept", "gauge": { "dataPoints": [point] } });
    json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] }).to_string()
}

/// Sends numbers from `next` on, one a millisecond of the series' time, until nobody answers; counts those that
/// were acknowledged.
fn send_numbers(url: &str, began_ms: u64, next: &AtomicU64) {
    loop {
        let number = next.load(Ordering::Relaxed);
        let body = gauge(number, began_ms + number);
        match ask(url, "POST /api/v1/otlp/v1/metrics", &body) {
            Ok((200, _)) => next.store(number + 1, Ordering::Relaxed),
            Ok((code, body)) => panic!("{code} {body}"),
            Err(_) => return,
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

/// One sample of `kept`, acknowledged.
fn kept_at(url: &str, value: u64, at_ms: u64) {
    let (code, body) = ask(url, "POST /api/v1/otlp/v1/metrics", &gauge(value, at_ms)).unwrap();
    assert_eq!(code, 200, "{body}");
}

fn wait(mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !until() {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::yield_now();
    }
}

fn numbers(url: &str) -> Vec<u64> {
    let (code, body) = ask(url, "GET /api/v1/query?query=kept%5B1h%5D", "").unwrap();
    assert_eq!(code, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let values = answer["data"]["result"][0]["values"].as_array();
    let number = |pair: &Value| pair[1].as_str().unwrap().parse().unwrap();
    values.into_iter().flatten().map(number).collect()
}

#[test]
fn every_sample_that_was_acknowledged_is_there_after_a_kill() {
    let dir = TempDir::new().unwrap();
    let began_ms = now_ms() - 60_000;
    let next = AtomicU64::new(0);
    for round in 1..=3 {
        let mut server = Server::start(dir.path());
        let found = numbers(&server.url);
        let acknowledged = next.load(Ordering::Relaxed);
        let at_least: Vec<u64> = (0..acknowledged).collect();
        assert!(found.starts_with(&at_least), "{acknowledged}: {found:?}");
        // The one that was under way may have been kept as well.
        assert!(found.len() <= at_least.len() + 1, "{found:?}");
        std::thread::scope(|scope| {
            scope.spawn(|| send_numbers(&server.url, began_ms, &next));
            let deadline = Instant::now() + LIMIT;
            while next.load(Ordering::Relaxed) < round * 100 {
                assert!(Instant::now() < deadline, "samples are not acknowledged");
                std::thread::yield_now();
            }
            server.child.kill().unwrap();
            server.child.wait().unwrap();
        });
    }
    assert!(numbers(&Server::start(dir.path()).url).len() >= 300);
}

#[test]
fn a_second_server_on_the_same_samples_is_told_so() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let second = std::process::Command::new(super::BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&server.dir)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    let told = super::stderr(&second);
    assert!(told.contains("another process uses this folder"), "{told}");
}
