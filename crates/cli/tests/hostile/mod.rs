//! What hostile or broken senders and askers get: a clear answer, bounded memory, and nothing lost beside it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use mainstay_siege::{Answer, Connection, WRITE_HEADERS, WriteRequest, usage};
use serde_json::Value;
use tempfile::TempDir;

use super::Server;

const PATIENCE: Duration = Duration::from_mins(2);
const MIB: u64 = 1 << 20;

fn now_ms() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn address(server: &Server) -> SocketAddr {
    let url = server.url.trim_start_matches("http://");
    url.parse().unwrap()
}

fn connection(server: &Server) -> Connection {
    Connection::open(address(server), PATIENCE).unwrap()
}

fn write(server: &Server, body: &[u8]) -> Answer {
    let mut connection = connection(server);
    connection
        .post("/api/v1/write", &WRITE_HEADERS, body)
        .unwrap()
}

fn delivery(series: &[(&str, &[(u64, f64)])]) -> Vec<u8> {
    let mut request = WriteRequest::default();
    for (name, samples) in series {
        request.series(&[("__name__", name)], samples);
    }
    request.packed().unwrap()
}

/// The last of `count_over_time` of a metric in the last hour.
fn count(server: &Server, metric: &str) -> u64 {
    let path = format!("/api/v1/query?query=count_over_time({metric}%5B1h%5D)");
    let answer = connection(server).get(&path).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let count = answer["data"]["result"][0]["value"][1].as_str();
    count.map_or(0, |it| it.parse().unwrap())
}

fn peak(server: &Server) -> u64 {
    usage(server.child.id()).unwrap().peak_bytes
}

#[test]
fn a_delivery_may_be_repeated_and_one_that_differs_is_refused_with_its_reason() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let at = now_ms() - 60_000;
    let several = [(at, 1.0), (at + 1_000, 2.0), (at + 2_000, 3.0)];
    let body = delivery(&[("kept", &several)]);
    for _ in 0..3 {
        let answer = write(&server, &body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let other = delivery(&[("kept", &[(at + 1_000, 7.0)]), ("beside", &[(at, 1.0)])]);
    let answer = write(&server, &other);
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("1 out-of-order"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        Some("1")
    );
    assert_eq!((count(&server, "kept"), count(&server, "beside")), (3, 1));
}

#[test]
fn times_far_from_the_clock_are_refused_or_taken_and_what_is_kept_stays() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let at = now_ms();
    let kept = delivery(&[("kept", &[(at - 1_000, 1.0)])]);
    assert_eq!(write(&server, &kept).status, 204);
    // A sender whose clock is eleven minutes, and one whose clock is a century ahead.
    for ahead in [11 * 60_000, 100 * 365 * 86_400_000] {
        let answer = write(&server, &delivery(&[("kept", &[(at + ahead, 2.0)])]));
        assert_eq!(answer.status, 400);
        let told = answer.text();
        assert!(told.contains("more than ten minutes ahead"), "{told}");
    }
    // One whose clock begins again in 1970 makes a series of its own that is as old as it says.
    let old = delivery(&[("reborn", &[(1_000, 1.0)])]);
    assert_eq!(write(&server, &old).status, 204);
    // Its clock set right, it goes on.
    let right = delivery(&[("reborn", &[(at, 1.0)]), ("kept", &[(at, 2.0)])]);
    assert_eq!(write(&server, &right).status, 204);
    assert_eq!((count(&server, "kept"), count(&server, "reborn")), (2, 1));
}

#[test]
fn a_label_bomb_is_refused_with_its_reason_and_the_series_beside_it_is_written() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let before = peak(&server);
    let at = now_ms();
    let names: Vec<String> = (0..1_000).map(|it| format!("label_{it:04}")).collect();
    let many: Vec<(&str, &str)> = [("__name__", "many")]
        .into_iter()
        .chain(names.iter().map(|name| (name.as_str(), "x")))
        .collect();
    let long = "x".repeat(8 << 20);
    let mut request = WriteRequest::default();
    request.series(&many, &[(at, 1.0)]);
    request.series(&[("__name__", "long"), ("path", &long)], &[(at, 1.0)]);
    request.series(&[("__name__", "beside")], &[(at, 1.0)]);
    let answer = write(&server, &request.packed().unwrap());
    let told = answer.text();
    assert_eq!(answer.status, 400, "{told}");
    assert!(told.starts_with("1 samples are written"), "{told}");
    assert!(told.contains("label") && told.len() < 4_096, "{told}");
    assert_eq!(count(&server, "beside"), 1);
    // A name for each sample: what one delivery can make is bounded by its bytes.
    let mut request = WriteRequest::default();
    for it in 0..50_000 {
        request.series(
            &[("__name__", "each"), ("id", &it.to_string())],
            &[(at, 1.0)],
        );
    }
    let answer = write(&server, &request.packed().unwrap());
    assert_eq!(answer.status, 204, "{}", answer.text());
    let grown = peak(&server) - before;
    assert!(grown < 256 * MIB, "{} MiB", grown / MIB);
}

