//! The hubs of agents and routers, as the server's streams.
//!
//! **Guarantees.** Hands frames through as they are. **Never** decides anything: [`FleetHub`] and
//! [`RouteHub`] do.
//!
//! ```text
//! let (fleet, unordered) = FleetHub::new(clock);
//! let app = App { agents: Arc::new(Agents(fleet.clone())), .. };
//! ```

use mainstay_core::ports::BoxFuture;
use mainstay_fleet::hub::FleetHub;
use mainstay_server::Streams;
use mainstay_traffic::hub::RouteHub;
use tokio::sync::mpsc;

/// Agents that connect.
pub(crate) struct Agents(pub(crate) FleetHub);

/// Routers that connect.
pub(crate) struct Routers(pub(crate) RouteHub);

impl Streams for Agents {
    fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) -> BoxFuture<'_, ()> {
        Box::pin(self.0.attend(from, to))
    }
}

impl Streams for Routers {
    fn attend(&self, from: mpsc::Receiver<String>, to: mpsc::Sender<String>) -> BoxFuture<'_, ()> {
        Box::pin(self.0.attend(from, to))
    }
}
