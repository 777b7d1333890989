use super::*;
use crate::agent::FromAgent;
use mainstay_core::{HostName, InstanceName};
use tokio::task::JoinHandle;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time::from_millis(7)
    }
}

/// Keeps of each host whether it is there, and the generation and the time of its last report.
struct Hosts;

impl Peers for Hosts {
    const KIND: &'static str = "host";
    type Name = HostName;
    type Said = FromAgent;
    type View = BTreeMap<HostName, (bool, u64)>;

    fn greeting(said: &FromAgent) -> Option<(HostName, Generation)> {
        match said {
            FromAgent::Hello {
                host, generation, ..
            } => Some((host.clone(), *generation)),
            FromAgent::Report { .. } | FromAgent::Unordered { .. } => None,
        }
    }

    fn hear(&self, view: &mut Self::View, name: &HostName, said: FromAgent, _: Time) {
        let counter = match said {
            FromAgent::Hello { generation, .. } | FromAgent::Report { generation, .. } => {
                generation.counter
            }
            FromAgent::Unordered { .. } => 0,
        };
        view.insert(name.clone(), (true, counter));
    }

    fn left(&self, view: &mut Self::View, name: &HostName) {
        if let Some(known) = view.get_mut(name) {
            known.0 = false;
        }
    }
}

struct Peer {
    say: mpsc::Sender<String>,
    told: mpsc::Receiver<String>,
    attending: JoinHandle<()>,
}

fn connect(hub: &Arc<Hub<Hosts>>) -> Peer {
    let (say, from) = mpsc::channel(8);
    let (to, told) = mpsc::channel(8);
    let hub = Arc::clone(hub);
    Peer {
        say,
        told,
        attending: tokio::spawn(async move { hub.attend(from, to).await }),
    }
}

fn at(counter: u64) -> Generation {
    Generation { epoch: 1, counter }
}

fn host() -> HostName {
    "h1".parse().unwrap()
}

impl Peer {
    async fn say(&self, said: &FromAgent) {
        self.say
            .send(serde_json::to_string(said).unwrap())
            .await
            .unwrap();
    }
    async fn hello(&self, counter: u64) {
        self.say(&FromAgent::Hello {
            wire: WIRE_VERSION,
            host: host(),
            generation: at(counter),
            metrics_url: String::new(),
        })
        .await;
    }
    async fn report(&self, counter: u64) {
        self.say(&FromAgent::Report {
            at: Time::from_millis(1),
            generation: at(counter),
            instances: Vec::new(),
            found: Vec::new(),
        })
        .await;
    }
}

fn hub() -> Arc<Hub<Hosts>> {
    Arc::new(Hub::new(Hosts, Arc::new(Stopped)))
}

async fn until(hub: &Hub<Hosts>, wanted: (bool, u64)) {
    let mut changed = hub.changed();
    while hub.view().get(&host()) != Some(&wanted) {
        changed.changed().await.unwrap();
    }
}

#[tokio::test]
async fn an_order_is_sent_at_once_and_again_to_a_peer_that_comes_back_without_it() {
    let hub = hub();
    let mut first = connect(&hub);
    first.hello(0).await;
    until(&hub, (true, 0)).await;
    hub.order(&host(), at(1), &"one");
    assert_eq!(first.told.recv().await.unwrap(), "\"one\"");
    drop(first.say);
    first.attending.await.unwrap();
    assert_eq!(hub.view()[&host()], (false, 0));

    let mut again = connect(&hub);
    again.hello(0).await;
    assert_eq!(again.told.recv().await.unwrap(), "\"one\"");
    drop(again);

    let mut holds_it = connect(&hub);
    holds_it.hello(1).await;
    until(&hub, (true, 1)).await;
    hub.order(&host(), at(2), &"two");
    assert_eq!(
        holds_it.told.recv().await.unwrap(),
        "\"two\"",
        "the order it held was not sent before"
    );
    assert!(holds_it.told.try_recv().is_err());
}

#[tokio::test]
async fn the_newer_of_two_connections_speaks_and_the_older_is_closed_and_no_longer_heard() {
    let hub = hub();
    let mut old = connect(&hub);
    old.hello(1).await;
    until(&hub, (true, 1)).await;
    let mut new = connect(&hub);
    new.hello(2).await;
    until(&hub, (true, 2)).await;
    old.attending.await.unwrap();
    assert!(old.say.is_closed() && old.told.recv().await.is_none());
    assert_eq!(
        hub.view()[&host()],
        (true, 2),
        "the end of the older is not the host's"
    );
    hub.order(&host(), at(3), &"three");
    assert_eq!(new.told.recv().await.unwrap(), "\"three\"");
}

#[tokio::test]
async fn what_an_older_connection_says_late_is_ignored() {
    let hub = hub();
    let hello = FromAgent::Hello {
        wire: WIRE_VERSION,
        host: host(),
        generation: at(1),
        metrics_url: String::new(),
    };
    let (say, mut from) = mpsc::channel(1);
    let hello = serde_json::to_string(&hello).unwrap();
    say.send(hello.clone()).await.unwrap();
    let (old, _) = hub.greet(&mut from).await.unwrap();
    say.send(hello).await.unwrap();
    let (_new, _) = hub.greet(&mut from).await.unwrap();
    old.heard(FromAgent::Report {
        at: Time::from_millis(1),
        generation: at(900),
        instances: Vec::new(),
        found: Vec::new(),
    });
    drop(old);
    assert_eq!(hub.view()[&host()], (true, 1));
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_closes_the_connection() {
    let hub = hub();
    let peer = connect(&hub);
    peer.hello(1).await;
    peer.report(2).await;
    until(&hub, (true, 2)).await;
    peer.say.send("{\"type\":".into()).await.unwrap();
    peer.attending.await.unwrap();
    assert_eq!(hub.view()[&host()], (false, 2));
}

#[tokio::test]
async fn a_peer_that_is_newer_or_does_not_say_who_it_is_is_refused() {
    async fn refused(frame: &str) -> String {
        let hub = hub();
        let (say, mut from) = mpsc::channel(1);
        say.send(frame.to_owned()).await.unwrap();
        let refused = hub.greet(&mut from).await.err().unwrap();
        assert!(hub.view().is_empty());
        refused.to_string()
    }
    let newer = refused(r#"{"type":"hello","wire":2,"machine":"h1"}"#).await;
    assert!(newer.contains("version 2") && newer.contains("update the server"));
    let report = FromAgent::Unordered {
        at: Time::from_millis(1),
        instance: Some(InstanceName::new("voyager-lax-1").unwrap()),
        service: None,
        what: "gone".into(),
    };
    let early = refused(&serde_json::to_string(&report).unwrap()).await;
    assert_eq!(early, "its first message is not a Hello but `unordered`");
    let noise = refused(&"noise ".repeat(1_000)).await;
    assert!(
        noise.contains("cannot be read") && noise.len() < 200,
        "{noise}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_let_go() {
    let hub = hub();
    let peer = connect(&hub);
    peer.attending.await.unwrap();
    assert!(peer.say.is_closed());
}

#[tokio::test]
async fn an_order_too_large_for_a_frame_leaves_the_one_before_it_standing() {
    let hub = hub();
    hub.order(&host(), at(1), &"one");
    hub.order(&host(), at(2), &"x".repeat(FRAME_BYTES_MAX));
    let mut peer = connect(&hub);
    peer.hello(0).await;
    assert_eq!(peer.told.recv().await.unwrap(), "\"one\"");
}
