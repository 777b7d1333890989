//! The agents that are connected to this server.
//!
//! **Guarantees.** As [`mainstay_wire::hub`]; moreover what moved on a host without an order is handed on
//! in the order it came, and what there was no room for is counted and told. **Never** forgets what a host
//! last said because it is gone: the view then says that it is.
//!
//! ```
//! use mainstay_fleet::hub::FleetHub;
//! # struct Stopped;
//! # impl mainstay_core::ports::Clock for Stopped {
//! #     fn now(&self) -> mainstay_core::Time { mainstay_core::Time::from_millis(0) }
//! # }
//! # let clock = std::sync::Arc::new(Stopped);
//! let (hub, unordered) = FleetHub::new(clock);
//! assert!(hub.view().hosts.is_empty());
//! hub.order(&"h1".parse()?, mainstay_wire::agent::DesiredSet::default());
//! # Ok::<(), mainstay_core::NameError>(())
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::{HostName, InstanceName, ServiceName, Time, ports::Clock};
use mainstay_wire::{
    Generation,
    agent::{DesiredSet, Found, FromAgent, InstanceReport, ToAgent},
    hub::{Hub, Peers},
};
use tokio::sync::{mpsc, watch};

/// Unordered events that may wait to be taken: a whole host may lose its instances at once.
pub const UNORDERED_MAX: usize = 1_024;

/// What is last known of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostView {
    /// Whether its agent is connected.
    pub connected: bool,
    /// When it was last heard, by the server's clock.
    pub received_at: Time,
    /// The generation it acts on.
    pub generation: Generation,
    /// Where its metrics are scraped; empty where they are not.
    pub metrics_url: String,
    /// Its instances, as last reported.
    pub instances: Vec<InstanceReport>,
    /// What it found of services that are only observed.
    pub found: Vec<Found>,
}

/// What is last known of all hosts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetView {
    /// Every host that connected since the server started.
    pub hosts: BTreeMap<HostName, HostView>,
}

/// Something that moved on a host without an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unordered {
    /// The host.
    pub host: HostName,
    /// When, by the host's clock.
    pub at: Time,
    /// The instance, where it is one of ours.
    pub instance: Option<InstanceName>,
    /// The service, where it is one that is only observed.
    pub service: Option<ServiceName>,
    /// What was seen.
    pub what: String,
}

/// All agents; cheap to clone.
#[derive(Clone)]
pub struct FleetHub(Arc<Hub<Hosts>>);

impl FleetHub {
    /// One without hosts, and where what moved without an order comes out.
    pub fn new(clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Unordered>) {
        let (to, unordered) = mpsc::channel(UNORDERED_MAX);
        let hosts = Hosts {
            to,
            lost: Mutex::default(),
        };
        (Self(Arc::new(Hub::new(hosts, clock))), unordered)
    }

    /// What is last known of every host that ever connected; costs one reference count.
    pub fn view(&self) -> Arc<FleetView> {
        self.0.view()
    }

    /// Counts up with each message, each connection and each end of one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }

    /// Keeps `set` as the host's last order, and sends it now or when it connects.
    pub fn order(&self, host: &HostName, set: DesiredSet) {
        self.0
            .order(host, set.generation, &ToAgent::Desired { set });
    }

    /// Speaks with one agent until either channel closes.
    pub async fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) {
        self.0.attend(from, to).await;
    }
}

struct Hosts {
    to: mpsc::Sender<Unordered>,
    /// How many events of a host there was no room for since the last that there was.
    lost: Mutex<BTreeMap<HostName, u64>>,
}

impl Hosts {
    /// Tells what was lost as soon as there is room, then `event`.
    fn tell(&self, host: &HostName, at: Time, event: Option<Unordered>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = lost.get(host) {
            let told = self.to.try_send(Unordered {
                host: host.clone(),
                at,
                instance: None,
                service: None,
                what: format!("{count} earlier events were lost while nobody took them"),
            });
            if told.is_ok() {
                lost.remove(host);
            }
        }
        let Some(event) = event else { return };
        if let Err(error) = self.to.try_send(event) {
            tracing::warn!(%host, %error, "an unordered event was lost; the next report tells so");
            *lost.entry(host.clone()).or_default() += 1;
        }
    }
}

