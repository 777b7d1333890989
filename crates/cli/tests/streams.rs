//! Agents and routers as real processes, connected to a server in this test: what they take, what they
//! tell, and what goes on while the server is away.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "streams/agent.rs"]
mod agent;
#[path = "streams/empty.rs"]
mod empty;
#[path = "../src/hubs.rs"]
mod hubs;
#[path = "streams/peer.rs"]
mod peer;
#[path = "streams/router.rs"]
mod router;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use empty::{Empty, Wall};
use hubs::{Agents, Routers};
use mainstay_core::ChangeId;
use mainstay_fleet::hub::{FleetHub, FleetView, Unordered};
use mainstay_server::{Access, App, Doors};
use mainstay_traffic::hub::{RouteHub, RouterView};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// The streams of a server, on a port of their own.
struct Server {
    address: SocketAddr,
    fleet: FleetHub,
    unordered: tokio::sync::mpsc::Receiver<Unordered>,
    routes: RouteHub,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    _newest: watch::Sender<u64>,
}

impl Server {
    async fn start() -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into(), Access::OpenOnLoopback).await
    }

    async fn start_on(address: SocketAddr, access: Access) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fleet, unordered) = FleetHub::new(Arc::new(Wall));
        let routes = RouteHub::new(Arc::new(Wall));
        let (newest, seen) = watch::channel(0);
        let app = App {
            config: "".into(),
            gauges: Arc::new(Empty),
            leader: tokio::sync::watch::channel(mainstay_server::Leader::Here).1,
            ledger: Arc::new(Empty),
            tables: Arc::new(Empty),
            identity: Arc::new(Empty),
            clock: Arc::new(Wall),
            next_change_id: Arc::new(|| ChangeId::new("chg-none").unwrap()),
            newest: seen,
            access,
            changes: Arc::new(Empty),
            views: Arc::new(Empty),
            queries: Arc::new(Empty),
            intake: Arc::new(Empty),
            upkeep: Arc::new(Empty),
            rules: Arc::new(Empty),
            monitors: Arc::new(Empty),
            oncall: Arc::new(Empty),
            incidents: Arc::new(Empty),
            agents: Arc::new(Agents(fleet.clone())),
            routers: Arc::new(Routers(routes.clone())),
        };
        let stop = CancellationToken::new();
        let doors = Doors {
            all: listener,
            otlp: Vec::new(),
        };
        let task = tokio::spawn(mainstay_server::serve(doors, app, stop.clone()));
        Self {
            address,
            fleet,
            unordered,
            routes,
            stop,
            task,
            _newest: newest,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops, waits for the end, and gives back where it listened.
    async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
        assert!(self.fleet.view().hosts.values().all(|host| !host.connected));
        self.address
    }

    async fn fleet_until(&self, wanted: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
        let (hub, changed) = (self.fleet.clone(), self.fleet.changed());
        until(changed, move || hub.view(), wanted).await
    }

    async fn routes_until(&self, wanted: impl Fn(&RouterView) -> bool) -> Arc<RouterView> {
        let (hub, changed) = (self.routes.clone(), self.routes.changed());
        until(changed, move || hub.view(), wanted).await
    }
}

async fn until<V: std::fmt::Debug>(
    mut changed: watch::Receiver<u64>,
    view: impl Fn() -> Arc<V>,
    wanted: impl Fn(&V) -> bool,
) -> Arc<V> {
    let met = async {
        loop {
            let seen = view();
            if wanted(&seen) {
                return seen;
            }
            changed.changed().await.unwrap();
        }
    };
    let met = timeout(LIMIT, met).await;
    met.unwrap_or_else(|_| panic!("never seen; the last was {:#?}", view()))
}

/// A `mainstay` process of this test.
struct Mainstay {
    child: Child,
    leash: Option<ChildStdin>,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Mainstay {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, lines) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // Nobody may be interested any more.
                let _ = to.send(line);
            }
        });
        Self {
            leash: child.stdin.take(),
            child,
            lines: Mutex::new(lines),
        }
    }

    /// What its log says after `words`, on the first line that has them.
    fn says(&self, words: &str) -> String {
        let lines = self.lines.lock().unwrap();
        loop {
            let line = lines.recv_timeout(LIMIT).unwrap();
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        self::signal(self.child.id(), signal);
    }

    async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, ended).await.expect("the process ends")
    }

    /// Ends it as the death of its starter does.
    async fn let_go(mut self) -> ExitStatus {
        drop(self.leash.take());
        self.ended().await
    }
}

fn signal(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

impl Drop for Mainstay {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
