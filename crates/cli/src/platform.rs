//! Wires the rooms together and keeps them alive: the server, the walk of changes, releases, monitoring.
//!
//! Guarantees: a task that dies ends the process with failure; when told to end, requests under way may
//! finish, and nothing is left running. Whoever does not lead answers, and moves nothing.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use mainstay_change::freeze::Freeze;
use mainstay_core::{
    Actor, ChangeId,
    ports::{Clock, Ledger, LedgerError},
};
use mainstay_deploy::{
    action::Action,
    adapter::{Engine, Ports as DeployPorts},
    limit::LimitTest,
    rollout::Rollout,
};
use mainstay_ekg::adapter::Upkeep;
use mainstay_fleet::hub::FleetHub;
use mainstay_oncall::{adapter::incidents::Pager, incident::Incident};
use mainstay_runtime::{Codecs, DriveError, Inbox, Runtime, Shell, drive, lead};
use mainstay_server::{Access, App, Leader};
use mainstay_store::Store;
use mainstay_traffic::hub::RouteHub;
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    alerting, claims,
    config::Config,
    copies::{self, Copies},
    doors,
    hubs::{Agents, Routers},
    itself::{OwnSecret, Vitals, WithItself},
    leading,
    metrics::{self, Keeping, Setup, Taking},
    monitors::Declarations,
    notify, oncall,
    ports::{Ports, SystemClock, new_change_id, now, unreadable},
    production::{Desk, Hands, Hubs, keep_observing, keep_scraping},
    reload::Reloader,
    rota,
};

/// Inputs that may wait for the walk of changes; a person's order beyond it is refused.
const INPUTS_MAX: usize = 4_096;
/// Open changes asked for at once.
const OPEN_PAGE: usize = 1_000;
/// How long requests under way may take when told to end; a live feed never ends by itself.
const GRACE: Duration = Duration::from_secs(3);

/// A server that listens.
pub(crate) struct Running {
    /// Where.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    store: Store,
}

