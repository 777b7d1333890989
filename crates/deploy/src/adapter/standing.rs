//! Whether this server does a leader's work now.
//!
//! Guarantees: tried and not assumed: an append of nothing, as the leader, goes the way of every other one, so that a
//! full disk, a database that is gone and another server that leads are all found. Never writes anything, and tries
//! at most once in [`STANDS_FOR`], whoever asks.

use std::time::Duration;

use mainstay_change::Direction;
use mainstay_core::ports::{Declined, No};
use tokio::time::{Instant, timeout};

use super::{Engine, lease::Unwritten};

/// How long an answer stands: asking is open to anybody.
const STANDS_FOR: Duration = Duration::from_secs(1);
/// A ledger that takes longer takes nothing that anybody waits for.
const WITHIN: Duration = Duration::from_secs(2);

/// What came of the last try, and when.
pub(super) type Stood = (Instant, Result<(), Declined>);

impl Engine {
    /// Whether orders are walked and written down now, or why not.
    pub async fn ready(&self) -> Result<(), Declined> {
        let mut stood = self.0.stood.lock().await;
        if let Some((at, answer)) = &*stood
            && at.elapsed() < STANDS_FOR
        {
            return answer.clone();
        }
        let nothing = self.append_led(Direction::Forward, Vec::new(), Vec::new());
        let answer = match timeout(WITHIN, nothing).await {
            Ok(written) => written.map_err(not_ready),
            Err(_) => Err(unwritten(format!(
                "the ledger took nothing for {} s",
                WITHIN.as_secs()
            ))),
        };
        *stood = Some((Instant::now(), answer.clone()));
        answer
    }
}

fn not_ready(error: Unwritten) -> Declined {
    match error {
        // Nothing but the leadership was expected.
        Unwritten::NotLeading | Unwritten::Stale => Declined::new(
            No::Unavailable,
            "not-leading",
            "this server does not walk the changes: it is only beginning to, or another one does",
            "wait a moment, or ask the server that leads",
        ),
        Unwritten::Ledger(error) => unwritten(error.to_string()),
    }
}

fn unwritten(what: String) -> Declined {
    let remedy = "free disk space, or bring the database back; what runs goes on meanwhile";
    Declined::new(No::Unavailable, "ledger-unwritable", what, remedy)
}
