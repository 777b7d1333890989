//! The machine with its clock, its channels and its disk.
//!
//! Guarantees: one lock, never held while anything is waited for; what the machine wants kept is given to the journal
//! under that lock, so that the order on disk is the order in which things happened. A new configuration is taken as a
//! whole or not at all. At the end messages under way may finish for [`FINISH_WITHIN`].

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use mainstay_core::Span;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ClientError, JournalError, api,
    channel::Sender,
    journal::{Journal, Opened},
    metrics::Metrics,
};
use crate::{
    config::{ConfigError, Settings},
    machine::{Effect, Failure, Machine, Message, Record},
    template::{TemplateError, Templates},
};

/// Messages that are sent at the same time; more wait for one of these.
const SENT_AT_ONCE: usize = 512;
/// How long messages under way may take when the process ends.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// The longest sleep of the machine's task: a clock that was set is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Bytes of one file of templates.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// How it runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Where records are kept.
    pub storage: PathBuf,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Where others reach it; made of the host's name and the port where unset.
    pub external_url: Option<String>,
    /// The path before all paths; that of the address where unset.
    pub route_prefix: Option<String>,
    /// How long silences are kept after their end, and what was told.
    pub retention: Span,
    /// How often what is on disk is written anew.
    pub maintenance_interval: Span,
    /// How often alerts that are over are forgotten.
    pub gc_interval: Span,
    /// How long a silence may last.
    pub longest_silence: Option<Span>,
}

/// Why it does not start, or does not take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The configuration.
    #[error("{file}:{error}")]
    Config {
        /// Which.
        file: String,
        /// What.
        error: ConfigError,
    },
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A pattern of files.
    #[error(
        "templates: `{0}`: a pattern has its * in the file's name only; write such as folder/*.tmpl"
    )]
    Pattern(String),
    /// A channel.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The disk.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A listener.
    #[error("cannot listen on {address}: {error}; choose another with --web.listen-address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// What is under the lock.
struct Held {
    machine: Machine,
    sender: Arc<Sender>,
}

/// See the module.
pub struct Service {
    pub(super) options: Options,
    pub(super) started: Timestamp,
    pub(super) metrics: Metrics,
    held: Mutex<Held>,
    journal: Journal,
    wake: Notify,
    sending: Arc<Semaphore>,
    tasks: TaskTracker,
    external_url: String,
    prefix: String,
    listeners: Mutex<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
}