/// Starts a server on `listen` that keeps its samples in `data_dir`; beyond loopback only where a token exists. The
/// configuration's file, if there is one, held what is there beside it, and is read again when somebody asks for that.
pub(crate) async fn start(
    store: Store,
    data_dir: &Path,
    listen: SocketAddr,
    (config, reread): (Config, (Option<PathBuf>, Config)),
) -> anyhow::Result<Running> {
    let tokens = store.list_tokens(None, 1).await?;
    if !listen.ip().is_loopback() && tokens.is_empty() {
        bail!(
            "refusing to listen on {listen} without authentication: make a token first \
             (`mainstay token create NAME --scope admin --data-dir DIR`), or listen on 127.0.0.1"
        );
    }
    let open = listen.ip().is_loopback() && !config.server.require_token;
    let doors = doors::open(listen, config.server.otlp_listen.as_deref(), open).await?;
    let address = doors.all.local_addr()?;
    let head = metrics::open(data_dir.join("metrics"), &config.metrics).await?;
    let stop = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut copying = JoinSet::new();
    let copies = Copies::start(
        &config.metrics,
        copies::Sources {
            tsdb: head.tsdb(),
            clock: Arc::clone(&clock),
            folder: data_dir.join("copies"),
        },
        &mut copying,
        &stop,
    )?;
    let ports = Arc::new(Ports(store.clone()));
    let (fleet, unordered) = FleetHub::new(Arc::clone(&clock));
    let routes = RouteHub::new(Arc::clone(&clock));
    let hubs = Arc::new(Hubs::new(fleet.clone(), routes.clone()));
    for how in &config.otherwise {
        tracing::warn!("of the Prometheus's file, {how}");
    }
    let (reloader, jobs) = Reloader::new(reread.0, reread.1);
    let itself = OwnSecret::new()?;
    let setup = Setup {
        jobs,
        otlp: config.otlp,
        limits: config.limits.tenants(),
        receivers: config.remote_write.into_iter().map(|it| it.0).collect(),
        backend: config.metrics.backend.clone(),
        folder: data_dir.join("remote-write"),
        itself: (!open).then(|| itself.credentials()),
    };
    let mut monitoring = metrics::start(head, &clock, setup, &stop)?;
    let scraping = std::mem::take(&mut monitoring.tasks);
    let ekg = monitoring.ekg.clone();
    let intake = monitoring.intake.clone();
    let queries = monitoring.queries.clone();
    let queries = queries.keeping(config.metrics.retention);
    let upkeep = Upkeep::new(monitoring.writer.clone(), Arc::clone(&clock));
    let samples = ekg.clone();
    let remotes = monitoring.remotes.clone();
    let engine = Engine::open(DeployPorts {
        ledger: ports.clone(),
        signals: Arc::new(ekg.clone()),
        site: hubs.clone(),
        clock: Arc::clone(&clock),
        next_change_id: Arc::new(new_change_id),
        newest: store.subscribe(),
    })
    .await
    .map_err(|error| match error {
        LedgerError::Broken(broken) => unreadable(broken),
        other => anyhow::Error::new(other).context("cannot read the ledger"),
    })?;
    let (inputs, from_people) = mpsc::channel(INPUTS_MAX);
    let from_people = Arc::new(Mutex::new(from_people));
    let (tell_leader, leader) = watch::channel(Leader::Unknown);
    let mut tasks = JoinSet::new();
    // A wildcard address is asked on the loopback it includes.
    let url = if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    };
    let reached_by_people = config.alerting.external_url.clone();
    let rules = alerting::start(
        (config.rules, config.alerting),
        (&url, reloader),
        alerting::Judged {
            ekg,
            writer: monitoring.writer.clone(),
            catalog: Arc::new(Declarations {
                tables: ports.clone(),
                engine: engine.clone(),
            }),
            clock: Arc::clone(&clock),
        },
        &stop,
    )?;
    let schedules = mainstay_oncall::schedule::adapter::Desk {
        ledger: ports.clone(),
        tables: ports.clone(),
        clock: Arc::clone(&clock),
        next_change_id: Arc::new(new_change_id),
    };
    let incidents = oncall::start(
        config.oncall,
        oncall::Sources {
            store: store.clone(),
            ledger: ports.clone(),
            tables: ports.clone(),
            clock: Arc::clone(&clock),
            url: reached_by_people.unwrap_or_else(|| url.clone()),
            inputs: inputs.clone(),
            alerts: rules.all,
            leader: leader.clone(),
            schedules: schedules.clone(),
        },
        &stop,
    )
    .await?;
    tasks.spawn(metrics::watch(incidents.tasks, stop.clone()));
    let (pager, vital_pager) = (incidents.pager.clone(), incidents.pager);
    let ending = |stop: &CancellationToken| stop.clone();
    tasks.spawn(done(engine.clone().follow(ending(&stop))));
    tasks.spawn(done(Arc::clone(&hubs).follow(ending(&stop))));
    tasks.spawn(done(keep_observing(
        ports.clone(),
        unordered,
        ending(&stop),
    )));
    tasks.spawn(done(claims::keep_asking(engine.clone(), ending(&stop))));
    let place = config.server.advertise.as_ref().unwrap_or(&url);
    let me = leading::Me::of(data_dir, store.is_shared(), place)?;
    let term = {
        let (store, engine, told) = (store.clone(), engine.clone(), tell_leader.clone());
        move |over| {
            let inputs = Arc::clone(&from_people);
            let hands = Hands {
                engine: engine.clone(),
                pager: pager.clone(),
            };
            lead_a_term(store.clone(), hands, inputs, told.clone(), over)
        }
    };
    tasks.spawn(leading::keep_leading(
        store.clone(),
        me,
        tell_leader,
        ending(&stop),
        term,
    ));
    let reached = url.clone();
    tasks.spawn(metrics::watch(scraping, ending(&stop)));
    if !copying.is_empty() {
        tasks.spawn(metrics::watch(copying, ending(&stop)));
    }
    tasks.spawn(metrics::watch(rules.tasks, ending(&stop)));
    let sources = notify::Sources {
        ledger: ports.clone(),
        store: store.clone(),
        tables: ports.clone(),
        newest: store.subscribe(),
        fleet: fleet.clone(),
        routes: routes.clone(),
        alerts: rules.news,
        clock: Arc::clone(&clock),
        url,
        leader: leader.clone(),
    };
    tasks.spawn(notify::keep_notifying(
        config.notify,
        sources,
        ending(&stop),
    ));
    tasks.spawn(done(keep_scraping(
        monitoring,
        hubs,
        engine.clone(),
        reached,
        ending(&stop),
    )));
    let ahead = rota::Ahead::default();
    tasks.spawn(done(rota::keep_looking_ahead(
        schedules.clone(),
        ahead.clone(),
        ending(&stop),
    )));
    let desk = Arc::new(Desk { engine, inputs });
    let app = App {
        ledger: ports.clone(),
        tables: ports.clone(),
        identity: Arc::new(WithItself {
            own: itself,
            others: ports,
        }),
        clock: Arc::clone(&clock),
        next_change_id: Arc::new(new_change_id),
        newest: store.subscribe(),
        access: if open {
            Access::OpenOnLoopback
        } else {
            Access::Tokens
        },
        changes: desk.clone(),
        views: desk,
        queries: Arc::new(queries),
        intake: Arc::new(Taking(intake)),
        upkeep: Arc::new(Keeping {
            upkeep,
            copies: copies.clone(),
        }),
        rules: rules.desk.clone(),
        monitors: rules.desk,
        incidents: incidents.desk,
        oncall: Arc::new(rota::Schedules(schedules)),
        agents: Arc::new(Agents(fleet.clone())),
        routers: Arc::new(Routers(routes.clone())),
        config: config.shown.into(),
        gauges: Arc::new(Vitals {
            data_dir: data_dir.to_owned(),
            remotes,
            copies,
            fleet,
            routes,
            leader: leader.clone(),
            clock: Arc::clone(&clock),
            ekg: samples,
            book: incidents.book,
            pager: vital_pager,
            ahead,
        }),
        leader,
    };
    let serving = mainstay_server::serve(doors, app, stop.clone());
    tasks.spawn(async move { Ok(serving.await?) });
    Ok(Running {
        address,
        stop,
        tasks,
        store,
    })
}

