//! The server's side of connections that stay open: who is there, what they last said, what they were
//! last told.
//!
//! **Guarantees.** One connection speaks for a name: the newest. A peer that comes (back) is told the
//! last order for its name unless it holds that generation already; an order given while it is there is
//! sent at once, and of several only the last. What an older connection says after a newer one opened is
//! ignored. **Never** does I/O: frames come and go by bounded channels; and never keeps a peer whose
//! words it cannot read.
//!
//! [`Peers`] says what differs between agents and routers:
//!
//! ```
//! use std::collections::BTreeMap;
//! use mainstay_core::Time;
//! use mainstay_wire::{Generation, hub::{Hub, Peers}};
//!
//! struct Rooms;
//! impl Peers for Rooms {
//!     const KIND: &'static str = "room";
//!     type Name = String;
//!     type Said = (String, u64);
//!     type View = BTreeMap<String, u64>;
//!     fn greeting(said: &Self::Said) -> Option<(String, Generation)> {
//!         Some((said.0.clone(), Generation::default()))
//!     }
//!     fn hear(&self, view: &mut Self::View, name: &String, said: Self::Said, _: Time) {
//!         view.insert(name.clone(), said.1);
//!     }
//!     fn left(&self, view: &mut Self::View, name: &String) {
//!         view.remove(name);
//!     }
//! }
//! # struct Stopped;
//! # impl mainstay_core::ports::Clock for Stopped {
//! #     fn now(&self) -> Time { Time::from_millis(0) }
//! # }
//! let hub = Hub::new(Rooms, std::sync::Arc::new(Stopped));
//! assert!(hub.view().is_empty());
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay_core::{Time, ports::Clock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};

use crate::{FRAME_BYTES_MAX, Generation, WIRE_VERSION};

/// How long a peer may take to say who it is: it has nothing to wait for.
pub const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Most names that connected or got an order: what each last said is kept for as long as the server lives.
pub const NAMES_MAX: usize = 10_000;
/// Most bytes of an unreadable frame that are logged.
const QUOTED_BYTES_MAX: usize = 80;

/// What one kind of peers says, and what is kept of it.
pub trait Peers: Send + Sync + 'static {
    /// What such a peer speaks for, for log lines.
    const KIND: &'static str;
    /// Names a peer.
    type Name: Clone + Ord + fmt::Display + Send + Sync;
    /// What a peer says.
    type Said: DeserializeOwned + Send;
    /// What is last known of all of them.
    type View: Clone + Default + Send + Sync;

    /// Whom it speaks for and the generation it holds, if it is a Hello.
    fn greeting(said: &Self::Said) -> Option<(Self::Name, Generation)>;
    /// Enters what was said, a Hello included. Called under a lock: it must not block.
    fn hear(&self, view: &mut Self::View, name: &Self::Name, said: Self::Said, at: Time);
    /// Enters that the peer is gone.
    fn left(&self, view: &mut Self::View, name: &Self::Name);
}

/// Why a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum End {
    #[error("it left")]
    Left,
    #[error("a newer connection speaks for it")]
    Replaced,
    #[error("it did not say Hello within {} s", HELLO_WITHIN.as_secs())]
    Mute,
    #[error("it left before it said Hello")]
    Wordless,
    #[error("its first message is not a Hello but `{0}`")]
    NoHello(String),
    #[error(
        "it writes version {0} of the messages, this server reads up to {WIRE_VERSION}; update the server first"
    )]
    Newer(u64),
    #[error("it said Hello a second time")]
    HelloAgain,
    #[error("its message cannot be read: {why}: `{frame}`")]
    Unreadable { why: String, frame: String },
    #[error("{NAMES_MAX} names are known already")]
    TooMany,
}

/// Reads of a first frame what every version writes, so that a newer peer is named as such.
#[derive(Deserialize)]
struct Opening {
    #[serde(rename = "type")]
    kind: String,
    wire: Option<u64>,
}

#[derive(Clone)]
struct Order {
    generation: Generation,
    frame: Arc<str>,
}

/// What a name is told, and by which connection it is reached.
#[derive(Default)]
struct Desk {
    session: u64,
    order: Option<Order>,
    /// Counts the orders kept.
    orders: u64,
}

struct State<P: Peers> {
    view: Arc<P::View>,
    desks: BTreeMap<P::Name, watch::Sender<Desk>>,
    /// Counts the connections that were greeted: each has a number of its own.
    sessions: u64,
}

/// All peers of one kind.
pub struct Hub<P: Peers> {
    peers: P,
    clock: Arc<dyn Clock>,
    state: Mutex<State<P>>,
    changed: watch::Sender<u64>,
}

impl<P: Peers> Hub<P> {
    /// One that nobody has connected to.
    pub fn new(peers: P, clock: Arc<dyn Clock>) -> Self {
        Self {
            peers,
            clock,
            state: Mutex::new(State {
                view: Arc::default(),
                desks: BTreeMap::new(),
                sessions: 0,
            }),
            changed: watch::Sender::new(0),
        }
    }

    /// What is last known of every peer that ever connected; costs one reference count.
    pub fn view(&self) -> Arc<P::View> {
        Arc::clone(&self.state().view)
    }

