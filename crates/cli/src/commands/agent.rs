//! `mainstay agent`: runs what the server orders on this host.
//!
//! **Guarantees.** Without a server the last set goes on, across restarts of the agent. On a leash the
//! agent takes its instances with it: it orders itself an empty set that no server can be newer than, and
//! forgets that order when they are gone. **Never** stops an instance because it ends itself, unless on a
//! leash.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use mainstay_core::Span;
use mainstay_fleet::{
    agent::{Settings, run as run_agent},
    process::ProcessDriver,
    state::{State, Store},
};
use mainstay_wire::{
    Generation,
    agent::{DesiredSet, FromAgent, ToAgent},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Agent, Global},
    ending,
    link::{self, Mailbox, Server},
};

/// Orders that may wait for a turn of the agent: each is a whole set, so few are enough.
const ORDERS_WAITING_MAX: usize = 8;
/// Reports that may wait to be read here, which takes microseconds.
const REPORTS_WAITING_MAX: usize = 64;
/// What the end may take beyond the longest grace of an instance: a kill and the look that sees it.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// The order that an agent on a leash gives itself: newer than any server's.
const FAREWELL: Generation = Generation {
    epoch: u64::MAX,
    counter: 0,
};

pub(crate) async fn run(global: &Global, args: Agent) -> anyhow::Result<()> {
    super::log_to_stderr("info");
    let server = Server::new(global)?;
    let longest_grace = without_farewell(&args.data_dir)?;
    let (from_server, server_orders) = mpsc::channel(ORDERS_WAITING_MAX);
    let (orders, ordered) = mpsc::channel(ORDERS_WAITING_MAX);
    let (reports, reported) = mpsc::channel(REPORTS_WAITING_MAX);
    let stop = CancellationToken::new();
    let settings = Settings {
        host: args.host,
        data: args.data_dir.clone(),
    };
    let driver = ProcessDriver::new(&args.data_dir);
    let agent = tokio::spawn(run_agent(settings, driver, ordered, reports, stop.clone()));
    let mailbox = Arc::new(Mailbox::default());
    let link = tokio::spawn(link::keep(
        server,
        Arc::clone(&mailbox),
        from_server,
        stop.clone(),
    ));
    let mut desk = Desk {
        server_orders,
        orders,
        reported,
        mailbox,
        longest_grace,
    };
    let attended = desk.attend(args.leash).await;
    stop.cancel();
    let ended = agent.await.context("the agent died")?;
    link.await.context("the link to the server died")?;
    ended?;
    attended?;
    if args.leash {
        without_farewell(&args.data_dir)?;
    }
    Ok(())
}

/// Between the server and the agent.
struct Desk {
    server_orders: mpsc::Receiver<ToAgent>,
    orders: mpsc::Sender<ToAgent>,
    reported: mpsc::Receiver<FromAgent>,
    mailbox: Arc<Mailbox<FromAgent>>,
    longest_grace: Span,
}

impl Desk {
    /// Hands on what is ordered and what is reported, until the agent ends by itself or is to end.
    async fn attend(&mut self, leash: bool) -> anyhow::Result<()> {
        let told = ending::told(leash);
        tokio::pin!(told);
        let mut deadline: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                told = &mut told, if deadline.is_none() => {
                    told?;
                    if !leash {
                        return Ok(());
                    }
                    tracing::info!("everything on this host is stopped");
                    self.hand_on(ToAgent::Desired {
                        set: DesiredSet { generation: FAREWELL, instances: Vec::new() },
                    }).await;
                    let grace = Duration::from_millis(self.longest_grace.millis());
                    deadline = Some(Instant::now() + grace + GONE_WITHIN);
                }
                // The agent ended by itself; its task says why.
                said = self.reported.recv() => match said {
                    None => return Ok(()),
                    Some(said) => {
                        let over = nothing_left(&said);
                        self.mailbox.put(said);
                        if over {
                            return Ok(());
                        }
                    }
                },
                Some(order) = self.server_orders.recv() => self.hand_on(order).await,
                () = until(deadline) => bail!(
                    "some instances did not end within {} and {} s; see the reports before this, and stop them by hand",
                    self.longest_grace, GONE_WITHIN.as_secs()
                ),
            }
        }
    }

    async fn hand_on(&mut self, order: ToAgent) {
        let ToAgent::Desired { set } = &order;
        for wanted in &set.instances {
            self.longest_grace = self.longest_grace.max(wanted.stop_grace);
        }
        // An agent that ended by itself is seen where its reports end.
        drop(self.orders.send(order).await);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether the farewell was taken and everything is gone.
fn nothing_left(said: &FromAgent) -> bool {
    match said {
        FromAgent::Report {
            at: _,
            generation,
            instances,
        } => *generation == FAREWELL && instances.is_empty(),
        FromAgent::Hello { .. } | FromAgent::Unordered { .. } => false,
    }
}

/// Takes a farewell of an earlier agent out of the state, so that servers are listened to again; the longest
/// grace of what the state knows of.
fn without_farewell(data: &Path) -> anyhow::Result<Span> {
    let store = Store::open(data)?;
    // What names a process is read and written as it is.
    let mut state: State<serde_json::Value> = store.load()?;
    if state.desired.generation == FAREWELL {
        state.desired = DesiredSet::default();
        store.save(&state)?;
    }
    let held = state.instances.values().map(|held| &held.running.order);
    let graces = held
        .chain(&state.desired.instances)
        .map(|order| order.stop_grace);
    Ok(graces.max().unwrap_or(Span::ZERO))
}