async fn done(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// One term of this server: takes the leadership and walks all open changes, until `over` or until another server
/// took it.
async fn lead_a_term(
    store: Store,
    hands: Hands,
    inputs: Arc<Mutex<mpsc::Receiver<Inbox>>>,
    told: watch::Sender<Leader>,
    over: CancellationToken,
) -> anyhow::Result<()> {
    let ports = Ports(store.clone());
    let since = *store.subscribe().borrow();
    let leadership = match lead(&ports, Actor::system(), now()).await {
        Ok(leadership) => leadership,
        Err(error @ (LedgerError::Broken(_) | LedgerError::TooLarge { .. })) => {
            return Err(error.into());
        }
        Err(error) => {
            tracing::warn!(%error, "the leadership was not taken; it is tried again");
            return Ok(());
        }
    };
    let codecs = Codecs::new()
        .with::<Freeze>()
        .with::<Rollout>()
        .with::<Action>()
        .with::<LimitTest>()
        .with::<Incident>();
    let runtime = Runtime::new(codecs, Actor::system(), leadership.clone());
    let ledger: Arc<dyn Ledger> = Arc::new(ports);
    let (engine, pager): (Engine, Pager) = (hands.engine.clone(), hands.pager.clone());
    // What was told to an earlier term and not taken was refused there, or is asked again.
    let (to_walk, from_people) = mpsc::channel(INPUTS_MAX);
    let shell = Shell {
        ledger,
        clock: Arc::new(SystemClock),
        performer: Arc::new(hands),
        inputs: from_people,
        open: open_changes(&store).await?,
        since,
    };
    told.send_replace(Leader::Here);
    let leading = over.child_token();
    pager.lead(leading.clone());
    let ordering = engine.lead(leadership, leading.clone());
    let driving = async {
        let mut inputs = inputs.lock().await;
        let ended = tokio::select! {
            ended = drive(runtime, shell, over.clone()) => ended,
            () = pass_on(&mut inputs, to_walk) => Ok(()),
        };
        leading.cancel();
        ended
    };
    match tokio::join!(driving, ordering).0 {
        Err(DriveError::Fenced) => {
            tracing::warn!("another server walks the changes now; this one goes on answering");
            Ok(())
        }
        ended => Ok(ended?),
    }
}

/// Hands inputs on for one term; comes back only where nobody can tell anything any more and the walk ended.
async fn pass_on(inputs: &mut mpsc::Receiver<Inbox>, to: mpsc::Sender<Inbox>) {
    while let Some(input) = inputs.recv().await {
        if to.send(input).await.is_err() {
            return;
        }
    }
    to.closed().await;
}

/// Those that are not final: never many, however many there were.
async fn open_changes(store: &Store) -> anyhow::Result<Vec<ChangeId>> {
    let mut open = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store
            .list("changes_newest", "open/", after.as_deref(), OPEN_PAGE)
            .await?;
        let Some(last) = page.last() else {
            return Ok(open);
        };
        after = Some(last.key.clone());
        for row in page {
            let id = ChangeId::new(&row.body);
            open.push(id.with_context(|| format!("the row {} cannot be read", row.key))?);
        }
    }
}

impl Running {
    /// Serves until `told` comes back, then lets requests under way finish. A task that ends before is a
    /// failure.
    pub(crate) async fn until(
        mut self,
        told: impl Future<Output = std::io::Result<()>>,
    ) -> anyhow::Result<()> {
        let ended = tokio::select! {
            told = told => told.map_err(anyhow::Error::from),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(Ok(())) => Err(anyhow::anyhow!("a task of the server ended before it was told to")),
                Ok(Err(error)) => Err(error),
                Err(died) => Err(anyhow::Error::new(died).context("a task of the server died")),
            },
        };
        self.stop.cancel();
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            self.tasks.abort_all();
        }
        self.store.close().await;
        ended
    }
}