    /// Counts up with each message, each Hello and each end of a connection.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Keeps `message` as the last order for `name`, and sends it now or as soon as it connects. The same
    /// order again does nothing.
    pub fn order(&self, name: &P::Name, generation: Generation, message: &impl Serialize) {
        let frame = match serde_json::to_string(message) {
            Ok(frame) if frame.len() <= FRAME_BYTES_MAX => frame,
            Ok(frame) => {
                let bytes = frame.len();
                tracing::error!(kind = P::KIND, %name, bytes, limit = FRAME_BYTES_MAX, "an order is too large to be sent; the one before it stands");
                return;
            }
            Err(error) => {
                tracing::error!(kind = P::KIND, %name, %error, "an order cannot be written; the one before it stands");
                return;
            }
        };
        let mut state = self.state();
        let desk = desk(&mut state, name);
        desk.send_if_modified(|desk| {
            let held = desk.order.as_ref();
            if held.is_some_and(|held| held.generation == generation && *held.frame == *frame) {
                return false;
            }
            desk.orders += 1;
            desk.order = Some(Order {
                generation,
                frame: frame.into(),
            });
            true
        });
    }

    /// Speaks with one peer until either channel closes, it says what cannot be read, or a newer connection
    /// takes its name. It may be dropped at any moment: the peer then counts as gone.
    pub async fn attend(&self, mut from: mpsc::Receiver<String>, to: mpsc::Sender<String>) {
        let kind = P::KIND;
        let (session, hello) = match self.greet(&mut from).await {
            Ok(greeted) => greeted,
            Err(end) => {
                tracing::warn!(kind, %end, "a peer was refused");
                return;
            }
        };
        tracing::info!(kind, name = %session.name, "connected");
        match session.talk(hello, from, to).await {
            End::Left => tracing::info!(kind, name = %session.name, "disconnected"),
            end => tracing::warn!(kind, name = %session.name, %end, "a connection was closed"),
        }
    }

    async fn greet(
        &self,
        from: &mut mpsc::Receiver<String>,
    ) -> Result<(Session<'_, P>, Generation), End> {
        let frame = tokio::time::timeout(HELLO_WITHIN, from.recv())
            .await
            .map_err(|_| End::Mute)?
            .ok_or(End::Wordless)?;
        let opening: Opening = read(&frame)?;
        match opening.wire {
            Some(wire) if wire > u64::from(WIRE_VERSION) => return Err(End::Newer(wire)),
            Some(_) | None => {}
        }
        let said: P::Said = read(&frame)?;
        let Some((name, generation)) = P::greeting(&said) else {
            return Err(End::NoHello(opening.kind));
        };
        let mut state = self.state();
        if state.desks.len() >= NAMES_MAX && !state.desks.contains_key(&name) {
            return Err(End::TooMany);
        }
        state.sessions += 1;
        let number = state.sessions;
        let desk = desk(&mut state, &name);
        desk.send_modify(|desk| desk.session = number);
        let orders = desk.subscribe();
        self.peers.hear(
            Arc::make_mut(&mut state.view),
            &name,
            said,
            self.clock.now(),
        );
        drop(state);
        self.bump();
        let session = Session {
            hub: self,
            name,
            number,
            orders,
        };
        Ok((session, generation))
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        // Every change under the lock is whole before it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

fn desk<'a, P: Peers>(state: &'a mut State<P>, name: &P::Name) -> &'a watch::Sender<Desk> {
    state
        .desks
        .entry(name.clone())
        .or_insert_with(|| watch::Sender::new(Desk::default()))
}

fn read<T: DeserializeOwned>(frame: &str) -> Result<T, End> {
    serde_json::from_str(frame).map_err(|error| End::Unreadable {
        why: error.to_string(),
        frame: frame[..frame.floor_char_boundary(QUOTED_BYTES_MAX)].to_owned(),
    })
}

/// One connection that speaks for a name; its end is entered even if it is dropped half-way.
struct Session<'a, P: Peers> {
    hub: &'a Hub<P>,
    name: P::Name,
    number: u64,
    orders: watch::Receiver<Desk>,
}

impl<P: Peers> Session<'_, P> {
    async fn talk(
        &self,
        held: Generation,
        mut from: mpsc::Receiver<String>,
        to: mpsc::Sender<String>,
    ) -> End {
        let mut orders = self.orders.clone();
        let mut told = None;
        loop {
            let due = {
                let desk = orders.borrow_and_update();
                if desk.session != self.number {
                    return End::Replaced;
                }
                let before = told.replace(desk.orders);
                desk.order.clone().filter(|order| match before {
                    None => order.generation != held,
                    Some(count) => count != desk.orders,
                })
            };
            if let Some(order) = due {
                if to.send(order.frame.to_string()).await.is_err() {
                    return End::Left;
                }
                continue;
            }
            tokio::select! {
                biased;
                changed = orders.changed() => if changed.is_err() {
                    return End::Left;
                },
                frame = from.recv() => match frame.as_deref().map(read::<P::Said>) {
                    None => return End::Left,
                    Some(Err(end)) => return end,
                    Some(Ok(said)) if P::greeting(&said).is_some() => return End::HelloAgain,
                    Some(Ok(said)) => self.heard(said),
                },
                () = to.closed() => return End::Left,
            }
        }
    }

    fn speaks(&self) -> bool {
        self.orders.borrow().session == self.number
    }

    fn heard(&self, said: P::Said) {
        let mut state = self.hub.state();
        // Asked under the lock: a newer connection takes the name under it.
        if !self.speaks() {
            return;
        }
        let at = self.hub.clock.now();
        let view = Arc::make_mut(&mut state.view);
        self.hub.peers.hear(view, &self.name, said, at);
        drop(state);
        self.hub.bump();
    }
}

impl<P: Peers> Drop for Session<'_, P> {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if self.speaks() {
            let view = Arc::make_mut(&mut state.view);
            self.hub.peers.left(view, &self.name);
            drop(state);
            self.hub.bump();
        }
    }
}

#[cfg(test)]
mod tests;