impl Service {
    /// Reads the configuration and what was kept, and listens; [`run`](Self::run) serves.
    pub async fn start(options: Options) -> Result<Arc<Self>, StartError> {
        let now = Timestamp::now();
        let mut listeners = Vec::new();
        let (settings, templates) = read(&options.config_file)?;
        let mut addresses = Vec::new();
        for &address in &options.listen {
            let bound = TcpListener::bind(address).await;
            let bound = bound.map_err(|error| StartError::Listen { address, error })?;
            addresses.push(bound.local_addr().unwrap_or(address));
            listeners.push(bound);
        }
        let external_url = external_url(&options, &addresses);
        let sender = Sender::new(&settings, templates, external_url.clone())?;
        let mut machine = Machine::new(
            Arc::new(settings),
            options.retention,
            options.longest_silence,
            now,
        );
        let Opened { journal, records } = Journal::open(&options.storage)?;
        for record in records {
            machine.restore(record);
        }
        machine.resume(now);
        let own_path = external_url
            .split_once("://")
            .and_then(|(_, rest)| Some(rest.split_once('/')?.1));
        let prefix = options
            .route_prefix
            .clone()
            .unwrap_or_else(|| own_path.unwrap_or_default().to_owned());
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("/{prefix}")
        };
        let service = Self {
            started: now,
            metrics: Metrics::default(),
            held: Mutex::new(Held {
                machine,
                sender: Arc::new(sender),
            }),
            journal,
            wake: Notify::new(),
            sending: Arc::new(Semaphore::new(SENT_AT_ONCE)),
            tasks: TaskTracker::new(),
            external_url,
            prefix,
            listeners: Mutex::new(listeners),
            addresses,
            options,
        };
        service.metrics.reloaded(true, now);
        Ok(Arc::new(service))
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The path before all paths; empty where there is none.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Serves until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> std::io::Result<()> {
        let listeners = std::mem::take(
            &mut *self
                .listeners
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut serving = tokio::task::JoinSet::new();
        for listener in listeners {
            let (router, stop) = (api::router(Arc::clone(&self)), stop.clone());
            serving.spawn(async move {
                axum::serve(listener, router)
                    .with_graceful_shutdown(async move { stop.cancelled().await })
                    .await
            });
        }
        let maintenance = Arc::clone(&self).maintain(stop.clone());
        let machine = Arc::clone(&self).decide(stop.clone());
        let served = async {
            while let Some(ended) = serving.join_next().await {
                ended.map_err(std::io::Error::other).flatten()?;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::pin!(served);
        let stopped = async { tokio::join!(maintenance, machine) };
        let ended = tokio::select! {
            served = &mut served => served,
            _ = stopped => {
                // Requests under way are cut off after that.
                let finished = tokio::time::timeout(FINISH_WITHIN, &mut served).await;
                finished.unwrap_or(Ok(()))
            }
        };
        self.tasks.close();
        if tokio::time::timeout(FINISH_WITHIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "messages under way are cut off; they are sent again after the next start"
            );
        }
        // What was told last is on disk before the process ends.
        let kept = self.journal.keep(&[]);
        drop(tokio::time::timeout(FINISH_WITHIN, kept).await);
        ended
    }

    /// Reads the configuration again; where anything is wrong, everything stays as it was.
    pub fn reload(&self) -> Result<(), StartError> {
        let now = Timestamp::now();
        let reloaded = read(&self.options.config_file).and_then(|(settings, templates)| {
            let sender = Sender::new(&settings, templates, self.external_url.clone())?;
            let mut held = self.held();
            held.machine.reload(Arc::new(settings), now);
            held.sender = Arc::new(sender);
            Ok(())
        });
        self.metrics.reloaded(reloaded.is_ok(), now);
        match &reloaded {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
        self.wake.notify_one();
        reloaded
    }

    /// Looks at the machine.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.held().machine)
    }

    /// Changes the machine; the receiver answers when that is on disk.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Machine) -> (T, Vec<Effect>),
    ) -> (T, oneshot::Receiver<Result<(), String>>) {
        let (outcome, records, rest, kept) = {
            let mut held = self.held();
            let (outcome, effects) = change(&mut held.machine);
            let (records, rest) = split(effects);
            let kept = self.journal.keep(&records);
            (outcome, records.len(), rest, kept)
        };
        tracing::debug!(records, "changed");
        self.follow(rest);
        self.wake.notify_one();
        (outcome, kept)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic in a look leaves the machine as it was, and one in a change was answered with an error.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine where nobody waits for the disk.
    fn advance(self: &Arc<Self>, change: impl FnOnce(&mut Machine) -> Vec<Effect>) {
        let rest = {
            let mut held = self.held();
            let (records, rest) = split(change(&mut held.machine));
            if !records.is_empty() {
                self.journal.note(&records);
            }
            rest
        };
        self.follow(rest);
    }

    fn follow(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let service = Arc::clone(self);
                    self.tasks.spawn(service.send(*message));
                }
                Effect::Note(note) => {
                    self.metrics.noted(&note.fate);
                    tracing::debug!(group = note.group, alert = %note.alert, "{}", note.fate);
                }
                Effect::Keep(_) => {}
            }
        }
    }

    async fn send(self: Arc<Self>, message: Message) {
        let Ok(_turn) = Arc::clone(&self.sending).acquire_owned().await else {
            return;
        };
        let sender = Arc::clone(&self.held().sender);
        let began = Timestamp::now();
        let sent = sender.send(&message, began).await;
        let now = Timestamp::now();
        let kind = message.integration.channel.kind();
        self.metrics
            .sent(kind, sent.is_ok(), now.duration_since(began).as_secs_f64());
        match sent {
            Ok(()) => self.advance(|machine| machine.sent(message.id, now)),
            Err(failure) => {
                let Failure { why, again } = &failure;
                tracing::warn!(
                    receiver = &*message.integration.receiver,
                    integration = kind,
                    attempts = message.attempts + 1,
                    again,
                    "a notification did not get there: {why}"
                );
                self.advance(|machine| machine.failed(message.id, failure, now));
            }
        }
        self.wake.notify_one();
    }

    /// Does what is due, whenever something is.
    async fn decide(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.advance(|machine| machine.due(Timestamp::now()));
            let wake = self.look(Machine::wake_at);
            let now = Timestamp::now();
            let sleep = wake.map_or(SLEEP_MAX, |at| {
                Duration::try_from(at.duration_since(now))
                    .unwrap_or_default()
                    .min(SLEEP_MAX)
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Forgets what is over, and writes what is on disk anew.
    async fn maintain(self: Arc<Self>, stop: CancellationToken) {
        let every = |span: Span| {
            let mut beat = tokio::time::interval(span.duration().max(Duration::from_secs(1)));
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        };
        let mut forget = every(self.options.gc_interval);
        let mut compact = every(self.options.maintenance_interval);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = forget.tick() => self.held().machine.forget(Timestamp::now()),
                _ = compact.tick() => {
                    let mut held = self.held();
                    held.machine.forget_old(Timestamp::now());
                    self.journal.whole(&held.machine.records());
                }
            }
        }
    }
}

