//! Sends accepted samples on to receivers of remote write.
//!
//! Guarantees: an accepted sample reaches each receiver, or the receiver says that it will never take it. What waits
//! in memory is bounded; beyond that, and after a crash, samples are read again from the store
//! (docs/adr/0013), so that neither a receiver that is away nor a kill loses any. Samples of a series are sent in
//! their order. Never makes who writes samples wait, but for the moment in which a time older than all others is
//! written down.
//!
//! ```toml
//! [[remote_write]]
//! url = "http://127.0.0.1:9090/api/v1/write"
//! ```

mod courier;
mod keep;
mod post;
mod shard;
mod state;

use std::{path::Path, sync::Arc};

use mainstay_core::ports::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Ekg, adapter::TlsError, metadata::Metadata, remote::Remote};
use courier::Courier;
use keep::KeepError;
pub use state::Sending;
use state::State;

/// Why sending cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RemoteStartError {
    /// TLS cannot be spoken so.
    #[error("remote_write to {url}: {error}")]
    Tls {
        /// The receiver.
        url: String,
        /// Why not.
        error: TlsError,
    },
    /// Where it stands cannot be written down.
    #[error("remote_write to {url}: {error}")]
    Keep {
        /// The receiver.
        url: String,
        /// Why not.
        error: String,
    },
    /// Two of one name would write over each other.
    #[error("two remote_write sections are named `{0}`: give one of them another `name`")]
    Twice(String),
}

/// All receivers.
#[derive(Clone, Debug, Default)]
pub struct Remotes(Arc<[Arc<State>]>);

/// What sending stands on.
pub struct Sources<'a> {
    /// The samples.
    pub ekg: &'a Ekg,
    /// What metrics are.
    pub metadata: &'a Metadata,
    /// When it is.
    pub clock: &'a Arc<dyn Clock>,
    /// Where it is written down how far each receiver is.
    pub folder: &'a Path,
}

impl Remotes {
    /// Begins to send: everything that is accepted from now on, and what an earlier run left unsent.
    pub fn start(
        remotes: impl IntoIterator<Item = Remote>,
        sources: &Sources<'_>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, RemoteStartError> {
        let mut all: Vec<Arc<State>> = Vec::new();
        for remote in remotes {
            if all.iter().any(|it| it.remote.name() == remote.name()) {
                return Err(RemoteStartError::Twice(remote.name().to_owned()));
            }
            let url = remote.url().to_owned();
            let client = remote.tls().sender();
            let client = client.map_err(|error| RemoteStartError::Tls {
                url: url.clone(),
                error,
            })?;
            let now = sources.clock.now();
            let opened = State::open(remote, sources.folder, now);
            let (state, behind) = opened.map_err(|error: KeepError| RemoteStartError::Keep {
                url,
                error: error.to_string(),
            })?;
            let state = Arc::new(state);
            let sender = post::Sender {
                state: Arc::clone(&state),
                client,
                metadata: sources.metadata.clone(),
                clock: Arc::clone(sources.clock),
            };
            let shards = shard::start(&Arc::new(sender), tasks, stop);
            let courier = Courier::new(Arc::clone(&state), sources, shards);
            tasks.spawn(courier.run(behind, stop.clone()));
            all.push(state);
        }
        Ok(Self(all.into()))
    }

    /// Makes sure that samples from `at_ms` on, which were just accepted, are sent even after a crash.
    pub(crate) async fn cover(&self, at_ms: i64) -> Result<(), KeepError> {
        for state in &*self.0 {
            state.cover(at_ms).await?;
        }
        Ok(())
    }

    /// How each receiver stands.
    pub fn sending(&self) -> Vec<Sending> {
        self.0.iter().map(|it| it.sending()).collect()
    }
}
