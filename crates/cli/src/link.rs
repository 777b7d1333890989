//! The connection of an agent or a router to its server.
//!
//! **Guarantees.** It is made anew for ever, later and later up to [`BACK_OFF_MAX`], and each time the
//! server hears who this is, the generation it holds now, the newest report and the events that wait. What
//! is put into the [`Mailbox`] never waits for the server; of several orders that nobody took yet only the
//! newest is kept, since each is whole. **Never** ends because of the server.
//!
//! ```text
//! let mailbox = Arc::new(Mailbox::default());
//! mailbox.put(hello);
//! tokio::spawn(link::keep(Server::new(&global)?, Arc::clone(&mailbox), orders, stop));
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use mainstay_wire::{
    FRAME_BYTES_MAX, Generation,
    agent::{FromAgent, ToAgent},
    router::{FromRouter, ToRouter},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        ClientRequestBuilder, Error as SocketError, Message, http::Uri, protocol::WebSocketConfig,
    },
};
use tokio_util::sync::CancellationToken;

use crate::args::Global;

/// Shortest wait before another try: a server that restarts is met within it.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait before another try.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next try comes soon.
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the server may take to take one frame.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the last words may take once this process ends.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// What a server answers that does not lead.
const STANDS_BY: u16 = 503;
/// Events that wait for a server; beyond, the oldest go and their number is told.
const EVENTS_MAX: usize = 256;

/// What a message is to the link.
pub(crate) enum Sort {
    /// Who this is.
    Hello,
    /// A snapshot, and the generation it tells of: the newest is worth all before it.
    Report(Generation),
    /// Something that happened: each is worth telling.
    Event,
}

/// What a peer says to its server.
pub(crate) trait Words: Serialize + Clone + Send + 'static {
    /// Where its server listens for it.
    const PATH: &'static str;
    /// What the server says to it: each is whole, so the newest is worth all before it.
    type Order: DeserializeOwned + Send + Sync + 'static;

    /// What this message is.
    fn sort(&self) -> Sort;
    /// A Hello that says it holds `now`.
    fn set_generation(&mut self, now: Generation);
    /// The event that `count` events were lost, where this peer has events.
    fn lost(count: u64) -> Option<Self>;
}

impl Words for FromAgent {
    const PATH: &'static str = "/api/v1/streams/agent";
    type Order = ToAgent;

    fn sort(&self) -> Sort {
        match self {
            Self::Hello { .. } => Sort::Hello,
            Self::Report { generation, .. } => Sort::Report(*generation),
            Self::Unordered { .. } => Sort::Event,
        }
    }
    fn set_generation(&mut self, now: Generation) {
        if let Self::Hello { generation, .. } = self {
            *generation = now;
        }
    }
    fn lost(count: u64) -> Option<Self> {
        Some(Self::Unordered {
            at: crate::ports::now(),
            instance: None,
            service: None,
            what: format!("{count} earlier events were lost while no server took them"),
        })
    }
}

impl Words for FromRouter {
    const PATH: &'static str = "/api/v1/streams/router";
    type Order = ToRouter;

    fn sort(&self) -> Sort {
        match self {
            Self::Hello { .. } => Sort::Hello,
            Self::Report { applied, .. } => Sort::Report(*applied),
        }
    }
    fn set_generation(&mut self, now: Generation) {
        if let Self::Hello { generation, .. } = self {
            *generation = now;
        }
    }
    fn lost(_: u64) -> Option<Self> {
        None
    }
}

/// What is to be said: filled without waiting, emptied while connected.
pub(crate) struct Mailbox<W> {
    kept: Mutex<Kept<W>>,
    filled: Notify,
}

struct Kept<W> {
    hello: Option<W>,
    report: Option<W>,
    report_is_due: bool,
    events: VecDeque<W>,
    lost: u64,
}

impl<W> Default for Mailbox<W> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(Kept {
                hello: None,
                report: None,
                report_is_due: false,
                events: VecDeque::new(),
                lost: 0,
            }),
            filled: Notify::new(),
        }
    }
}

impl<W: Words> Mailbox<W> {
    /// Takes a message; a newer report replaces the one before it.
    pub(crate) fn put(&self, said: W) {
        let mut kept = self.kept();
        match said.sort() {
            Sort::Hello => kept.hello = Some(said),
            Sort::Report(generation) => {
                if let Some(hello) = &mut kept.hello {
                    hello.set_generation(generation);
                }
                kept.report = Some(said);
                kept.report_is_due = true;
            }
            Sort::Event => {
                if kept.events.len() >= EVENTS_MAX {
                    kept.events.pop_front();
                    kept.lost += 1;
                }
                kept.events.push_back(said);
            }
        }
        drop(kept);
        self.filled.notify_one();
    }

    /// The first message of a connection, after which the newest report is due again.
    fn greeting(&self) -> Option<W> {
        let mut kept = self.kept();
        kept.report_is_due = kept.report.is_some();
        kept.hello.clone()
    }

