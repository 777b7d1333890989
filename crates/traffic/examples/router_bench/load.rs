//! The load: 64 kept connections, each with one request under way.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Result;

const CONNECTIONS: usize = 64;
const ANSWER_BYTES_MAX: usize = 4_096;

fn request(user: usize) -> String {
    format!(
        "GET /service/home?page=1 HTTP/1.1\r\nhost: service.example\r\nuser-agent: bench\r\naccept: */*\r\nx-user-id: u{user}\r\n\r\n"
    )
}

/// Length of the answer at the start of `bytes`, once its head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("an answer that is no 200: {head}").into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without a length")?;
    Ok(Some(end + 4 + length.1.trim().parse::<usize>()?))
}

/// As many requests as are answered in `time`, each connection sending the next at once.
pub(crate) fn closed(address: SocketAddr, time: Duration) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = Instant::now() + time;
        let users: Vec<_> = (0..CONNECTIONS)
            .map(|user| tokio::spawn(async move { one_closed(address, user, end).await }))
            .collect();
        let mut done = 0;
        for user in users {
            done += user.await??;
        }
        Ok(done)
    })
}

async fn one_closed(
    address: SocketAddr,
    user: usize,
    end: Instant,
) -> std::result::Result<u64, String> {
    let tell = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(tell)?;
    stream.set_nodelay(true).map_err(tell)?;
    let (request, mut buffer, mut done) = (request(user), [0; ANSWER_BYTES_MAX], 0);
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await.map_err(tell)?;
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await.map_err(tell)?;
            if read == 0 {
                return Err(format!("{address} closed a connection"));
            }
            filled += read;
            let length = answer_length(&buffer[..filled]).map_err(|e| e.to_string())?;
            if length.is_some_and(|length| filled >= length) {
                break;
            }
        }
        done += 1;
    }
    Ok(done)
}

/// The 99th percentile in milliseconds at `rate` requests a second for `time`. A request that could not
/// leave when it was due, because the one before was not answered, counts from when it was due.
pub(crate) fn paced(address: SocketAddr, rate: f64, time: Duration) -> Result<f64> {
    let gap = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    let begin = Instant::now() + Duration::from_millis(50);
    let users: Vec<_> = (0..CONNECTIONS)
        .map(|user| {
            let first = begin + gap.mul_f64(user as f64 / CONNECTIONS as f64);
            std::thread::spawn(move || one_paced(address, user, (first, gap, begin + time)))
        })
        .collect();
    let mut took = Vec::new();
    for user in users {
        took.extend(user.join().map_err(|_| "a user panicked")??);
    }
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100].as_secs_f64() * 1_000.0)
}

fn one_paced(
    address: SocketAddr,
    user: usize,
    (first, gap, end): (Instant, Duration, Instant),
) -> std::io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (request, mut buffer) = (request(user), [0; ANSWER_BYTES_MAX]);
    let (mut due, mut took) = (first, Vec::new());
    while due < end {
        let now = Instant::now();
        let start = if now < due {
            std::thread::sleep(due - now);
            Instant::now()
        } else {
            due
        };
        stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let length = answer_length(&buffer[..filled]).map_err(std::io::Error::other)?;
            if length.is_some_and(|length| filled >= length) {
                break;
            }
        }
        took.push(start.elapsed());
        due += gap;
    }
    Ok(took)
}
