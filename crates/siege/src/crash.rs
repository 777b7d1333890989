//! Kills in a loop, under load, and after each the question whether everything is there that was acknowledged.
//!
//! Guarantees: moments of kills come from the seed; an acknowledged sample that is missing, differs, or was never
//! sent ends the run with its series, time and both values; so does a ledger whose chain does not hold, and a server
//! that ends by itself. A sender repeats a delivery until it is acknowledged, as senders do, so at most one of each
//! sender's is of unknown fate. Time in the samples runs faster than the clock: a few kills seal, and merge parts.
//!
//! ```no_run
//! # use mainstay_siege::crash::{Plan, run};
//! let plan = Plan { kills: 3, ..Plan::new("target/debug/mainstay".into(), 7) };
//! let outcome = run(&plan, &mut |_| ())?;
//! println!("{} samples are all there", outcome.samples);
//! # Ok::<(), mainstay_siege::crash::CrashError>(())
//! ```

mod recall;
mod sender;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, sleep},
    time::{Duration, Instant, SystemTime},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use self::sender::Sender;
use crate::{Connection, Server, free_address};

/// Series of each sender: small deliveries and larger ones beside each other.
const SENDERS: [usize; 4] = [1, 10, 40, 150];
/// How long a server may take to be ready, and then to have all history.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// One kill of so many comes while the server starts …
const EARLY_EVERY: u32 = 4;
/// … after so many milliseconds at most.
const EARLY_MS: u64 = 400;
/// Lines of the server's log that a failure shows.
const LOG_LINES: usize = 20;

/// What shall happen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub binary: PathBuf,
    /// How often it is killed.
    pub kills: u32,
    /// How long senders send between two kills, at most.
    pub load: Duration,
    /// Whence the moments of the kills come.
    pub seed: u64,
}

impl Plan {
    /// Thirty kills, each within a second and a half of load.
    pub fn new(binary: PathBuf, seed: u64) -> Self {
        Self {
            binary,
            kills: 30,
            load: Duration::from_millis(1_500),
            seed,
        }
    }
}

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Its number, from one.
    pub number: u32,
    /// Samples acknowledged so far.
    pub samples: u64,
    /// How long the server took to be ready and to be checked; nothing where it was killed before.
    pub checked: Option<Duration>,
    /// How long it was let live after that.
    pub lived: Duration,
}

/// What a whole run has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Kills.
    pub kills: u32,
    /// Acknowledged samples, all of which were there at the end.
    pub samples: u64,
    /// Entries of the ledger, whose chain holds.
    pub entries: u64,
    /// Parts that samples had been sealed into at the end.
    pub parts: usize,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// What was acknowledged is not there, or differs.
    #[error("after kill {kill}: {lost} acknowledged samples are lost or differ; {told}\n{log}")]
    Lost {
        /// After which kill.
        kill: u32,
        /// How many.
        lost: u64,
        /// The first of them.
        told: String,
        /// The end of the server's log.
        log: String,
    },
    /// Anything else that must not be.
    #[error("after kill {kill}: {what}\n{log}")]
    Broken {
        /// After which kill.
        kill: u32,
        /// What is wrong.
        what: String,
        /// The end of the server's log.
        log: String,
    },
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> CrashError {
    move |source| CrashError::Io { what, source }
}

/// A run under way.
struct Siege<'a> {
    plan: &'a Plan,
    dir: PathBuf,
    rng: ChaCha8Rng,
    senders: Vec<Sender>,
    killed: u32,
}

/// Plays a plan in a folder of its own, which stays if something is lost.
pub fn run(plan: &Plan, told: &mut dyn FnMut(&Round)) -> Result<Outcome, CrashError> {
    let unique = format!("mainstay-crash-{}-{}", std::process::id(), plan.seed);
    let dir = std::env::temp_dir().join(unique);
    fs::create_dir_all(&dir).map_err(io("cannot make a folder"))?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let senders = SENDERS.iter().enumerate();
    let mut siege = Siege {
        plan,
        dir,
        rng: ChaCha8Rng::seed_from_u64(plan.seed),
        senders: senders
            .map(|(number, series)| Sender::new(number, *series, now))
            .collect(),
        killed: 0,
    };
    while siege.killed < plan.kills {
        let round = siege.round()?;
        told(&round);
    }
    let outcome = siege.end()?;
    fs::remove_dir_all(&siege.dir).map_err(io("cannot remove the folder"))?;
    Ok(outcome)
}

