//! The users' side: one task a connection, HTTP/1.1 or HTTP/2 by what the user speaks first.

use std::{convert::Infallible, sync::Arc, sync::atomic::Ordering, time::Duration};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{Shared, head, patience::Patience, proxy};

/// Connections from users; more wait in the listener's backlog.
const USERS_MAX: usize = 8_192;
/// A request's head has to come within this; an idle connection is closed after it.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a request's head; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Out of file descriptors: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts for ever; dropping the future closes every connection.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let users = Arc::new(Semaphore::new(USERS_MAX));
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        // Heads and bodies are short: one copy costs less than the kernel's walk over their pieces.
        .writev(false)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(HEAD_WITHIN);
    let builder = Arc::new(builder);
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&users).acquire_owned().await {
        let Ok((stream, address)) = listener.accept().await else {
            shared.accept_errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let of_user = Arc::clone(&shared);
        let builder = Arc::clone(&builder);
        let user = shared.users.enter(u32::MAX);
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _held = (place, user);
            let peer = head::peer(address.ip());
            let answer = service_fn(|request| {
                let (shared, peer) = (Arc::clone(&of_user), peer.clone());
                async move { Ok::<_, Infallible>(proxy::serve(shared, peer, request).await) }
            });
            let connection = builder.serve_connection(TokioIo::new(Patience::new(stream)), answer);
            drop(connection.await);
        });
    }
}
