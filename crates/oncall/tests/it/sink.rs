//! A receiver that keeps what it is sent.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

#[derive(Default)]
struct Kept {
    bodies: Mutex<Vec<String>>,
    more: Condvar,
}

/// See the module.
pub(crate) struct Sink {
    address: SocketAddr,
    kept: Arc<Kept>,
}

impl Sink {
    /// Listens from now on.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Kept::default());
        let into = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(body) = answered(stream) {
                    into.bodies.lock().unwrap().push(body);
                    into.more.notify_all();
                }
            }
        });
        Self { address, kept }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that came so far.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.kept.bodies.lock().unwrap().clone()
    }

    /// Waits until so many came.
    pub(crate) fn until(&self, count: usize, limit: Duration) {
        let bodies = self.kept.bodies.lock().unwrap();
        let waited = self
            .kept
            .more
            .wait_timeout_while(bodies, limit, |it| it.len() < count);
        let (bodies, waited) = waited.unwrap();
        assert!(
            !waited.timed_out(),
            "{} of {count} came: {bodies:#?}",
            bodies.len()
        );
    }
}

fn answered(stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            // Whoever sent it died meanwhile.
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .ok()?;
    String::from_utf8(body).ok()
}