    fn next(&self) -> Option<W> {
        let mut kept = self.kept();
        if kept.lost > 0 {
            let lost = std::mem::take(&mut kept.lost);
            return W::lost(lost);
        }
        if let Some(event) = kept.events.pop_front() {
            return Some(event);
        }
        if std::mem::take(&mut kept.report_is_due) {
            return kept.report.clone();
        }
        None
    }

    /// Takes back what could not be sent.
    fn unsent(&self, said: W) {
        if matches!(said.sort(), Sort::Event) {
            self.kept().events.push_front(said);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<W>> {
        // Every change under the lock is whole before it could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The servers as a peer reaches them; one of them leads.
#[derive(Clone)]
pub(crate) struct Server {
    /// `ws://HOST:PORT`, each.
    urls: Vec<String>,
    token: Option<String>,
}

impl Server {
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let mut urls = Vec::new();
        for url in global.servers()? {
            let Some(rest) = url.strip_prefix("http://") else {
                bail!(
                    "`{url}` does not begin with http://: streams are not encrypted by this program; \
                     name the server by http:// on a private network, or a local end of a tunnel"
                );
            };
            urls.push(format!("ws://{rest}"));
        }
        Ok(Self {
            urls,
            token: global.token.clone(),
        })
    }

    /// The server of the try of this number: one that is away or stands by is followed by the next.
    fn url(&self, tries: usize) -> &str {
        &self.urls[tries % self.urls.len()]
    }

    async fn connect(&self, url: &str, path: &str) -> anyhow::Result<Socket> {
        let uri: Uri = format!("{url}{path}")
            .parse()
            .with_context(|| format!("`{url}` is not an address"))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(token) = &self.token {
            request = request.with_header("authorization", format!("Bearer {token}"));
        }
        let limits = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(limits), true);
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(SocketError::Http(answer))) if answer.status() == STANDS_BY => {
                bail!("it stands by: another server leads")
            }
            Ok(Err(SocketError::Http(answer))) => bail!(
                "it answers {}; where it asks for a token, give one with the scope `host` (--token)",
                answer.status()
            ),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("no connection within {} s", CONNECT_WITHIN.as_secs()),
        }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Sink = SplitSink<Socket, Message>;

/// Waits that grow from [`BACK_OFF_MIN`] to [`BACK_OFF_MAX`], each between half and all of a step, so that
/// many peers of one server do not come back together.
struct BackOff(Duration);

impl BackOff {
    fn new() -> Self {
        Self(BACK_OFF_MIN * 2)
    }

    fn next(&mut self) -> Duration {
        // Without entropy all wait alike, which is only less kind.
        let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let wait = self.0.mul_f64(0.5 + 0.5 * share);
        self.0 = (self.0 * 2).min(BACK_OFF_MAX);
        wait
    }
}

/// Keeps this peer connected until `stop`; orders go to `orders`.
pub(crate) async fn keep<W: Words>(
    server: Server,
    mailbox: Arc<Mailbox<W>>,
    orders: watch::Sender<Option<W::Order>>,
    stop: CancellationToken,
) {
    let mut back_off = BackOff::new();
    let mut warned = false;
    let mut tries = 0;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let url = server.url(tries);
        let mut link = Link {
            server: &server,
            url,
            mailbox: &mailbox,
            orders: &orders,
            connected: false,
        };
        let too_late = async {
            stop.cancelled().await;
            sleep(CLOSE_WITHIN).await;
        };
        let ended = tokio::select! {
            ended = link.live(&stop) => ended,
            () = too_late => return,
        };
        let Err(error) = ended else {
            return;
        };
        if link.connected || !warned {
            warned = true;
            tracing::warn!(
                server = url,
                "no server: {error:#}; the last orders stand, and it is tried again"
            );
        } else {
            tracing::debug!(server = url, "still no server: {error:#}");
        }
        if link.connected && began.elapsed() >= STEADY_AFTER {
            back_off = BackOff::new();
        }
        tries += 1;
        if !tries.is_multiple_of(server.urls.len()) {
            // Another one may lead: no wait before all were asked.
            continue;
        }
        let _ = stop.run_until_cancelled(sleep(back_off.next())).await;
    }
}

/// One connection.
struct Link<'a, W: Words> {
    server: &'a Server,
    url: &'a str,
    mailbox: &'a Mailbox<W>,
    orders: &'a watch::Sender<Option<W::Order>>,
    connected: bool,
}

