//! A connection to a backend, driven by whoever uses it: no task of its own, so that a request costs
//! no hop between tasks, and one that is dropped is closed at once.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};

use crate::Permit;

/// A connection that does not come about within this is broken: the next attempt may go elsewhere.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Kept ones are used again only this soon: servers commonly close theirs after five seconds, and a
/// request sent into a closing connection is lost.
const REUSE_WITHIN_US: u64 = 4_000_000;
/// Bytes of an answer's head; hyper refuses a longer one.
const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// The body of a request on its way to a backend.
pub(crate) enum Upload {
    Empty,
    /// With a mark that is set once all of it was read from the user.
    Stream(Incoming, Arc<AtomicBool>),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self::Stream(body, sent) = &mut *self else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(&mut *body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || body.is_end_stream() {
            sent.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body, _) => body.size_hint(),
        }
    }
}

/// Why an exchange gave no answer.
pub(crate) enum Unanswered {
    /// Nothing of the request went out.
    Unsent(Box<Request<Upload>>),
    /// The connection failed under way.
    Broken,
    /// The deadline passed.
    Late,
}

fn unanswered(mut error: TrySendError<Request<Upload>>) -> Unanswered {
    match error.take_message() {
        Some(unsent) => Unanswered::Unsent(Box::new(unsent)),
        None => Unanswered::Broken,
    }
}

/// A context that wakes nobody.
pub(crate) fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(crate) struct Upstream {
    sender: SendRequest<Upload>,
    connection: Connection<TokioIo<TcpStream>, Upload>,
    closed: bool,
    timer: Pin<Box<Sleep>>,
    timed: bool,
    kept_us: u64,
    _permit: Option<Permit>,
}

impl Upstream {
    pub(crate) async fn connect(address: &str, permit: Option<Permit>) -> Option<Box<Self>> {
        let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address))
            .await
            .ok()?
            .ok()?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .ok()?;
        Some(Box::new(Self {
            sender,
            connection,
            closed: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timed: false,
            kept_us: 0,
            _permit: permit,
        }))
    }

    /// Lets the connection read and write, and wakes the caller's task when it can go on.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// Lets the connection read and write, and wakes nobody: for a caller who goes on at once, and who
    /// drives it again before waiting. Otherwise each step would wake the task that is taking it.
    pub(crate) fn drive_quietly(&mut self) {
        self.drive(&mut quiet());
    }

    /// Whether the deadline of the exchange passed.
    pub(crate) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.timed && self.timer.as_mut().poll(cx).is_ready()
    }

    /// Sends `request` and waits for the head of the answer until `end`.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Upload>,
        end: Option<Instant>,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.timed = end.is_some();
        if let Some(end) = end {
            self.timer.as_mut().reset(end);
        }
        self.drive_quietly();
        if !self.sender.is_ready() && !self.closed {
            std::future::poll_fn(|cx| {
                self.drive(cx);
                if self.closed || self.is_late(cx) {
                    return Poll::Ready(());
                }
                self.sender.poll_ready(cx).map(|_| ())
            })
            .await;
        }
        if self.closed || !self.sender.is_ready() {
            return Err(Unanswered::Unsent(Box::new(request)));
        }
        let mut answer = pin!(self.sender.try_send_request(request));
        // The answer comes from the connection and from nowhere else, so that only the connection
        // has to know whom to wake.
        let mut sending = true;
        std::future::poll_fn(|cx| {
            if !std::mem::take(&mut sending) {
                self.drive_quietly();
                if let Poll::Ready(answer) = answer.as_mut().poll(&mut quiet()) {
                    return Poll::Ready(answer.map_err(unanswered));
                }
            }
            self.drive(cx);
            match answer.as_mut().poll(&mut quiet()) {
                Poll::Ready(answer) => Poll::Ready(answer.map_err(unanswered)),
                Poll::Pending if self.closed => Poll::Ready(Err(Unanswered::Broken)),
                Poll::Pending if self.is_late(cx) => Poll::Ready(Err(Unanswered::Late)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether another request may be sent at once; lets the connection find its rest first.
    pub(crate) fn rests(&mut self) -> bool {
        if !self.sender.is_ready() {
            self.drive_quietly();
        }
        !self.closed && self.sender.is_ready()
    }

    /// It is kept from `now_us` of the router's clock.
    pub(crate) fn keep(&mut self, now_us: u64) {
        self.kept_us = now_us;
    }

    /// Whether it was kept so shortly that the backend has most likely not closed it.
    pub(crate) fn is_fresh(&self, now_us: u64) -> bool {
        !self.closed && now_us.saturating_sub(self.kept_us) < REUSE_WITHIN_US
    }
}
