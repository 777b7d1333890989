//! Which of several servers on one ledger leads.
//!
//! Guarantees: one that says nothing for [`TAKE_AFTER`], by the watcher's own clock, is followed by another; the
//! leader itself stops [`LEAD_FOR`] after its last word arrived, so that it has stopped before. Whatever either
//! believes, the ledger takes a leader's entries only from whoever took the leadership there last
//! (docs/adr/0012). Never compares the clocks of two machines.

use std::{future::Future, path::Path, time::Duration};

use anyhow::Context as _;
use mainstay_server::Leader;
use mainstay_store::{Lease, Store};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The lease.
const NAME: &str = "leader";
/// How often the leader says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long it leads after its last word arrived.
const LEAD_FOR: Duration = Duration::from_secs(8);
/// How long others wait for a word of it.
const TAKE_AFTER: Duration = Duration::from_secs(12);
/// How often those who do not lead look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who leads a ledger that only one server can open.
const ALONE: &str = "the only server of this data directory";
/// The name of a server among several, kept in its data directory.
const NAME_FILE: &str = "server-name";

/// This server, as the others see it.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    owner: String,
    place: String,
}

impl Me {
    /// By a name that it keeps: started anew it goes on at once. Where nobody else can open the ledger all
    /// servers are one.
    pub(crate) fn of(data_dir: &Path, shared: bool, place: &str) -> anyhow::Result<Self> {
        let owner = if shared {
            kept_name(data_dir)?
        } else {
            ALONE.to_owned()
        };
        Ok(Self {
            owner,
            place: place.to_owned(),
        })
    }
}

fn kept_name(data_dir: &Path) -> anyhow::Result<String> {
    let file = data_dir.join(NAME_FILE);
    match std::fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
    let name = format!("server-{:016x}", getrandom::u64()?);
    std::fs::write(&file, &name).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(name)
}

/// Who was seen to lead, and since when nothing new was heard.
#[derive(Default)]
struct Watched {
    last: Option<(Lease, Instant)>,
}

impl Watched {
    /// Takes in what stands; whether its holder was silent for too long.
    fn is_silent(&mut self, seen: &Lease, now: Instant) -> bool {
        match &self.last {
            Some((last, since)) if last == seen => now - *since >= TAKE_AFTER,
            Some(_) | None => {
                self.last = Some((seen.clone(), now));
                false
            }
        }
    }
}

/// Waits until this server may lead, and tells meanwhile who does.
async fn contend(store: &Store, me: &Me, told: &watch::Sender<Leader>) -> Lease {
    let mut watched = Watched::default();
    loop {
        match look(store, me, &mut watched, told).await {
            Ok(Some(lease)) => return lease,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "who leads cannot be read; it is asked again"),
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(
    store: &Store,
    me: &Me,
    watched: &mut Watched,
    told: &watch::Sender<Leader>,
) -> Result<Option<Lease>, mainstay_store::StoreError> {
    if let Some(lease) = store.acquire(NAME, &me.owner, &me.place).await? {
        return Ok(Some(lease));
    }
    let Some(seen) = store.holder(NAME).await? else {
        return Ok(None);
    };
    let elsewhere = Leader::At(seen.place.clone());
    if *told.borrow() != elsewhere {
        tracing::info!(
            leader = seen.place,
            "another server leads; this one stands by"
        );
        told.send_replace(elsewhere);
    }
    if watched.is_silent(&seen, Instant::now()) {
        tracing::warn!(
            leader = seen.place,
            "the leader says nothing any more; this server follows it"
        );
        return store.take_over(&seen, &me.owner, &me.place).await;
    }
    Ok(None)
}

/// Says that this server is there, until that is in doubt.
async fn hold(store: &Store, lease: &Lease) {
    let mut last = Instant::now();
    loop {
        sleep(BEAT_EVERY).await;
        let sent = Instant::now();
        match timeout(BEAT_EVERY, store.beat(lease)).await {
            Ok(Ok(true)) => last = sent,
            Ok(Ok(false)) => {
                tracing::warn!("another server took the lead");
                return;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the leader's word was not taken"),
            Err(_) => tracing::warn!("the leader's word was not taken in time"),
        }
        if last.elapsed() >= LEAD_FOR {
            tracing::warn!("nobody can have heard of this server for a while: it leads no more");
            return;
        }
    }
}

/// Leads whenever this server may, until `stop`. `term` is what a leader does until its token is cancelled, or until
/// it was fenced.
pub(crate) async fn keep_leading<T, F>(
    store: Store,
    me: Me,
    told: watch::Sender<Leader>,
    stop: CancellationToken,
    mut term: T,
) -> anyhow::Result<()>
where
    T: FnMut(CancellationToken) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    while let Some(lease) = stop.run_until_cancelled(contend(&store, &me, &told)).await {
        let over = stop.child_token();
        let leads = async {
            let led = term(over.clone()).await;
            over.cancel();
            led
        };
        let holds = async {
            let _ = over.run_until_cancelled(hold(&store, &lease)).await;
            over.cancel();
        };
        let (led, ()) = tokio::join!(leads, holds);
        told.send_replace(Leader::Unknown);
        if let Err(error) = store.release(&lease).await {
            tracing::warn!(%error, "the lead was not given back; others take it when they miss this server");
        }
        led?;
        if !stop.is_cancelled() {
            // Whoever was faster goes first.
            let _ = stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(beats: u64) -> Lease {
        Lease {
            name: NAME.to_owned(),
            owner: "a".to_owned(),
            epoch: 1,
            beats,
            place: "http://a".to_owned(),
        }
    }

    #[test]
    fn a_leader_is_silent_only_when_its_count_stood_still_while_somebody_watched() {
        let begin = Instant::now();
        let after = |secs: u64| begin + Duration::from_secs(secs);
        let mut watched = Watched::default();
        assert!(!watched.is_silent(&lease(900), after(0)));
        assert!(!watched.is_silent(&lease(900), after(11)));
        assert!(!watched.is_silent(&lease(901), after(12)), "it spoke");
        assert!(!watched.is_silent(&lease(901), after(23)));
        assert!(watched.is_silent(&lease(901), after(24)));
        // Whoever stops before others may begin leaves no time with two.
        assert!(LEAD_FOR + BEAT_EVERY * 2 <= TAKE_AFTER);
    }

    #[tokio::test]
    async fn a_server_leads_again_at_once_by_its_own_name_and_another_waits_for_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::memory(mainstay_store::Options::default())
            .await
            .unwrap();
        let me = |dir: &str| {
            let dir = folder.path().join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            Me::of(&dir, true, "http://a").unwrap()
        };
        let told = watch::Sender::new(Leader::Unknown);
        let mut watched = Watched::default();
        let first = look(&store, &me("a"), &mut watched, &told).await.unwrap();
        let again = look(&store, &me("a"), &mut watched, &told).await.unwrap();
        assert!(first.unwrap().epoch < again.clone().unwrap().epoch);
        let other = look(&store, &me("b"), &mut watched, &told).await.unwrap();
        assert_eq!(other, None);
        assert_eq!(*told.borrow(), Leader::At("http://a".to_owned()));
        assert!(store.release(&again.unwrap()).await.unwrap());
        let other = look(&store, &me("b"), &mut watched, &told).await.unwrap();
        assert!(other.is_some());
    }
}
