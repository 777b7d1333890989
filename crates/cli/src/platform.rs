//! Wires the store to the server: adapters for the ports, ids, the clock, the life of the process.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, bail};
use mainstay_change::{EffectId, freeze::Freeze};
use mainstay_core::{
    Actor, Append, ChangeId, Entry, StreamId, Time,
    ports::{BoxFuture, Clock, Identity, Ledger, LedgerError, Tables, TokenHolder},
};
use mainstay_runtime::{Codecs, DriveError, Inbox, Performer, Runtime, Shell, drive, lead};
use mainstay_server::{Access, App};
use mainstay_store::{ChangeSummary, Options, Store, StoreError};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Letters of a change's id: none that looks like another.
const ID_LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Letters in an id: 10 of 32 make a collision within a million changes less likely than 1 in 2,000.
const ID_LENGTH: usize = 10;

/// Entries that may wait for the runtime; a person's order beyond it is refused.
const INPUTS_MAX: usize = 256;
/// Open changes asked for at once.
const OPEN_PAGE: usize = 1_000;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The wall clock, for commands that write without a server.
pub(crate) fn now() -> Time {
    SystemClock.now()
}

#[derive(Clone)]
struct Ports(Store);

impl Ledger for Ports {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.append(append)
    }
    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.since(seq, limit)
    }
    fn stream<'a>(
        &'a self,
        stream: &'a StreamId,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        self.0.stream(stream)
    }
}

impl Tables for Ports {
    fn get<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>> {
        Box::pin(async move {
            let row = self.0.get(table, key).await.map_err(unavailable)?;
            Ok(row.map(|row| row.body))
        })
    }
    fn list<'a>(
        &'a self,
        table: &'a str,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, LedgerError>> {
        Box::pin(async move {
            let after = Some(after).filter(|key| !key.is_empty());
            let rows = self
                .0
                .list(table, prefix, after, limit)
                .await
                .map_err(unavailable)?;
            Ok(rows.into_iter().map(|row| (row.key, row.body)).collect())
        })
    }
}

impl Identity for Ports {
    fn holder<'a>(
        &'a self,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>> {
        Box::pin(async move {
            let token = self.0.check_token(secret).await.map_err(unavailable)?;
            Ok(token.map(|token| TokenHolder {
                name: token.name,
                scopes: token.scopes,
            }))
        })
    }
}

/// Freezes want nothing done; a kind of change that does brings its own hands.
struct NoHands;

impl Performer for NoHands {
    fn perform(&self, change: ChangeId, id: EffectId, _: String) -> BoxFuture<'_, Vec<Inbox>> {
        tracing::error!(%change, ?id, "nothing here can do this effect");
        Box::pin(async { Vec::new() })
    }
}

/// Takes the leadership, and what is needed to walk all open changes from there.
async fn take_over(store: &Store) -> anyhow::Result<(Runtime, Shell, mpsc::Sender<Inbox>)> {
    let ports = Ports(store.clone());
    let leadership = lead(&ports, Actor::system(), now()).await?;
    let since = *store.subscribe().borrow();
    let runtime = Runtime::new(Codecs::new().with::<Freeze>(), Actor::system(), leadership);
    let (sender, inputs) = mpsc::channel(INPUTS_MAX);
    let shell = Shell {
        ledger: Arc::new(ports),
        clock: Arc::new(SystemClock),
        performer: Arc::new(NoHands),
        inputs,
        open: open_changes(store).await?,
        since,
    };
    Ok((runtime, shell, sender))
}

async fn walk_changes(
    runtime: Runtime,
    shell: Shell,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    match drive(runtime, shell, stop).await {
        Err(DriveError::Fenced) => {
            tracing::warn!("another server walks the changes now; this one goes on answering");
            Ok(())
        }
        ended => Ok(ended?),
    }
}