impl Peers for Hosts {
    const KIND: &'static str = "host";
    type Name = HostName;
    type Said = FromAgent;
    type View = FleetView;

    fn greeting(said: &FromAgent) -> Option<(HostName, Generation)> {
        match said {
            FromAgent::Hello {
                wire: _,
                host,
                generation,
                metrics_url: _,
            } => Some((host.clone(), *generation)),
            FromAgent::Report { .. } | FromAgent::Unordered { .. } => None,
        }
    }

    fn hear(&self, view: &mut FleetView, host: &HostName, said: FromAgent, received_at: Time) {
        let known = view.hosts.entry(host.clone()).or_insert(HostView {
            connected: true,
            received_at,
            generation: Generation::default(),
            metrics_url: String::new(),
            instances: Vec::new(),
            found: Vec::new(),
        });
        (known.connected, known.received_at) = (true, received_at);
        match said {
            FromAgent::Hello {
                wire: _,
                host: _,
                generation,
                metrics_url,
            } => (known.generation, known.metrics_url) = (generation, metrics_url),
            FromAgent::Report {
                at,
                generation,
                instances,
                found,
            } => {
                (known.generation, known.instances) = (generation, instances);
                known.found = found;
                self.tell(host, at, None);
            }
            FromAgent::Unordered {
                at,
                instance,
                service,
                what,
            } => {
                let event = Unordered {
                    host: host.clone(),
                    at,
                    instance,
                    service,
                    what,
                };
                self.tell(host, at, Some(event));
            }
        }
    }

    fn left(&self, view: &mut FleetView, host: &HostName) {
        if let Some(known) = view.hosts.get_mut(host) {
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

    fn text(said: &FromAgent) -> String {
        serde_json::to_string(said).unwrap()
    }

    fn event(number: usize) -> FromAgent {
        FromAgent::Unordered {
            at: Time::from_millis(1),
            instance: None,
            service: None,
            what: number.to_string(),
        }
    }

    #[tokio::test]
    async fn events_that_nobody_takes_are_counted_and_the_loss_is_told_with_the_next_report() {
        let (hub, mut unordered) = FleetHub::new(Arc::new(Stopped));
        let (say, from) = mpsc::channel(8);
        let (to, _told) = mpsc::channel(8);
        let attending = tokio::spawn({
            let hub = hub.clone();
            async move { hub.attend(from, to).await }
        });
        let hello = FromAgent::Hello {
            wire: 1,
            host: "h1".parse().unwrap(),
            generation: Generation::default(),
            metrics_url: "http://127.0.0.1:1/metrics".to_owned(),
        };
        say.send(text(&hello)).await.unwrap();
        for number in 0..UNORDERED_MAX + 3 {
            say.send(text(&event(number))).await.unwrap();
        }
        let seen = hub.changed();
        let mut changed = seen.clone();
        changed
            .wait_for(|count| *count >= UNORDERED_MAX as u64 + 4)
            .await
            .unwrap();
        for number in 0..UNORDERED_MAX {
            assert_eq!(unordered.recv().await.unwrap().what, number.to_string());
        }
        let report = FromAgent::Report {
            at: Time::from_millis(2),
            generation: Generation::default(),
            instances: Vec::new(),
            found: Vec::new(),
        };
        say.send(text(&report)).await.unwrap();
        let told = unordered.recv().await.unwrap();
        assert!(
            told.what.starts_with("3 earlier events were lost"),
            "{told:?}"
        );
        drop(say);
        attending.await.unwrap();
        let host = hub.view().hosts.values().next().unwrap().clone();
        assert_eq!((host.connected, host.received_at.millis()), (false, 7));
        assert_eq!(host.metrics_url, "http://127.0.0.1:1/metrics");
    }
}