fn split(effects: Vec<Effect>) -> (Vec<Record>, Vec<Effect>) {
    let (mut records, mut rest) = (Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            Effect::Keep(record) => records.push(*record),
            Effect::Send(_) | Effect::Note(_) => rest.push(effect),
        }
    }
    (records, rest)
}

/// Reads a configuration file, and the templates that it names.
fn read(path: &Path) -> Result<(Settings, Templates), StartError> {
    let unreadable = |file: &Path, error| StartError::Unreadable {
        file: file.display().to_string(),
        error,
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let settings = Settings::parse(&text).map_err(|error| StartError::Config {
        file: path.display().to_string(),
        error,
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut texts = Vec::new();
    for pattern in &settings.templates {
        for file in matching(&folder.join(pattern))? {
            let length = std::fs::metadata(&file)
                .map_err(|error| unreadable(&file, error))?
                .len();
            if length > TEMPLATE_BYTES_MAX {
                let error = std::io::Error::other(format!(
                    "{length} bytes, where a template has at most {TEMPLATE_BYTES_MAX}"
                ));
                return Err(unreadable(&file, error));
            }
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
            texts.push((file.display().to_string(), text));
        }
    }
    let named = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let templates = Templates::new(named)?;
    Ok((settings, templates))
}

/// The files that a pattern names, sorted; `*` stands for any letters of the file's name.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, StartError> {
    let wrong = || StartError::Pattern(pattern.display().to_string());
    let name = pattern
        .file_name()
        .and_then(|it| it.to_str())
        .ok_or_else(wrong)?;
    let folder = pattern.parent().unwrap_or(Path::new("."));
    if folder.to_string_lossy().contains('*') {
        return Err(wrong());
    }
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let parts: Vec<String> = name.split('*').map(regex::escape).collect();
    let regex = regex::Regex::new(&format!("^{}$", parts.join(".*"))).map_err(|_| wrong())?;
    let mut found = Vec::new();
    // As in the original, a folder that is not there holds no templates.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|it| regex.is_match(it))
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// As it is said, or of the host's name and the first port.
fn external_url(options: &Options, addresses: &[SocketAddr]) -> String {
    if let Some(url) = &options.external_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() {
        "localhost"
    } else {
        host.trim()
    };
    let port = addresses.first().map_or(9093, SocketAddr::port);
    format!("http://{host}:{port}")
}