impl Siege<'_> {
    fn round(&mut self) -> Result<Round, CrashError> {
        let mut server = self.start()?;
        let early = self.killed > 0 && self.rng.random_range(0..EARLY_EVERY) == 0;
        let (checked, lived) = if early {
            let lived = Duration::from_millis(self.rng.random_range(0..EARLY_MS));
            sleep(lived);
            (None, lived)
        } else {
            let began = Instant::now();
            self.check(&mut server)?;
            let checked = began.elapsed();
            let most = u64::try_from(self.plan.load.as_micros()).unwrap_or(u64::MAX);
            let lived = Duration::from_micros(self.rng.random_range(0..most.max(1)));
            self.load(&mut server, lived)?;
            (Some(checked), lived)
        };
        server.kill().map_err(io("cannot kill the server"))?;
        self.killed += 1;
        let settled = self.senders.iter_mut().try_for_each(Sender::settle);
        settled.map_err(|what| self.broken(what))?;
        Ok(Round {
            number: self.killed,
            samples: self.samples(),
            checked,
            lived,
        })
    }

    fn end(&mut self) -> Result<Outcome, CrashError> {
        let mut server = self.start()?;
        let entries = self.check(&mut server)?;
        let parts = fs::read_dir(self.dir.join("data/metrics")).map_err(io("no samples"))?;
        let parts = parts
            .filter_map(Result::ok)
            .filter(|it| it.file_name().to_string_lossy().contains("part"))
            .count();
        server.kill().map_err(io("cannot kill the server"))?;
        Ok(Outcome {
            kills: self.killed,
            samples: self.samples(),
            entries,
            parts,
        })
    }

    fn samples(&self) -> u64 {
        self.senders.iter().map(Sender::samples).sum()
    }

    fn start(&self) -> Result<Server, CrashError> {
        let address = free_address().map_err(io("no free port"))?;
        let mut command = Command::new(&self.plan.binary);
        command
            .args(["serve", "--listen", &address.to_string(), "--data-dir"])
            .arg(self.dir.join("data"));
        Server::start(&mut command, address, &self.log()).map_err(io("cannot start the server"))
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Lets the senders send to a server, which then still runs.
    fn load(&mut self, server: &mut Server, lived: Duration) -> Result<(), CrashError> {
        let address = server.address();
        for sender in &mut self.senders {
            sender.begin(address);
        }
        sleep(lived);
        if server.runs().map_err(io("cannot see the server"))? {
            return Ok(());
        }
        Err(self.broken("the server ended by itself".to_owned()))
    }

    /// Everything acknowledged is there, and the ledger holds; how many entries it has.
    fn check(&mut self, server: &mut Server) -> Result<u64, CrashError> {
        let ready = server.wait_ready("/-/ready", READY_WITHIN);
        ready.map_err(|error| self.broken(error.to_string()))?;
        let address = server.address();
        let found = thread::scope(|scope| {
            let asking: Vec<_> = self
                .senders
                .iter()
                .map(|sender| scope.spawn(move || recall::differences(sender, address)))
                .collect();
            let joined = asking.into_iter().map(|it| {
                it.join()
                    .unwrap_or_else(|_| Err("the comparison died".to_owned()))
            });
            joined.collect::<Result<Vec<_>, String>>()
        });
        let found = found.map_err(|what| self.broken(what))?;
        let lost: u64 = found.iter().map(|it| it.count).sum();
        if lost > 0 {
            let told: Vec<&str> = found
                .iter()
                .flat_map(|it| it.told.iter().map(String::as_str))
                .collect();
            return Err(CrashError::Lost {
                kill: self.killed,
                lost,
                told: told.join("; "),
                log: self.kept(),
            });
        }
        ledger(address).map_err(|what| self.broken(what))
    }

    fn broken(&self, what: String) -> CrashError {
        CrashError::Broken {
            kill: self.killed,
            what,
            log: self.kept(),
        }
    }

    /// Where everything is, and the end of the server's log.
    fn kept(&self) -> String {
        format!("kept in {}\n{}", self.dir.display(), tail(&self.log()))
    }
}

#[derive(Deserialize)]
struct Verified {
    holds: bool,
    #[serde(default)]
    entries: u64,
}

fn ledger(address: SocketAddr) -> Result<u64, String> {
    let asked =
        Connection::open(address, PATIENCE).and_then(|mut it| it.get("/api/v1/ledger/verify"));
    let answer = asked.map_err(|error| format!("the ledger cannot be asked: {error}"))?;
    let verified: Verified = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("of the ledger is said: {} ({error})", answer.text()))?;
    if verified.holds {
        Ok(verified.entries)
    } else {
        Err(format!("the ledger does not hold: {}", answer.text()))
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(LOG_LINES)..)
        .unwrap_or_default()
        .join("\n")
}
