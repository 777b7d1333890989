//! The routers that are connected to this server.
//!
//! **Guarantees.** As [`mainstay_wire::hub`]: one connection speaks for a fabric, the newest; the last
//! table is sent at once, or when its router connects. **Never** forgets what a router last said because
//! it is gone: the view then says that it is.
//!
//! ```
//! use mainstay_traffic::hub::RouteHub;
//! # struct Stopped;
//! # impl mainstay_core::ports::Clock for Stopped {
//! #     fn now(&self) -> mainstay_core::Time { mainstay_core::Time::from_millis(0) }
//! # }
//! # let clock = std::sync::Arc::new(Stopped);
//! let hub = RouteHub::new(clock);
//! assert!(hub.view().fabrics.is_empty());
//! hub.order(&"lax".parse()?, mainstay_wire::router::RouteTable::default());
//! # Ok::<(), mainstay_core::NameError>(())
//! ```

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::{FabricName, ServiceName, Time, ports::Clock};
use mainstay_wire::{
    Generation,
    hub::{Hub, Peers},
    router::{BackendReport, FromRouter, RouteTable, ToRouter},
};
use tokio::sync::{mpsc, watch};

/// What is last known of a fabric's router.
#[derive(Debug, Clone, PartialEq)]
pub struct FabricView {
    /// Whether it is connected.
    pub connected: bool,
    /// When it was last heard, by the server's clock.
    pub received_at: Time,
    /// The generation in force there.
    pub applied: Generation,
    /// Where its metrics are scraped.
    pub metrics_url: String,
    /// Its backends, as last reported.
    pub backends: BTreeMap<ServiceName, Vec<BackendReport>>,
    /// A service that holds more than half of its connections, if one does.
    pub hoarder: Option<ServiceName>,
}

/// What is last known of all routers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterView {
    /// Every fabric whose router connected since the server started.
    pub fabrics: BTreeMap<FabricName, FabricView>,
}

/// All routers; cheap to clone.
#[derive(Clone)]
pub struct RouteHub(Arc<Hub<Fabrics>>);

impl RouteHub {
    /// One without routers.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Hub::new(Fabrics, clock)))
    }

    /// What is last known of every router that ever connected; costs one reference count.
    pub fn view(&self) -> Arc<RouterView> {
        self.0.view()
    }

    /// Counts up with each message, each connection and each end of one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }

    /// Keeps `table` as the fabric's last order, and sends it now or when its router connects.
    pub fn order(&self, fabric: &FabricName, table: RouteTable) {
        self.0
            .order(fabric, table.generation, &ToRouter::Routes { table });
    }

    /// Speaks with one router until either channel closes.
    pub async fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) {
        self.0.attend(from, to).await;
    }
}

struct Fabrics;

impl Peers for Fabrics {
    const KIND: &'static str = "router";
    type Name = FabricName;
    type Said = FromRouter;
    type View = RouterView;

    fn greeting(said: &FromRouter) -> Option<(FabricName, Generation)> {
        match said {
            FromRouter::Hello {
                wire: _,
                fabric,
                generation,
                metrics_url: _,
            } => Some((fabric.clone(), *generation)),
            FromRouter::Report { .. } => None,
        }
    }

    fn hear(&self, view: &mut RouterView, name: &FabricName, said: FromRouter, received_at: Time) {
        let known = view.fabrics.entry(name.clone()).or_insert(FabricView {
            connected: true,
            received_at,
            applied: Generation::default(),
            metrics_url: String::new(),
            backends: BTreeMap::new(),
            hoarder: None,
        });
        (known.connected, known.received_at) = (true, received_at);
        match said {
            FromRouter::Hello {
                wire: _,
                fabric: _,
                generation,
                metrics_url,
            } => (known.applied, known.metrics_url) = (generation, metrics_url),
            FromRouter::Report {
                at: _,
                applied,
                backends,
                hoarder,
            } => (known.applied, known.backends, known.hoarder) = (applied, backends, hoarder),
        }
    }

    fn left(&self, view: &mut RouterView, name: &FabricName) {
        if let Some(known) = view.fabrics.get_mut(name) {
            known.connected = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Time {
            Time::from_millis(7)
        }
    }

    #[tokio::test]
    async fn a_router_is_sent_the_last_table_and_remembered_after_it_left() {
        let hub = RouteHub::new(Arc::new(Stopped));
        let generation = Generation {
            epoch: 1,
            counter: 4,
        };
        let fabric: FabricName = "lax".parse().unwrap();
        let table = RouteTable {
            generation,
            ..RouteTable::default()
        };
        hub.order(&fabric, table.clone());
        let (say, from) = mpsc::channel(8);
        let (to, mut told) = mpsc::channel(8);
        let attending = tokio::spawn({
            let hub = hub.clone();
            async move { hub.attend(from, to).await }
        });
        for said in [
            FromRouter::Hello {
                wire: 1,
                fabric: fabric.clone(),
                generation: Generation::default(),
                metrics_url: "http://127.0.0.1:1/metrics".into(),
            },
            FromRouter::Report {
                at: Time::from_millis(1),
                applied: generation,
                backends: BTreeMap::from([("feed".parse().unwrap(), Vec::new())]),
                hoarder: Some("feed".parse().unwrap()),
            },
        ] {
            say.send(serde_json::to_string(&said).unwrap())
                .await
                .unwrap();
        }
        let order: ToRouter = serde_json::from_str(&told.recv().await.unwrap()).unwrap();
        assert_eq!(order, ToRouter::Routes { table });
        drop(say);
        attending.await.unwrap();
        let view = hub.view().fabrics[&fabric].clone();
        assert!(!view.connected);
        assert_eq!(view.applied, generation);
        assert_eq!(view.metrics_url, "http://127.0.0.1:1/metrics");
        assert!(
            view.hoarder.is_some() && view.backends.len() == 1,
            "{view:?}"
        );
    }
}
