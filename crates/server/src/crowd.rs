//! How many may come at once: connections, and requests that wait for their answer.
//!
//! Guarantees: who is one too many is told so at once, by 429 and `Retry-After`, and those who tell it are bounded
//! too. A stream counts as a connection alone once its head is answered: [`crate::streams`] bounds those. Never makes
//! anybody wait for a place.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{http::StatusCode, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::problem::Problem;

/// Connections held open: a thousand agents and routers, and as many again who look.
pub(crate) const CONNECTIONS_MAX: usize = 8_192;
/// Connections on each port that is there for senders alone.
pub(crate) const SENDERS_MAX: usize = 2_048;
/// Requests whose head is not answered yet; the body of each may be as large as is allowed.
pub(crate) const REQUESTS_MAX: usize = 1_024;
/// Connections that are told that they are too many, at once; more are closed without a word.
const REFUSALS_MAX: usize = 256;
/// How long one is given to read that.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
/// What one that is refused may send meanwhile: closing on unread bytes would take the answer away from it.
const UNHEARD_BYTES_MAX: u64 = 64 * 1_024;
/// Out of file descriptors: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// In whole seconds.
const RETRY_AFTER_SECS: u64 = 1;
/// What a connection that is one too many is answered, whatever it asked.
const REFUSAL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 44\r\n\r\n\
    too many connections: close some, then retry";

/// What a request that is one too many is answered.
pub(crate) fn too_many_requests() -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "overloaded",
        format!("{REQUESTS_MAX} requests wait for their answer"),
        "retry later, with fewer at once",
    );
    problem.retry_after_secs = Some(RETRY_AFTER_SECS);
    problem
}

/// A listener that lets only so many in.
pub(crate) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    refusing: JoinSet<()>,
}

impl Door {
    /// Lets `most` in at once.
    pub(crate) fn new(listener: TcpListener, most: usize) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(most)),
            refusing: JoinSet::new(),
        }
    }
}

impl Listener for Door {
    type Io = Seated;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Seated, SocketAddr) {
        loop {
            while self.refusing.try_join_next().is_some() {}
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => {
                    let seated = Seated {
                        stream,
                        _place: place,
                    };
                    return (seated, address);
                }
                Err(_) if self.refusing.len() < REFUSALS_MAX => {
                    self.refusing.spawn(refuse(stream));
                }
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Answers, and reads what is still sent so that the answer arrives. Whoever went away needs none.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        let mut unheard = stream.take(UNHEARD_BYTES_MAX);
        tokio::io::copy(&mut unheard, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(REFUSE_WITHIN, told).await {
        tracing::debug!(%error, "one that was refused went away");
    }
}

/// A connection that has its place until it is closed.
pub(crate) struct Seated {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Seated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing};

    use super::*;

    async fn answer(address: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        while !answer.contains("\r\n\r\n") {
            let mut bytes = [0; 4_096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "closed after {answer:?}");
            answer += std::str::from_utf8(&bytes[..count]).unwrap();
        }
        (stream, answer)
    }

    #[tokio::test]
    async fn a_connection_too_many_is_told_when_to_come_back_and_gets_the_place_of_one_that_went() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes: Router = Router::new().route("/", routing::get(async || "in"));
        tokio::spawn(async move { axum::serve(Door::new(listener, 1), routes).await });
        let (held, first) = answer(address).await;
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        let (_, second) = answer(address).await;
        assert!(second.starts_with("HTTP/1.1 429"), "{second}");
        assert!(second.contains("retry-after: 1"), "{second}");
        drop(held);
        while !answer(address).await.1.starts_with("HTTP/1.1 200") {}
    }

    #[test]
    fn a_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains(&format!("retry-after: {RETRY_AFTER_SECS}")));
    }
}
