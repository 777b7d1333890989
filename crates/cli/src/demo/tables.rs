//! The least that a router needs of a server: somebody who tells it where requests go.
//!
//! Only for replaying a day on which there was no Mainstay. **Guarantees.** A router that connects gets its
//! fabric's table, and a table counts as in force once the router says so. **Never** decides anything.
//!
//! Example: `Tables::serve(tables).await?`, then `until_in_force(Duration::from_secs(10))`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use mainstay_core::FabricName;
use mainstay_wire::router::{FromRouter, RouteTable, ToRouter};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// Tables, handed to whichever router asks.
pub(super) struct Tables {
    address: SocketAddr,
    fabrics: BTreeSet<FabricName>,
    in_force: watch::Receiver<BTreeSet<FabricName>>,
    task: JoinHandle<()>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tables {
    /// Listens on a port of its own.
    pub(super) async fn serve(tables: BTreeMap<FabricName, RouteTable>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port is free")?;
        let address = listener.local_addr()?;
        let fabrics = tables.keys().cloned().collect();
        let (told, in_force) = watch::channel(BTreeSet::new());
        let (tables, told) = (Arc::new(tables), Arc::new(told));
        let task = tokio::spawn(async move {
            let mut peers = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tables, told) = (Arc::clone(&tables), Arc::clone(&told));
                peers.spawn(async move {
                    if let Err(error) = attend(stream, &tables, &told).await {
                        tracing::warn!("a router has gone: {error:#}");
                    }
                });
            }
        });
        Ok(Self {
            address,
            fabrics,
            in_force,
            task,
        })
    }

    /// Where routers connect.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until every fabric's router says that its table is in force.
    pub(super) async fn until_in_force(&mut self, within: Duration) -> anyhow::Result<()> {
        let all = &self.fabrics;
        let told = self.in_force.wait_for(|fabrics| fabrics.is_superset(all));
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
    tables: &BTreeMap<FabricName, RouteTable>,
    told: &watch::Sender<BTreeSet<FabricName>>,
) -> anyhow::Result<()> {
    let mut socket = accept_async(stream).await?;
    let mut greeted: Option<(&FabricName, &RouteTable)> = None;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        match serde_json::from_str::<FromRouter>(&text)? {
            FromRouter::Hello { fabric, .. } => {
                let found = tables.get_key_value(&fabric);
                let (fabric, table) = found.with_context(|| format!("no fabric {fabric}"))?;
                let order = ToRouter::Routes {
                    table: table.clone(),
                };
                let order = serde_json::to_string(&order)?;
                socket.send(Message::text(order)).await?;
                greeted = Some((fabric, table));
            }
            FromRouter::Report { applied, .. } => {
                if let Some((fabric, table)) = greeted
                    && applied >= table.generation
                {
                    told.send_if_modified(|fabrics| fabrics.insert(fabric.clone()));
                }
            }
        }
    }
    Ok(())
}
