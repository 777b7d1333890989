//! A webhook that keeps what it is sent.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

#[derive(Debug, Default)]
struct Kept {
    bodies: Mutex<Vec<String>>,
    more: Condvar,
}

impl Kept {
    fn bodies(&self) -> MutexGuard<'_, Vec<String>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers everything with 200; it listens until the process ends.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    kept: Arc<Kept>,
}

impl Sink {
    /// Listens somewhere on this machine from now on.
    pub fn start() -> io::Result<Self> {
        Self::on(([127, 0, 0, 1], 0).into())
    }

    /// Listens there from now on.
    pub fn on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept::default());
        let into = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever sent it may have died meanwhile: then it is no message.
                if let Ok(body) = answered(stream) {
                    into.bodies().push(body);
                    into.more.notify_all();
                }
            }
        });
        Ok(Self { address, kept })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that came so far, in the order in which it came.
    pub fn bodies(&self) -> Vec<String> {
        self.kept.bodies().clone()
    }

    /// Waits until so many came.
    ///
    /// # Panics
    /// If fewer came within `limit`.
    pub fn until(&self, count: usize, limit: Duration) {
        let bodies = self.kept.bodies();
        let waited = self
            .kept
            .more
            .wait_timeout_while(bodies, limit, |it| it.len() < count);
        let (bodies, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "{} of {count} came: {bodies:#?}",
            bodies.len()
        );
    }
}

/// The body of a request, which is answered once it is there.
fn answered(mut stream: TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    String::from_utf8(body).map_err(io::Error::other)
}
