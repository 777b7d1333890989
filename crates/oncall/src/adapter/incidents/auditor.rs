//! The auditor at work: reads what is written of every incident that is not over, and says what is missing.
//!
//! Guarantees: shares nothing with what pages people but the ledger and the channels; what it misses is in the
//! incident's own timeline, and whoever its first step means is told directly, once in a while, until it is mended. A
//! round costs what the streams of open incidents hold.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainstay_core::{
    Actor, ChangeId, Entry, Span, Time,
    change::change_stream,
    ports::{Ledger, LedgerError},
};
use tokio_util::sync::CancellationToken;

use super::{Desk, direct::Word};
use crate::incident::{
    EVENT, Event, Folded, Input,
    audit::{Missing, audit},
    fold,
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What is late by less is not missing yet: answers take seconds, and a leader that died is followed within half a
/// minute.
const SLACK: Span = Span::from_secs(90);
/// How often the same incident is told of.
const TELL_EVERY: Span = Span::from_secs(300);

/// See the module.
pub struct Auditor {
    /// Where incidents are known.
    pub desk: Desk,
    /// The ledger, read anew for each round.
    pub ledger: Arc<dyn Ledger>,
    /// Whether this server leads; of several that one looks.
    pub leads: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auditor")
    }
}

impl Auditor {
    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut told: BTreeMap<ChangeId, Time> = BTreeMap::new();
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            if !(self.leads)() {
                continue;
            }
            let now = self.desk.ports.clock.now();
            told.retain(|_, at| now.since(*at) < TELL_EVERY);
            for id in self.desk.book.all().into_iter().map(|it| it.change.id) {
                match self.look(&id, now).await {
                    Ok(Some((folded, missing))) if !told.contains_key(&id) => {
                        told.insert(id, now);
                        self.say(&folded, &missing).await;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%id, %error, "an incident was not audited"),
                }
            }
        }
    }

    /// What is missing of one, the first of it.
    async fn look(
        &self,
        id: &ChangeId,
        now: Time,
    ) -> Result<Option<(Folded, Missing)>, LedgerError> {
        let entries = self.ledger.stream(&change_stream(id)).await?;
        let Ok(folded) = fold(&entries) else {
            return Ok(None);
        };
        let events = events(&entries);
        let state = &folded.state;
        let missing = audit(&state.plan, state.opened_at, &events, now, SLACK);
        Ok(missing.into_iter().next().map(|it| (folded, it)))
    }

    /// Writes down what is missing, and tells whoever the first step means.
    async fn say(&self, folded: &Folded, missing: &Missing) {
        let id = &folded.change.id;
        tracing::error!(%id, missing = missing.what, "the auditor misses something");
        let input = Input::Differs {
            missing: missing.what.clone(),
        };
        if let Err(error) = self.desk.act(Actor::system(), id, vec![input]).await {
            tracing::error!(%id, %error, "what is missing was not written down");
        }
        let state = &folded.state;
        let word = Word {
            about: format!("audit/{id}"),
            incident: id.clone(),
            severity: state.severity,
            title: format!("{}: the auditor misses: {}", state.plan.title, missing.what),
        };
        let at = self.desk.ports.clock.now();
        self.desk.direct.tell(&state.plan.policy, &word, at).await;
    }
}

fn events(entries: &[Entry]) -> Vec<Event> {
    let own = entries.iter().filter(|entry| entry.kind == EVENT);
    own.filter_map(|entry| serde_json::from_str(&entry.body).ok())
        .collect()
}
