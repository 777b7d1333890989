//! Streaming connections of agents and routers: text frames over a WebSocket.

use axum::{
    extract::{State, ws::WebSocketUpgrade},
    response::Response,
};
use mainstay_core::ports::BoxFuture;
use tokio::sync::mpsc;

use crate::App;

/// Attends to peers that stay connected.
pub trait Streams: Send + Sync {
    /// Speaks with one peer until either channel closes: frames it sent come by `from`, frames for it go by
    /// `to`.
    fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) -> BoxFuture<'_, ()>;
}

/// `GET /api/v1/streams/agent`.
pub(crate) async fn agent(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    let _ = app.agents;
    upgrade.on_upgrade(async |_| ())
}

/// `GET /api/v1/streams/router`.
pub(crate) async fn router(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    let _ = app.routers;
    upgrade.on_upgrade(async |_| ())
}
