//! A service instance: one release's process, listening on loopback until it is stopped.
//!
//! Guarantees: prints one JSON line with its address once it listens; SIGTERM (or the stop command)
//! closes the listener, gives requests in flight two seconds, and ends with success, unless the
//! release carries the defect that ignores it.
//! Never listens on, or calls, anything but this machine.
//! `PORT=0` takes any free port. A fixed port should lie below the range from which the kernel takes
//! the ports of outgoing connections (`/proc/sys/net/ipv4/ip_local_port_range`): inside it, any
//! client's connection may sit on the port first.
//! With `LEASH=1` it ends at once when standard input does: when whoever started it is gone.
//! Example: `PORT=7001 INSTANCE=feed-1 FABRIC=east releases/feed/1.4.2/run`.

mod handler;
mod metrics;
mod upstream;
mod work;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::Spec;
use handler::Instance;

/// How long requests in flight may take to finish once the instance was told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Longer than clients keep an idle connection, so that they close it and not we.
const HEAD_WITHIN: Duration = Duration::from_mins(2);
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// More connections than this are closed at once, and counted.
const CONNECTIONS_MAX: usize = 4096;

/// Where this instance runs and who it is.
#[derive(Debug)]
struct Environment {
    port: u16,
    instance: String,
    fabric: String,
    router: Option<crate::loopback::Base>,
    seed: Option<u64>,
    leash: bool,
}

impl Environment {
    fn read() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Ok(Self {
            port: variable("PORT")
                .context("environment variable PORT is missing")?
                .parse()
                .context("environment variable PORT is not a port")?,
            instance: variable("INSTANCE").context("environment variable INSTANCE is missing")?,
            fabric: variable("FABRIC").unwrap_or_default(),
            router: variable("ROUTER")
                .map(|text| text.parse().context("environment variable ROUTER"))
                .transpose()?,
            seed: variable("SEED")
                .map(|text| text.parse().context("environment variable SEED"))
                .transpose()?,
            leash: variable("LEASH").is_some(),
        })
    }
}

/// Runs until stopped.
pub(crate) fn run(spec: Spec) -> anyhow::Result<ExitCode> {
    let environment = Environment::read()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(spec, environment))
}

async fn serve(spec: Spec, environment: Environment) -> anyhow::Result<ExitCode> {
    // Signals first: a stop that arrives right after the address was printed must be heard.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, environment.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    println!(
        "{}",
        json!({
            "listening": listener.local_addr()?.to_string(),
            "service": spec.service,
            "version": spec.version,
            "instance": environment.instance,
        })
    );
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let leash = environment.leash;
    let instance = Arc::new(Instance::new(spec, environment, stop.clone())?);
    let leak = tracker.spawn(Arc::clone(&instance).leak());
    if leash {
        // Whoever started this is gone: no defect outlives that.
        std::thread::spawn(|| {
            let _bytes = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    tokio::select! {
        () = accept(listener, &instance, &tracker) => {}
        () = stop_asked(&mut terminate, &mut interrupt, &instance) => stop.cancel(),
        () = stop.cancelled() => {}
    }
    leak.abort();
    tracker.close();
    if tokio::time::timeout(STOP_WITHIN, tracker.wait())
        .await
        .is_err()
    {
        eprintln!("stopped with {} connections open", tracker.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns once a signal asks to stop that this release listens to.
async fn stop_asked(terminate: &mut Signal, interrupt: &mut Signal, instance: &Instance) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => if !instance.ignores_stop() { return },
        }
    }
}

/// Accepts connections, for as long as it is polled.
async fn accept(listener: TcpListener, instance: &Arc<Instance>, tracker: &TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if tracker.len() < CONNECTIONS_MAX => {
                tracker.spawn(converse(stream, Arc::clone(instance)));
            }
            Ok(_) => instance.refused_connection(),
            Err(_) => {
                instance.refused_connection();
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves one connection until either side ends it.
async fn converse(stream: TcpStream, instance: Arc<Instance>) {
    let peer_is_local = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
    let stop = instance.stop_token();
    let service = service_fn(move |request| Arc::clone(&instance).answer(request, peer_is_local));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a conversation ended is the peer's affair: a request cut short is counted where it is held.
    let _ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}
