//! `mainstay router`: carries the users of one fabric.
//!
//! **Guarantees.** The last table is kept on disk and is in force before the first server is asked, so a
//! router without a server serves what it served last. A server hears of a table in force at once.
//! **Never** serves anybody but its users on `--listen`: metrics and readiness have a listener of their own.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use mainstay_traffic::{Router, RouterError};
use mainstay_wire::{
    Generation, WIRE_VERSION,
    router::{FromRouter, RouteTable, ToRouter},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Tells},
    args::{Global, RouterArgs},
    ending,
    link::{self, Mailbox, Server},
};

/// How often the server hears of it while nothing is applied.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long requests under way may take when the router ends.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether they are done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn run(global: &Global, args: RouterArgs) -> anyhow::Result<()> {
    super::log_to_stderr("info");
    let server = Server::new(global)?;
    let admin = Admin::bind(args.admin).await?;
    let kept = Kept::in_folder(&args.data_dir)?;
    let router = Router::bind(args.listen)
        .await
        .context("choose another address with --listen")?;
    let shared = Arc::new(Shared {
        router,
        in_force: AtomicBool::new(false),
    });
    if let Some(table) = kept.load() {
        shared.apply(table);
    }
    let metrics_url = admin.metrics_url();
    tracing::info!("users are served on http://{}", shared.router.address());
    tracing::info!("metrics are on {metrics_url}");

    let mailbox = Arc::new(Mailbox::default());
    mailbox.put(FromRouter::Hello {
        wire: WIRE_VERSION,
        fabric: args.fabric,
        generation: shared.applied(),
        metrics_url,
    });
    let stop = CancellationToken::new();
    let (from_server, orders) = watch::channel(None);
    let link = tokio::spawn(link::keep(
        server,
        Arc::clone(&mailbox),
        from_server,
        stop.clone(),
    ));
    let administered = admin.serve(Arc::clone(&shared), stop.clone());
    let served = tokio::select! {
        told = ending::told(args.leash) => told.map_err(anyhow::Error::from),
        died = shared.follow(orders, &mailbox, &kept) => died,
    };
    shared.in_force.store(false, Ordering::Relaxed);
    shared.finish().await;
    stop.cancel();
    link.await.context("the link to the server died")?;
    // A scrape that is under way has nothing to say any more.
    drop(timeout(FINISH_WITHIN, administered).await);
    served
}

struct Shared {
    router: Router,
    /// Whether a table is in force.
    in_force: AtomicBool,
}

impl Shared {
    fn apply(&self, table: RouteTable) -> bool {
        match self.router.apply(table) {
            Ok(()) => {
                self.in_force.store(true, Ordering::Relaxed);
                true
            }
            Err(refused @ (RouterError::Stale { .. } | RouterError::Bind { .. })) => {
                tracing::warn!(%refused, "a table was refused");
                false
            }
        }
    }

    fn applied(&self) -> Generation {
        match self.router.report() {
            FromRouter::Report { applied, .. } => applied,
            FromRouter::Hello { generation, .. } => generation,
        }
    }

    /// Applies what is ordered, and reports.
    async fn follow(
        &self,
        mut orders: watch::Receiver<Option<ToRouter>>,
        mailbox: &Mailbox<FromRouter>,
        kept: &Kept,
    ) -> anyhow::Result<()> {
        let mut beat = interval(REPORT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = orders.changed() => {
                    changed.context("the link to the server died")?;
                    let order = orders.borrow_and_update().clone();
                    let Some(ToRouter::Routes { table }) = order else { continue };
                    if self.apply(table.clone()) {
                        mailbox.put(self.router.report());
                        kept.save(table).await;
                    }
                }
                _ = beat.tick() => mailbox.put(self.router.report()),
            }
        }
    }

    /// Waits until no request is under way, or [`FINISH_WITHIN`].
    async fn finish(&self) {
        let mut looks = interval(LOOK_EVERY);
        let idle = async {
            while self.under_way() > 0 {
                looks.tick().await;
            }
        };
        if timeout(FINISH_WITHIN, idle).await.is_err() {
            tracing::warn!("{} requests under way are cut off", self.under_way());
        }
    }

    fn under_way(&self) -> u64 {
        match self.router.report() {
            FromRouter::Report { backends, .. } => backends
                .values()
                .flatten()
                .map(|backend| u64::from(backend.in_flight))
                .sum(),
            FromRouter::Hello { .. } => 0,
        }
    }
}

impl Tells for Shared {
    fn metrics(&self) -> String {
        self.router.metrics()
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.in_force.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("no table is in force")
        }
    }
}

/// The last table, on disk.
#[derive(Clone)]
struct Kept {
    folder: PathBuf,
}

impl Kept {
    fn in_folder(folder: &std::path::Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("routes.json")
    }

    /// The last table. One that cannot be read is told of and left out: the server sends another.
    fn load(&self) -> Option<RouteTable> {
        let read = match fs::read(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read,
        };
        let table = read
            .map_err(anyhow::Error::from)
            .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match table {
            Ok(table) => Some(table),
            Err(error) => {
                let path = self.path();
                tracing::error!(
                    "{} cannot be read: {error:#}; no table until the server sends one",
                    path.display()
                );
                None
            }
        }
    }

    /// Writes on a thread of its own; a failure is told of, since the table is in force all the same.
    async fn save(&self, table: RouteTable) {
        let kept = self.clone();
        let written = tokio::task::spawn_blocking(move || kept.write(&table)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => tracing::error!(
                "{} cannot be written: {error}; after a restart an older table would be in force until the server is reached",
                self.path().display()
            ),
        }
    }

    /// Writes beside, syncs, renames, syncs the folder: a reader sees the old table or the new one.
    fn write(&self, table: &RouteTable) -> io::Result<()> {
        let beside = self.folder.join("routes.json.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(table)?)?;
        file.sync_all()?;
        fs::rename(&beside, self.path())?;
        File::open(&self.folder)?.sync_all()
    }
}