#[test]
fn what_would_unpack_to_a_gigabyte_is_refused_and_takes_no_memory() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let before = peak(&server);
    // Snappy that says so …
    let says = [&[0x80, 0x80, 0x80, 0x80, 0x04][..], &[0; 64]].concat();
    let answer = write(&server, &says);
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(
        answer.text().contains("send smaller batches"),
        "{}",
        answer.text()
    );
    // … and snappy that says less than it has.
    let mut lies = snap_of_zeros(20 << 20);
    lies[0] = 0x01;
    assert_eq!(write(&server, &lies).status, 400);
    // Gzip of a gigabyte of zeros, in as many members as it takes.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = packed.finish().unwrap().repeat(16);
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
    ];
    let mut connection = connection(&server);
    let answer = connection.post("/api/v1/otlp/v1/metrics", &headers, &bomb);
    assert_eq!(answer.unwrap().status, 413);
    let grown = peak(&server) - before;
    assert!(grown < 256 * MIB, "{} MiB", grown / MIB);
    let at = now_ms();
    assert_eq!(
        write(&server, &delivery(&[("after", &[(at, 1.0)])])).status,
        204
    );
}

/// As `bytes` zeros are packed, nearly.
fn snap_of_zeros(bytes: usize) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut length = bytes;
    while length >= 0x80 {
        packed.push(length as u8 | 0x80);
        length >>= 7;
    }
    packed.push(length as u8);
    // One zero, then copies of 64 bytes from one byte back.
    packed.extend([0x00, 0x00]);
    for _ in 0..bytes / 64 {
        packed.extend([63 << 2 | 2, 1, 0]);
    }
    packed
}

#[test]
fn a_query_that_would_need_a_hundred_gigabytes_ends_with_what_to_do_and_holds_nobody_up() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let at = now_ms();
    let series: Vec<String> = (0..100).map(|it| format!("wide_{it:03}")).collect();
    let samples = [(at - 1_000, 1.0)];
    let all: Vec<(&str, &[(u64, f64)])> = series
        .iter()
        .map(|name| (name.as_str(), &samples[..]))
        .collect();
    assert_eq!(write(&server, &delivery(&all)).status, 204);
    let before = peak(&server);
    // A hundred series, each looked at every millisecond of thirty days: 260 billion samples.
    let expr = "max_over_time(%7B__name__%3D~%22wide_.%2B%22%7D%5B30d:1ms%5D)";
    let answer = connection(&server).get(&format!("/api/v1/query?query={expr}"));
    let answer = answer.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());
    let told = answer.text();
    assert!(
        told.contains("execution") && told.contains("ask for less"),
        "{told}"
    );
    let grown = peak(&server) - before;
    assert!(grown < 1_500 * MIB, "{} MiB", grown / MIB);
    assert_eq!(
        write(&server, &delivery(&[("after", &[(at, 1.0)])])).status,
        204
    );
    assert_eq!(count(&server, "after"), 1);
}

#[test]
fn of_ten_thousand_queries_at_once_each_is_answered_or_told_to_come_again_and_samples_are_taken() {
    const THREADS: usize = 50;
    const EACH: usize = 200;
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let at = now_ms() - 600_000;
    assert_eq!(
        write(&server, &delivery(&[("kept", &[(at, 0.0)])])).status,
        204
    );
    let before = peak(&server);
    let (good, told, cut) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let written = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let open: Vec<_> = (0..EACH).map(|_| asked(address(&server))).collect();
                for stream in open {
                    let counter = match stream.and_then(status) {
                        Some(200) => &good,
                        Some(429 | 503) => &told,
                        Some(other) => panic!("{other}"),
                        None => &cut,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // A sender that is told to come again does.
        let mut written = 0;
        while written < 20 {
            let body = delivery(&[("kept", &[(at + (written + 1) * 1_000, 1.0)])]);
            let sent = Connection::open(address(&server), PATIENCE)
                .and_then(|mut it| it.post("/api/v1/write", &WRITE_HEADERS, &body));
            match sent {
                Ok(answer) if answer.is_good() => written += 1,
                Ok(answer) => assert!(matches!(answer.status, 429 | 503), "{}", answer.text()),
                Err(_) => thread::yield_now(),
            }
        }
        written
    });
    let (good, told, cut) = (good.into_inner(), told.into_inner(), cut.into_inner());
    assert_eq!(good + told + cut, (THREADS * EACH) as u64);
    assert!(good > 0, "{good} answered, {told} told, {cut} cut off");
    let grown = peak(&server) - before;
    assert!(grown < 1_024 * MIB, "{} MiB", grown / MIB);
    assert_eq!(count(&server, "kept"), written + 1);
}

/// A connection on which a query was asked.
fn asked(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let question = "GET /api/v1/query?query=sum(kept) HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(question.as_bytes()).ok()?;
    Some(stream)
}

/// The code of an answer; nothing where the connection was closed without one.
fn status(mut stream: TcpStream) -> Option<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(head.get(9..)?).ok()?.parse().ok()
}