async fn open_changes(store: &Store) -> anyhow::Result<Vec<ChangeId>> {
    let mut open = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store
            .list("changes", "", after.as_deref(), OPEN_PAGE)
            .await?;
        let Some(last) = page.last() else {
            return Ok(open);
        };
        after = Some(last.key.clone());
        for row in page {
            let summary: ChangeSummary = serde_json::from_str(&row.body)
                .with_context(|| format!("change {} cannot be read", row.key))?;
            if !summary.state.is_final() {
                open.push(summary.change.id);
            }
        }
    }
}

fn unavailable(error: StoreError) -> LedgerError {
    LedgerError::Unavailable(format!("{:#}", anyhow::Error::new(error)))
}

fn new_change_id() -> ChangeId {
    let mut random = [0_u8; ID_LENGTH];
    // Without entropy no id may be made up: the process cannot go on.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let letters: String = random
        .iter()
        .map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)]))
        .collect();
    ChangeId::new(format!("chg-{letters}")).expect("the letters of an id are letters of a name")
}

/// Opens the SQLite store of a data directory.
pub(crate) async fn open_data_dir(data_dir: &Path) -> anyhow::Result<Store> {
    let file = data_dir.join("mainstay.db");
    Store::sqlite(&file, Options::default())
        .await
        .with_context(|| format!("cannot open {}", file.display()))
}

/// A server that listens.
pub(crate) struct Running {
    /// Where.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    walk: tokio::task::JoinHandle<anyhow::Result<()>>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    store: Store,
}

/// Starts a server on `listen`; beyond loopback only where a token exists.
pub(crate) async fn start(
    store: Store,
    listen: SocketAddr,
    require_token: bool,
) -> anyhow::Result<Running> {
    let tokens = store.list_tokens(None, 1).await?;
    if !listen.ip().is_loopback() && tokens.is_empty() {
        bail!(
            "refusing to listen on {listen} without authentication: make a token first \
             (`mainstay token create NAME --scope admin --data-dir DIR`), or listen on 127.0.0.1"
        );
    }
    let open = listen.ip().is_loopback() && !require_token;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: choose another with --listen"))?;
    let ports = Arc::new(Ports(store.clone()));
    let app = App {
        ledger: ports.clone(),
        tables: ports.clone(),
        identity: ports,
        clock: Arc::new(SystemClock),
        next_change_id: Arc::new(new_change_id),
        newest: store.subscribe(),
        access: if open {
            Access::OpenOnLoopback
        } else {
            Access::Tokens
        },
        changes: Arc::new(crate::unwired::Unwired),
        views: Arc::new(crate::unwired::Unwired),
        queries: Arc::new(crate::unwired::Unwired),
        agents: Arc::new(crate::unwired::Unwired),
        routers: Arc::new(crate::unwired::Unwired),
    };
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let (runtime, shell, _inputs) = take_over(&store).await?;
    let walk = tokio::spawn(walk_changes(runtime, shell, stop.clone()));
    let task = tokio::spawn(mainstay_server::serve(listener, app, stop.clone()));
    Ok(Running {
        address,
        stop,
        walk,
        task,
        store,
    })
}

/// Comes back only when the walk failed.
async fn walked(walk: &mut tokio::task::JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    walk.await.context("the task that walks changes died")??;
    std::future::pending().await
}

impl Running {
    /// Serves until SIGINT or SIGTERM, then lets requests under way finish.
    pub(crate) async fn until_signal(mut self) -> anyhow::Result<()> {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            ended = &mut self.task => ended??,
            // A walk that was fenced has ended well: the API goes on. Any other end is a failure.
            Err(error) = walked(&mut self.walk) => return Err(error),
            _ = tokio::signal::ctrl_c() => self.finish().await?,
            _ = term.recv() => self.finish().await?,
        }
        self.store.close().await;
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        // A live feed never ends by itself; its client resumes elsewhere.
        let grace = std::time::Duration::from_secs(3);
        if let Ok(ended) = tokio::time::timeout(grace, &mut self.task).await {
            return Ok(ended??);
        }
        self.task.abort();
        Ok(())
    }
}
