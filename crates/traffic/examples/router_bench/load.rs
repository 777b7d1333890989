//! The load: 64 kept connections, each with one request under way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Result;

const CONNECTIONS: usize = 64;
const ANSWER_BYTES_MAX: usize = 4_096;
/// An answer that takes longer ends the measurement.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// One user's kept connection.
struct User {
    stream: TcpStream,
    request: String,
    buffer: [u8; ANSWER_BYTES_MAX],
}

impl User {
    async fn connect(address: SocketAddr, user: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: request(user),
            buffer: [0; ANSWER_BYTES_MAX],
        })
    }

    async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("a connection was closed".into());
            }
            filled += read;
            if answer_length(&self.buffer[..filled])?.is_some_and(|length| filled >= length) {
                return Ok(());
            }
        }
    }
}

/// What each of the users on one thread gives.
fn on_one_thread<T: Send + 'static, F>(mut user: impl FnMut(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let users: Vec<_> = (0..CONNECTIONS).map(|i| tokio::spawn(user(i))).collect();
        let mut all = Vec::new();
        for user in users {
            all.push(user.await??);
        }
        Ok(all)
    })
}

/// As many requests as are answered in `time`, each connection sending the next at once.
pub(crate) fn closed(address: SocketAddr, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let done = on_one_thread(|i| async move {
        let (mut user, mut done) = (User::connect(address, i).await?, 0_u64);
        while Instant::now() < end {
            user.ask().await?;
            done += 1;
        }
        Ok(done)
    })?;
    Ok(done.iter().sum())
}

/// The 99th percentile in milliseconds at `rate` requests a second for `time`: a thread of its own sends
/// each request when it is due, since a timer of whole milliseconds would send them in bursts. A request
/// that could not leave, because all connections wait for an answer, counts from when it was due.
pub(crate) fn paced(address: SocketAddr, rate: f64, time: Duration) -> Result<f64> {
    let begin = Instant::now() + Duration::from_millis(50);
    let started: Arc<[AtomicU64]> = (0..CONNECTIONS).map(|_| AtomicU64::new(0)).collect();
    let (idle, to_send) = mpsc::channel();
    let mut halves = Vec::new();
    for user in 0..CONNECTIONS {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // The sender writes only while nothing is under way: there is always room.
        stream.set_nonblocking(true)?;
        halves.push((stream, request(user)));
        idle.send(user)?;
    }
    let streams: Vec<_> = halves.iter().map(|h| h.0.try_clone()).collect();
    let mut streams = streams.into_iter();
    let sending = {
        let started = Arc::clone(&started);
        let due = move |n: u32| begin + Duration::from_secs_f64(f64::from(n) / rate);
        let count = (rate * time.as_secs_f64()) as u32;
        std::thread::spawn(move || -> Result<()> {
            for n in 0..count {
                std::thread::sleep(due(n).saturating_duration_since(Instant::now()));
                let (user, start) = match to_send.try_recv() {
                    Ok(user) => (user, Instant::now()),
                    Err(_) => (to_send.recv_timeout(PATIENCE)?, due(n)),
                };
                let nanos = (start - begin).as_nanos() as u64;
                started[user].store(nanos, Ordering::Release);
                let (stream, request) = &mut halves[user];
                std::io::Write::write_all(stream, request.as_bytes())?;
            }
            for _ in 0..CONNECTIONS {
                to_send.recv_timeout(PATIENCE)?;
            }
            for (stream, _) in &halves {
                stream.shutdown(std::net::Shutdown::Both)?;
            }
            Ok(())
        })
    };
    let took = on_one_thread(|i| {
        let (stream, idle) = (streams.next(), idle.clone());
        let started = Arc::clone(&started);
        async move {
            let mut stream = TcpStream::from_std(stream.ok_or("a stream a user")??)?;
            let (mut buffer, mut filled, mut took) = ([0; ANSWER_BYTES_MAX], 0, Vec::new());
            loop {
                let read = stream.read(&mut buffer[filled..]).await?;
                if read == 0 {
                    return Ok(took);
                }
                filled += read;
                if answer_length(&buffer[..filled])?.is_some_and(|length| filled >= length) {
                    let start = Duration::from_nanos(started[i].load(Ordering::Acquire));
                    took.push(begin.elapsed().saturating_sub(start));
                    filled = 0;
                    idle.send(i)?;
                }
            }
        }
    })?;
    sending.join().map_err(|_| "the sender panicked")??;
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100].as_secs_f64() * 1_000.0)
}
