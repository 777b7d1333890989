//! Peers that misbehave.

use futures_util::{SinkExt as _, StreamExt as _};
use mainstay_wire::FRAME_BYTES_MAX;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::{LIMIT, Server};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const HELLO: &str = r#"{"type":"hello","wire":1,"host":"h1","generation":{"epoch":0,"counter":0}}"#;

async fn connect(server: &Server) -> Socket {
    let url = format!("ws://{}/api/v1/streams/agent", server.address);
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

/// Waits for the end of the connection; why it was closed, where that was said.
async fn closed(socket: &mut Socket) -> Option<String> {
    let closed = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(why))) => return why.map(|why| why.reason.to_string()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    tokio::time::timeout(LIMIT, closed).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_is_too_large_ends_a_connection_and_not_the_server() {
    let server = Server::start().await;
    for words in [
        "noise".to_owned(),
        r#"{"type":"hello","wire":99}"#.to_owned(),
    ] {
        let mut socket = connect(&server).await;
        socket.send(Message::text(words)).await.unwrap();
        let why = closed(&mut socket).await.unwrap();
        assert!(why.contains("its log says why"), "{why}");
    }
    let mut socket = connect(&server).await;
    socket.send(Message::text(HELLO)).await.unwrap();
    server
        .fleet_until(|view| view.hosts.values().any(|host| host.connected))
        .await;
    // The server may hang up before it took all of it.
    drop(
        socket
            .send(Message::text("x".repeat(FRAME_BYTES_MAX + 1)))
            .await,
    );
    closed(&mut socket).await;
    server
        .fleet_until(|view| view.hosts.values().all(|host| !host.connected))
        .await;
    let mut socket = connect(&server).await;
    socket.send(Message::text(HELLO)).await.unwrap();
    server
        .fleet_until(|view| view.hosts.values().any(|host| host.connected))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_dropped_and_one_that_does_is_kept() {
    let server = Server::start().await;
    let mut silent = connect(&server).await;
    silent.send(Message::text(HELLO)).await.unwrap();
    let mut quiet = connect(&server).await;
    let hello = HELLO.replace("h1", "h2");
    quiet.send(Message::text(hello)).await.unwrap();
    // Reading is what answers pings.
    let answering = tokio::spawn(async move { closed(&mut quiet).await });
    server
        .fleet_until(|view| view.hosts.values().filter(|host| host.connected).count() == 2)
        .await;
    let view = server
        .fleet_until(|view| view.hosts.values().any(|host| !host.connected))
        .await;
    let kept: Vec<_> = view
        .hosts
        .iter()
        .map(|(name, host)| (name.as_str(), host.connected))
        .collect();
    assert_eq!(kept, [("h1", false), ("h2", true)]);
    server.stop().await;
    let why = answering.await.unwrap();
    assert_eq!(why.unwrap(), "the server stops");
}
