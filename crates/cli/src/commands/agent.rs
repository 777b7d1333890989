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
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Agent, Global},
    ending,
    link::{self, Mailbox, Server},
};

/// Orders that wait for a turn of the agent: each is a whole set, so the next one is enough.
const ORDERS_WAITING_MAX: usize = 1;
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
    let (from_server, server_orders) = watch::channel(None);
    let (orders, ordered) = mpsc::channel(ORDERS_WAITING_MAX);
    let (reports, reported) = mpsc::channel(REPORTS_WAITING_MAX);
    let stop = CancellationToken::new();
    let settings = Settings::of(args.host, &args.data_dir);
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
        next: None,
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
    server_orders: watch::Receiver<Option<ToAgent>>,
    orders: mpsc::Sender<ToAgent>,
    reported: mpsc::Receiver<FromAgent>,
    mailbox: Arc<Mailbox<FromAgent>>,
    /// The newest order that the agent has not taken.
    next: Option<ToAgent>,
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
                    let set = DesiredSet { generation: FAREWELL, instances: Vec::new() };
                    self.next = Some(ToAgent::Desired { set });
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
                permit = self.orders.reserve(), if self.next.is_some() => {
                    if let (Ok(permit), Some(order)) = (permit, self.next.take()) {
                        permit.send(order);
                    }
                }
                // After the farewell no server is listened to.
                changed = self.server_orders.changed(), if deadline.is_none() => {
                    changed.context("the link to the server died")?;
                    self.next.clone_from(&self.server_orders.borrow_and_update());
                    if let Some(order) = &self.next {
                        self.longest_grace = longest_grace(order, self.longest_grace);
                    }
                }
                () = until(deadline) => bail!(
                    "some instances did not end within {} and {} s; see the reports before this, and stop them by hand",
                    self.longest_grace, GONE_WITHIN.as_secs()
                ),
            }
        }
    }
}

/// The longest grace in a set, at least `least`.
fn longest_grace(order: &ToAgent, least: Span) -> Span {
    let ToAgent::Desired { set } = order;
    let graces = set.instances.iter().map(|wanted| wanted.stop_grace);
    graces.fold(least, Ord::max)
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
