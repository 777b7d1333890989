//! `mainstay agent`: runs what the server orders on this host.
//!
//! **Guarantees.** Without a server the last set goes on, across restarts of the agent. On a leash the
//! agent takes its instances with it: it orders itself an empty set that no server can be newer than, and
//! forgets that order when they are gone. Metrics of the host and of the agent have a listener of their
//! own. **Never** stops an instance because it ends itself, unless on a
//! leash.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use mainstay_core::Span;
use mainstay_fleet::{
    agent::{Settings, run as run_agent},
    process::ProcessDriver,
    state::{State, Store},
    vitals::Vitals,
};
use mainstay_wire::{
    Generation,
    agent::{DesiredSet, FromAgent, InstanceReport, InstanceState, ToAgent},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Tells},
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
/// How long the last scrape may take once the agent ends.
const SCRAPED_WITHIN: Duration = Duration::from_secs(1);
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
    let admin = Admin::bind(args.admin).await?;
    let metrics_url = admin.metrics_url();
    tracing::info!("metrics are on {metrics_url}");
    let vitals = Vitals::default();
    let administered = admin.serve(Arc::new(Teller(vitals.clone())), stop.clone());
    let settings = Settings {
        host: args.host,
        data: args.data_dir.clone(),
        metrics_url,
        vitals,
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
        next: None,
        longest_grace,
    };
    let attended = desk.attend(args.leash).await;
    stop.cancel();
    let ended = agent.await.context("the agent died")?;
    link.await.context("the link to the server died")?;
    // A scrape that is under way has nothing to say any more.
    drop(timeout(SCRAPED_WITHIN, administered).await);
    ended?;
    attended?;
    if args.leash {
        without_farewell(&args.data_dir)?;
    }
    Ok(())
}

/// Tells of the host and of this agent.
struct Teller(Vitals);

impl Tells for Teller {
    fn metrics(&self) -> String {
        let mut text = self.0.text();
        match mainstay_sys::host_metrics() {
            Ok(host) => text.push_str(&host.text()),
            Err(error) => tracing::warn!(%error, "this host cannot be measured"),
        }
        match mainstay_sys::resources(std::process::id()) {
            Ok(own) => text.push_str(&of_itself(&own)),
            Err(error) => tracing::warn!(%error, "this process cannot be measured"),
        }
        text
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.0.is_ready() {
            Ok(())
        } else {
            Err("this host was not looked at yet")
        }
    }
}

/// What this process uses, under the names that every client library gives it.
fn of_itself(own: &mainstay_sys::Resources) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (cpu, rss, files) = (own.cpu_seconds, own.rss_bytes, own.open_fds);
    format!(
        "# HELP mainstay_build_info What is running; always 1.\n\
         # TYPE mainstay_build_info gauge\n\
         mainstay_build_info{{version=\"{version}\"}} 1\n\
         # HELP process_cpu_seconds_total Processor time of this process.\n\
         # TYPE process_cpu_seconds_total counter\n\
         process_cpu_seconds_total {cpu}\n\
         # HELP process_open_fds Open files of this process.\n\
         # TYPE process_open_fds gauge\n\
         process_open_fds {files}\n\
         # HELP process_resident_memory_bytes Resident memory of this process.\n\
         # TYPE process_resident_memory_bytes gauge\n\
         process_resident_memory_bytes {rss}\n"
    )
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
                    let set = DesiredSet { generation: FAREWELL, ..DesiredSet::default() };
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
            found: _,
        } => {
            let is_gone = |it: &InstanceReport| it.state == InstanceState::Gone;
            *generation == FAREWELL && instances.iter().all(is_gone)
        }
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

#[cfg(test)]
mod tests {
    use mainstay_ekg::text::{TextLimits, scan};

    use super::*;

    #[test]
    fn what_an_agent_tells_is_the_text_format_with_the_names_of_node_exporter() {
        let text = Teller(Vitals::default()).metrics();
        let seen = scan(text.as_bytes(), &TextLimits::default()).unwrap();
        for name in [
            "node_cpu_seconds_total",
            "node_memory_MemAvailable_bytes",
            "node_filesystem_avail_bytes",
            "node_network_receive_bytes_total",
            "node_load1",
            "node_processes_pids",
            "mainstay_agent_instances",
            "mainstay_agent_turn_duration_seconds",
            "process_cpu_seconds_total",
        ] {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert!(seen.samples.len() > 100, "{}", seen.samples.len());
    }
}