impl<W: Words> Link<'_, W> {
    /// Comes back without an error only when there is nothing left to do here.
    async fn live(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let connecting = stop.run_until_cancelled(self.server.connect(self.url, W::PATH));
        let Some(socket) = connecting.await else {
            return Ok(());
        };
        let (mut sink, mut source) = socket?.split();
        let Some(hello) = self.introduced(stop).await else {
            return Ok(());
        };
        send(&mut sink, &hello).await?;
        self.connected = true;
        tracing::info!(server = self.url, "connected");
        let mut heard_at = Instant::now();
        loop {
            self.say_all(&mut sink).await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.say_all(&mut sink).await?;
                    return Ok(sink.close().await?);
                }
                () = self.mailbox.filled.notified() => {}
                message = source.next() => {
                    heard_at = Instant::now();
                    if let Some(order) = heard(message)? {
                        self.orders.send_replace(Some(order));
                    }
                }
                () = sleep_until(heard_at + mainstay_server::SILENT_MAX) => {
                    bail!("it was silent for {} s", mainstay_server::SILENT_MAX.as_secs());
                }
            }
        }
    }

    /// The Hello, as soon as it is known who this is.
    async fn introduced(&self, stop: &CancellationToken) -> Option<W> {
        loop {
            let filled = self.mailbox.filled.notified();
            if let Some(hello) = self.mailbox.greeting() {
                return Some(hello);
            }
            stop.run_until_cancelled(filled).await?;
        }
    }

    async fn say_all(&self, sink: &mut Sink) -> anyhow::Result<()> {
        while let Some(said) = self.mailbox.next() {
            if let Err(error) = send(sink, &said).await {
                self.mailbox.unsent(said);
                return Err(error);
            }
        }
        Ok(())
    }
}

async fn send<W: Words>(sink: &mut Sink, said: &W) -> anyhow::Result<()> {
    let frame = serde_json::to_string(said).context("a message cannot be written")?;
    if frame.len() > FRAME_BYTES_MAX {
        let bytes = frame.len();
        tracing::error!(
            bytes,
            limit = FRAME_BYTES_MAX,
            "a message is too large and is not sent"
        );
        return Ok(());
    }
    match timeout(WRITE_WITHIN, sink.send(Message::text(frame))).await {
        Ok(sent) => Ok(sent?),
        Err(_) => bail!("it took nothing for {} s", WRITE_WITHIN.as_secs()),
    }
}

/// The order in a message, if it is one.
fn heard<T: DeserializeOwned>(
    message: Option<Result<Message, SocketError>>,
) -> anyhow::Result<Option<T>> {
    match message.ok_or_else(|| anyhow!("it closed the connection"))?? {
        Message::Text(text) => {
            let order = serde_json::from_str(&text).context(
                "its order cannot be read; run a version of this program that is not older than the server",
            )?;
            Ok(Some(order))
        }
        Message::Close(Some(why)) => bail!("it closed the connection: {}", why.reason),
        Message::Close(None) => bail!("it closed the connection"),
        // Pings are answered below this.
        Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::Time;

    fn event(number: usize) -> FromAgent {
        FromAgent::Unordered {
            at: Time::from_millis(0),
            instance: None,
            service: None,
            what: number.to_string(),
        }
    }

    fn report(counter: u64) -> FromAgent {
        FromAgent::Report {
            at: Time::from_millis(1),
            generation: Generation { epoch: 1, counter },
            instances: Vec::new(),
            found: Vec::new(),
        }
    }

    #[test]
    fn each_connection_begins_with_the_generation_held_now_and_the_newest_report() {
        let mailbox = Mailbox::default();
        assert!(mailbox.greeting().is_none());
        mailbox.put(FromAgent::Hello {
            wire: 1,
            host: "h1".parse().unwrap(),
            generation: Generation::default(),
            metrics_url: String::new(),
        });
        mailbox.put(report(1));
        mailbox.put(report(2));
        for _ in 0..2 {
            let Some(FromAgent::Hello { generation, .. }) = mailbox.greeting() else {
                panic!("a Hello was put in");
            };
            assert_eq!(generation.counter, 2);
            assert_eq!(mailbox.next(), Some(report(2)));
            assert_eq!(mailbox.next(), None);
        }
    }

    #[test]
    fn events_without_a_server_are_bounded_and_the_loss_is_told_first() {
        let mailbox = Mailbox::default();
        for number in 0..EVENTS_MAX + 3 {
            mailbox.put(event(number));
        }
        let Some(FromAgent::Unordered { what, .. }) = mailbox.next() else {
            panic!("an event was due");
        };
        assert!(what.starts_with("3 earlier events were lost"), "{what}");
        let first = mailbox.next().unwrap();
        assert_eq!(first, event(3));
        mailbox.unsent(first);
        assert_eq!(mailbox.next(), Some(event(3)), "what was not sent waits");
    }

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let mut back_off = BackOff::new();
        let first = back_off.next();
        assert!(
            (BACK_OFF_MIN..=2 * BACK_OFF_MIN).contains(&first),
            "{first:?}"
        );
        let late: Vec<Duration> = (0..20).map(|_| back_off.next()).skip(5).collect();
        assert!(
            late.iter()
                .all(|wait| (BACK_OFF_MAX / 2..=BACK_OFF_MAX).contains(wait))
        );
        assert!(late.iter().any(|wait| *wait != late[0]), "{late:?}");
    }

    #[test]
    fn a_server_that_would_need_encryption_is_refused_with_a_remedy() {
        let global = Global {
            server: "https://mainstay.example".into(),
            token: None,
            output: crate::args::Format::Table,
        };
        let refused = Server::new(&global).err().unwrap().to_string();
        assert!(refused.contains("tunnel"), "{refused}");
    }
}
