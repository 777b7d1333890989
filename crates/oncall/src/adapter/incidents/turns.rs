//! Whose turn it is to write.
//!
//! Guarantees: of one incident, and of one key of alerts, one at a time writes here, so that only other servers come
//! between: a storm of alerts that are alike would wear out its tries on itself. Whoever has the turn of a key may wait
//! for that of an incident, never the other way round.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::{Mutex, MutexGuard};

/// Names that share a turn wait for each other without need; so many turns make that rare.
const TURNS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    incidents: Vec<Mutex<()>>,
    keys: Vec<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        let turns = || (0..TURNS).map(|_| Mutex::default()).collect();
        Self {
            incidents: turns(),
            keys: turns(),
        }
    }
}

impl Turns {
    /// Waits for the turn of an incident.
    pub(super) async fn of_incident(&self, id: &str) -> MutexGuard<'_, ()> {
        at(&self.incidents, id).await
    }

    /// Waits for the turn of what alerts have alike.
    pub(super) async fn of_key(&self, key: &str) -> MutexGuard<'_, ()> {
        at(&self.keys, key).await
    }
}

async fn at<'t>(turns: &'t [Mutex<()>], name: &str) -> MutexGuard<'t, ()> {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let at = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
    turns[at].lock().await
}
