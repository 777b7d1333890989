//! The least that a router needs of a server: somebody who tells it where requests go.
//!
//! Only for replaying a day on which there was no Mainstay. **Guarantees.** A router that connects gets its
//! fabric's table, and a table counts as in force once the router says so. **Never** decides anything.
//!
//! Example: `Tables::serve(tables).await?`, then `until_in_force(Duration::from_secs(10))`.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use mainstay_core::FabricName;
use mainstay_wire::{
    Generation,
    router::{FromRouter, RouteTable, ToRouter},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Bytes, Message},
};

/// A router leaves a server of which it hears nothing.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The table of each fabric.
type ByFabric = BTreeMap<FabricName, RouteTable>;
/// The generation in force in each fabric.
type InForce = BTreeMap<FabricName, Generation>;

/// Tables, handed to whichever router asks.
pub(super) struct Tables {
    address: SocketAddr,
    offered: watch::Sender<ByFabric>,
    in_force: watch::Receiver<InForce>,
    task: JoinHandle<()>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tables {
    /// Listens on a port of its own.
    pub(super) async fn serve(tables: ByFabric) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port is free")?;
        let address = listener.local_addr()?;
        let (offered, _) = watch::channel(tables);
        let (told, in_force) = watch::channel(InForce::new());
        let (source, told) = (offered.clone(), Arc::new(told));
        let task = tokio::spawn(async move {
            let mut peers = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tables, told) = (source.subscribe(), Arc::clone(&told));
                peers.spawn(async move {
                    if let Err(error) = attend(stream, tables, &told).await {
                        tracing::debug!("a router has gone: {error:#}");
                    }
                });
            }
        });
        Ok(Self {
            address,
            offered,
            in_force,
            task,
        })
    }

    /// Where routers connect.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes every table, and numbers the new ones.
    pub(super) fn change(&self, change: impl Fn(&mut RouteTable)) {
        self.offered.send_modify(|tables| {
            for table in tables.values_mut() {
                change(table);
                table.generation.counter += 1;
            }
        });
    }

    /// Waits until every fabric's router says that its table is in force.
    pub(super) async fn until_in_force(&mut self, within: Duration) -> anyhow::Result<()> {
        let wanted: InForce = self
            .offered
            .borrow()
            .iter()
            .map(|(fabric, table)| (fabric.clone(), table.generation))
            .collect();
        let told = self.in_force.wait_for(|in_force| {
            let holds = |(fabric, generation)| in_force.get(fabric) >= Some(generation);
            wanted.iter().all(holds)
        });
        match tokio::time::timeout(within, told).await {
            Ok(told) => told
                .map(|_| ())
                .context("nobody listens for routers any more"),
            Err(_) => bail!("no router took its table within {} s", within.as_secs()),
        }
    }
}

async fn attend(
    stream: TcpStream,
    mut tables: watch::Receiver<ByFabric>,
    told: &watch::Sender<InForce>,
) -> anyhow::Result<()> {
    let mut socket = accept_async(stream).await?;
    let mut greeted: Option<FabricName> = None;
    let mut beat = tokio::time::interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            changed = tables.changed(), if greeted.is_some() => {
                changed.context("nobody tells routers anything any more")?;
                if let Some(fabric) = &greeted {
                    socket.send(order(&tables, fabric)?).await?;
                }
                continue;
            }
            _ = beat.tick() => {
                socket.send(Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let Some(message) = message else {
            return Ok(());
        };
        let Message::Text(text) = message? else {
            continue;
        };
        match serde_json::from_str::<FromRouter>(&text)? {
            FromRouter::Hello { fabric, .. } => {
                tables.mark_unchanged();
                socket.send(order(&tables, &fabric)?).await?;
                greeted = Some(fabric);
            }
            FromRouter::Report { applied, .. } => {
                if let Some(fabric) = &greeted {
                    told.send_if_modified(|in_force| {
                        in_force.insert(fabric.clone(), applied) != Some(applied)
                    });
                }
            }
        }
    }
}

fn order(tables: &watch::Receiver<ByFabric>, fabric: &FabricName) -> anyhow::Result<Message> {
    let table = tables.borrow().get(fabric).cloned();
    let table = table.with_context(|| format!("no fabric {fabric}"))?;
    let order = serde_json::to_string(&ToRouter::Routes { table })?;
    Ok(Message::text(order))
}
