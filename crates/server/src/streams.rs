//! Streaming connections of agents and routers: text frames over a WebSocket.
//!
//! **Guarantees.** A frame larger than [`FRAME_BYTES_MAX`] ends its connection; so do [`SILENT_MAX`]
//! without a word or a pong, a peer that does not take what is sent to it, the end of the server's lead, and the end of
//! the server, which waits for these ends. **Never** reads ahead of whoever attends: a peer that talks too fast is
//! slowed down by TCP.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Bytes,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
};
use futures_util::{SinkExt, StreamExt, stream};
use mainstay_core::ports::BoxFuture;
use mainstay_wire::FRAME_BYTES_MAX;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{App, Leader};

/// A peer unheard for so long is dropped: it answers pings even when it has nothing to say.
pub const SILENT_MAX: Duration = Duration::from_secs(10);
/// How often a peer is pinged: three may be lost before it counts as silent.
const PING_EVERY: Duration = Duration::from_secs(3);
/// How long a peer may take to take one frame.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the parting word may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Frames that wait between the socket and whoever attends, each way.
const FRAMES_WAITING_MAX: usize = 16;

/// Attends to peers that stay connected.
pub trait Streams: Send + Sync {
    /// Speaks with one peer until either channel closes: frames it sent come by `from`, frames for it go by
    /// `to`. The future may be dropped at any moment; the peer is gone then.
    fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) -> BoxFuture<'_, ()>;
}

/// The connections of one server: they end with it, and it waits for that.
#[derive(Clone, Default)]
pub(crate) struct Open {
    stop: CancellationToken,
    pumps: TaskTracker,
}

impl Open {
    pub(crate) fn until(stop: CancellationToken) -> Self {
        Self {
            stop,
            pumps: TaskTracker::new(),
        }
    }

    /// Waits until every connection has ended; each does within [`CLOSE_WITHIN`] of the stop.
    pub(crate) async fn ended(self) {
        self.pumps.close();
        self.pumps.wait().await;
    }

    fn pump(
        self,
        upgrade: WebSocketUpgrade,
        streams: Arc<dyn Streams>,
        leader: watch::Receiver<Leader>,
    ) -> Response {
        upgrade
            .max_message_size(FRAME_BYTES_MAX)
            .max_frame_size(FRAME_BYTES_MAX)
            .on_upgrade(async move |socket| {
                let Self { stop, pumps } = self;
                let pumped = pump(socket, streams, stop, leader);
                pumps.track_future(pumped).await;
            })
    }
}

/// `GET /api/v1/streams/agent`.
pub(crate) async fn agent(
    State(app): State<App>,
    Extension(open): Extension<Open>,
    upgrade: WebSocketUpgrade,
) -> Response {
    open.pump(upgrade, app.agents, app.leader)
}

/// `GET /api/v1/streams/router`.
pub(crate) async fn router(
    State(app): State<App>,
    Extension(open): Extension<Open>,
    upgrade: WebSocketUpgrade,
) -> Response {
    open.pump(upgrade, app.routers, app.leader)
}

async fn pump(
    socket: WebSocket,
    streams: Arc<dyn Streams>,
    stop: CancellationToken,
    leader: watch::Receiver<Leader>,
) {
    let (mut sink, source) = socket.split();
    let (heard, from) = mpsc::channel(FRAMES_WAITING_MAX);
    let (to, told) = mpsc::channel(FRAMES_WAITING_MAX);
    let parting = {
        // What was still to be said when the attending ended is sent before the end.
        let attended = async { tokio::join!(streams.attend(from, to), write(&mut sink, told)).1 };
        tokio::pin!(attended);
        tokio::select! {
            biased;
            () = stop.cancelled() => (close_code::AWAY, "the server stops"),
            () = leads_no_more(leader) => (close_code::AWAY, "the server leads no more"),
            end = &mut attended => end,
            end = read(source, heard) => {
                // The last words of a peer that left are heard too.
                drop(timeout(CLOSE_WITHIN, attended).await);
                end
            }
        }
    };
    tracing::debug!(because = parting.1, "a stream ends");
    let close = Message::Close(Some(CloseFrame {
        code: parting.0,
        reason: parting.1.into(),
    }));
    // A peer that is gone needs no parting word.
    drop(timeout(CLOSE_WITHIN, sink.send(close)).await);
}

async fn leads_no_more(mut leader: watch::Receiver<Leader>) {
    let unknown = leader.wait_for(|it| *it != Leader::Here).await.is_err();
    if unknown {
        // The server ends, and says so itself.
        std::future::pending::<()>().await;
    }
}

type Parting = (u16, &'static str);

async fn read(mut source: stream::SplitStream<WebSocket>, heard: mpsc::Sender<String>) -> Parting {
    loop {
        let message = match timeout(SILENT_MAX, source.next()).await {
            Err(_) => return (close_code::AWAY, "the peer was silent for 10 s"),
            Ok(None) => return (close_code::NORMAL, "the peer left"),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a stream broke");
                return (close_code::PROTOCOL, "the frame cannot be taken");
            }
            Ok(Some(Ok(message))) => message,
        };
        match message {
            Message::Text(text) => {
                if heard.send(text.as_str().to_owned()).await.is_err() {
                    // Whoever attends has ended; the writer says why.
                    return std::future::pending().await;
                }
            }
            Message::Binary(_) => return (close_code::UNSUPPORTED, "text frames only"),
            // Pongs were answered below this; that something came is enough.
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return (close_code::NORMAL, "the peer left"),
        }
    }
}

async fn write(
    sink: &mut stream::SplitSink<WebSocket, Message>,
    mut told: mpsc::Receiver<String>,
) -> Parting {
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            biased;
            frame = told.recv() => match frame {
                Some(frame) => Message::Text(frame.into()),
                None => return (close_code::POLICY, "the server is done with this connection; its log says why"),
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(WRITE_WITHIN, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (close_code::NORMAL, "the peer left"),
            Err(_) => return (close_code::AWAY, "the peer takes nothing"),
        }
    }
}
