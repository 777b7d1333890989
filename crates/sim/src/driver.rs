//! What all worlds share: time, faults of leaders, the ledger, the real runtime, and what comes of it.
//!
//! **Guarantees.** Everything random is drawn from the seed, in one order. Leaders crash after commits, are
//! replaced without being told, and lose and repeat what they are told; whoever writes after another one led is
//! found. **Never** knows what a change is about: a [`Scene`] does.

use std::fmt::Write as _;

use mainstay_change::EffectId;
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, Entry, Expected, NewEntry, StreamId,
    Time,
    change::{OPENED, Plan, change_stream},
    ledger::ChainCheck,
};
use mainstay_runtime::{Codecs, Dispatch, Inbox, Runtime, leader_stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{
    ledger::SimLedger,
    report::{Fault, Invariant, Planted, Report, Violation},
};

/// The wall clock strays from true time by no more than this.
pub(crate) const SKEW_MS: i64 = 3_000;
/// A clock that stands still does so from then on.
const STILL_MS: i64 = 3_000;
/// An answer is under way for less than this; one that is late, as long again as [`Odds::late_ms`].
const ANSWER_MS: i64 = 400;

/// How often what goes wrong, in thousandths of the times it could.
pub(crate) struct Odds {
    /// The clock jumps, in one step.
    pub(crate) jump: u32,
    /// Another leader takes over from one that lives, in one step.
    pub(crate) usurper: u32,
    /// The leader dies after a commit.
    pub(crate) crash: u32,
    /// A commit's acknowledgement is lost.
    pub(crate) lost_acknowledgement: u32,
    /// An answer comes twice.
    pub(crate) repeated: u32,
    /// An answer does not come in time, or never.
    pub(crate) lost_answer: u32,
    /// How late an answer may be.
    pub(crate) late_ms: i64,
}

/// What differs between worlds.
pub(crate) trait Scene: Sized {
    /// What a leader knows beside its runtime.
    type Mind;
    /// How often what goes wrong.
    const ODDS: Odds;

    /// The machines that are hosted.
    fn codecs() -> Codecs;
    /// What a leader that begins knows.
    fn mind(sim: &mut Sim<Self>) -> Self::Mind;
    /// The first changes are opened, under a first leader.
    fn open(sim: &mut Sim<Self>);
    /// Lets time pass outside; whether the world goes on.
    fn pass(sim: &mut Sim<Self>) -> bool;
    /// A leader reads, looks and orders, before its turn.
    fn think(sim: &mut Sim<Self>, leader: &mut Leader<Self::Mind>);
    /// Does what a machine asks for.
    fn perform(sim: &mut Sim<Self>, leader: &mut Leader<Self::Mind>, effect: Asked);
    /// Entries were written, by whomever.
    fn committed(sim: &mut Sim<Self>, entries: &[Entry]);
    /// After the leaders' turns: people, and what must hold always.
    fn after(sim: &mut Sim<Self>);
    /// What must hold at the end.
    fn end(sim: &mut Sim<Self>);
}

/// One effect as a machine asks for it.
pub(crate) struct Asked {
    pub(crate) change: ChangeId,
    pub(crate) id: EffectId,
    pub(crate) body: String,
}

pub(crate) struct Leader<M> {
    pub(crate) epoch: u64,
    runtime: Runtime,
    inbox: Vec<(i64, Inbox)>,
    /// Entries it has read.
    pub(crate) read: usize,
    /// Reads nothing new until then.
    deaf_until: i64,
    pub(crate) began_ms: i64,
    pub(crate) mind: M,
}

/// A world made of one seed.
pub(crate) struct Sim<S: Scene> {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) planted: Planted,
    crash_at_commit: Option<u32>,
    /// Whether faults happen.
    pub(crate) faulty: bool,
    /// No random faults from the start.
    pub(crate) clean: bool,
    pub(crate) true_ms: i64,
    began_ms: i64,
    skew_ms: i64,
    /// When the clock was wrong last.
    pub(crate) skewed_at: i64,
    /// When a leader began last.
    pub(crate) led_at: i64,
    pub(crate) ledger: SimLedger,
    pub(crate) leaders: Vec<Leader<S::Mind>>,
    pub(crate) scene: S,
    pub(crate) report: Report,
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structures serialise")
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| unreachable!("`{text}` keeps to the rule of names"))
}

/// A change whose plan the machine `kind` walks.
pub(crate) fn change(id: &ChangeId, of: ChangeKind, kind: &str, body: String, at: Time) -> Change {
    Change {
        id: id.clone(),
        kind: of,
        actor: Actor::verified("ana"),
        reason: "simulated".to_owned(),
        title: id.to_string(),
        blast_radius: BlastRadius::default(),
        emergency: None,
        opened_at: at,
        deadline: None,
        plan: Plan {
            kind: kind.to_owned(),
            schema: 1,
            body,
        },
    }
}

impl<S: Scene> Sim<S> {
    /// The world of `seed`, with a bug planted or none; `scene` draws the rest of it.
    pub(crate) fn new(
        seed: u64,
        planted: Planted,
        scene: impl FnOnce(&mut ChaCha8Rng) -> S,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scene = scene(&mut rng);
        // Not zero, so that what has no time yet is long ago.
        let began_ms = 1_000_000;
        Self {
            rng,
            planted,
            crash_at_commit: None,
            faulty: true,
            clean: false,
            true_ms: began_ms,
            began_ms,
            skew_ms: 0,
            skewed_at: i64::MIN / 2,
            led_at: 0,
            ledger: SimLedger::default(),
            leaders: Vec::new(),
            scene,
            report: Report::default(),
        }
    }

    /// The same world without random faults, where the leader dies right after commit `n`; 0 is never.
    #[must_use]
    pub(crate) fn crash_after_commit(mut self, n: u32) -> Self {
        self.crash_at_commit = Some(n);
        self.faulty = false;
        self.clean = true;
        self
    }

    /// Everything, to the end or to the first invariant that does not hold.
    pub(crate) fn run(mut self) -> Report {
        S::open(&mut self);
        while self.report.violations.is_empty() && self.step() {}
        if self.report.violations.is_empty() {
            let mut chain = ChainCheck::default();
            let mut entries = self.ledger.entries.iter();
            let broken = entries.find_map(|it| chain.step(it).err());
            if let Some(broken) = broken {
                self.violated(Invariant::Ledger, broken.to_string());
            }
        }
        S::end(&mut self);
        self.report
    }

    /// One step of the world and of its leaders; whether it goes on.
    pub(crate) fn step(&mut self) -> bool {
        if self.chance(S::ODDS.jump) {
            self.skew_ms = self.rng.random_range(-SKEW_MS..=SKEW_MS);
            self.bite(Fault::ClockJump);
        }
        if self.skew_ms != 0 {
            self.skewed_at = self.true_ms;
        }
        let goes_on = S::pass(self);
        if self.leaders.len() < 2 && self.chance(S::ODDS.usurper) {
            self.lead();
        }
        for mut leader in std::mem::take(&mut self.leaders) {
            if self.turn(&mut leader) {
                self.leaders.push(leader);
            }
        }
        let newest = self.ledger.version(&leader_stream());
        if !self.leaders.iter().any(|leader| leader.epoch == newest) {
            self.lead();
        }
        S::after(self);
        goes_on
    }

    /// No more faults: from now on everything must end.
    pub(crate) fn calm(&mut self) {
        if self.faulty {
            self.note("calm");
            self.faulty = false;
            self.skew_ms = 0;
        }
    }

    /// Since the world began.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        self.true_ms - self.began_ms
    }
    /// What the wall clock says.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.true_ms + self.skew_ms)
    }
    /// The wall clock when `elapsed_ms` will have passed, if it is right then.
    pub(crate) fn at(&self, elapsed_ms: i64) -> Time {
        Time::from_millis(self.began_ms + elapsed_ms)
    }
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.faulty && self.rng.random_range(0..1_000) < per_mille
    }
    pub(crate) fn bite(&mut self, fault: Fault) {
        *self.report.bites.entry(fault).or_default() += 1;
        self.note(&format!("fault {fault:?}"));
    }
    pub(crate) fn note(&mut self, what: &str) {
        let _ = writeln!(self.report.trace, "{} {what}", self.true_ms);
    }
    pub(crate) fn violated(&mut self, invariant: Invariant, what: String) {
        self.note(&format!("{invariant:?}: {what}"));
        self.report.violations.push(Violation { invariant, what });
    }

    /// Writes without the leadership, as people and hands do; whose stream moved on conflicts.
    pub(crate) fn write(
        &mut self,
        expected: Vec<Expected>,
        entries: Vec<NewEntry>,
    ) -> Result<(), StreamId> {
        let append = Append {
            actor: Actor::system(),
            at: self.now(),
            expected,
            entries,
        };
        let written = self.ledger.append(&append, true)?;
        S::committed(self, &written);
        Ok(())
    }

    /// Opens a change.
    pub(crate) fn opens(&mut self, change: &Change) {
        let opened = NewEntry {
            stream: change.stream(),
            kind: OPENED.to_owned(),
            schema: 1,
            body: json(change),
        };
        if let Err(stream) = self.write(vec![], vec![opened]) {
            self.violated(Invariant::Ledger, format!("{stream} was not opened"));
        }
    }

    /// A new leader; whoever led before is not told.
    pub(crate) fn lead(&mut self) {
        let stream = leader_stream();
        let led = NewEntry {
            stream: stream.clone(),
            kind: "runtime.led".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
        };
        let written = self.write(vec![], vec![led]);
        debug_assert!(written.is_ok(), "nothing was expected");
        let epoch = self.ledger.version(&stream);
        self.led_at = self.true_ms;
        self.note(&format!("leader {epoch}"));
        for old in &mut self.leaders {
            if self.rng.random_range(0..2) == 0 {
                old.deaf_until = self.true_ms + 10_000;
            }
        }
        let version = epoch;
        let leadership = Expected { stream, version };
        let mut inbox = Vec::new();
        if epoch == 1 || self.planted != Planted::NoRecovery {
            for (stream, version) in self.ledger.streams() {
                inbox.extend(seen(stream, version).map(|it| (self.true_ms, it)));
            }
        }
        let mind = S::mind(self);
        self.leaders.push(Leader {
            epoch,
            runtime: Runtime::new(S::codecs(), Actor::system(), leadership),
            inbox,
            read: self.ledger.entries.len(),
            deaf_until: 0,
            began_ms: self.true_ms,
            mind,
        });
    }

    /// Whether the leader lives on.
    fn turn(&mut self, leader: &mut Leader<S::Mind>) -> bool {
        if leader.deaf_until <= self.true_ms {
            for entry in self.ledger.entries.iter().skip(leader.read) {
                let news = seen(&entry.stream, entry.version);
                leader.inbox.extend(news.map(|it| (self.true_ms, it)));
            }
            leader.read = self.ledger.entries.len();
        }
        S::think(self, leader);
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut leader.inbox)
            .into_iter()
            .partition(|(at, _)| *at <= self.true_ms);
        leader.inbox = later;
        let due = due.into_iter().map(|(_, message)| message).collect();
        let now = match self.planted {
            Planted::ClockStandsStill => self.now().min(self.at(STILL_MS)),
            _ => self.now(),
        };
        let dispatches = leader.runtime.turn(now, due);
        let mut alive = !leader.runtime.fenced();
        for dispatch in dispatches {
            alive = alive && self.carry_out(leader, dispatch);
        }
        alive
    }

    /// Whether the leader lives on.
    fn carry_out(&mut self, leader: &mut Leader<S::Mind>, dispatch: Dispatch) -> bool {
        let soon = self.true_ms + 1;
        match dispatch {
            Dispatch::Append {
                ticket,
                change,
                append,
                ..
            } => {
                let (answer, lives) = self.append(leader.epoch, &append);
                let answer = match answer {
                    Some(Ok(entries)) => Inbox::Committed { ticket, entries },
                    Some(Err(stream)) => Inbox::Conflict { ticket, stream },
                    None => Inbox::Unknown { change },
                };
                leader.inbox.push((soon, answer));
                return lives;
            }
            Dispatch::Read { change } => {
                let entries = self.ledger.stream(&change_stream(&change));
                leader.inbox.push((soon, Inbox::Stream { change, entries }));
            }
            Dispatch::Effect { change, id, body } => {
                S::perform(self, leader, Asked { change, id, body });
            }
            Dispatch::Refused { change, refusal } => {
                self.note(&format!("{change} refused: {refusal}"));
            }
            Dispatch::Broken { change, error } => {
                self.violated(Invariant::Live, format!("{change}: {error}"));
            }
        }
        true
    }

    fn append(
        &mut self,
        epoch: u64,
        append: &Append,
    ) -> (Option<Result<Vec<Entry>, StreamId>>, bool) {
        let newest = self.ledger.version(&leader_stream());
        if epoch < newest {
            self.bite(Fault::StaleLeader);
        }
        let written = if self.planted == Planted::AcknowledgesUnwritten {
            Ok(unwritten(append))
        } else {
            let check = self.planted != Planted::NoExpectations;
            self.ledger.append(append, check)
        };
        let entries = match written {
            Ok(entries) => entries,
            Err(stream) => return (Some(Err(stream)), true),
        };
        self.report.commits += 1;
        if epoch < newest {
            let what = format!("leader {epoch} wrote after {newest} led");
            self.violated(Invariant::Fence, what);
        }
        S::committed(self, &entries);
        let dies = self.crash_at_commit == Some(self.report.commits);
        if dies || self.chance(S::ODDS.crash) {
            self.bite(Fault::CrashAfterCommit);
            return (None, false);
        }
        if self.chance(S::ODDS.lost_acknowledgement) {
            self.bite(Fault::LostAcknowledgement);
            return (None, true);
        }
        (Some(Ok(entries)), true)
    }

    /// Sends an input: after a while, sometimes twice, sometimes too late or never.
    pub(crate) fn tell(&mut self, leader: &mut Leader<S::Mind>, change: &ChangeId, body: String) {
        let change = change.clone();
        let message = Inbox::Input { change, body };
        let at = self.true_ms + self.rng.random_range(1..ANSWER_MS);
        // Where the bug is about late answers, there are more of them.
        let repeated = match self.planted {
            Planted::GenerationIgnored => 900,
            _ => S::ODDS.repeated,
        };
        if self.chance(repeated) {
            let late = at + self.rng.random_range(100..S::ODDS.late_ms);
            self.bite(Fault::DuplicateInput);
            leader.inbox.push((late, message.clone()));
        }
        if self.chance(S::ODDS.lost_answer) {
            self.bite(Fault::LostAnswer);
            return;
        }
        leader.inbox.push((at, message));
    }

    /// Somebody tells whoever leads.
    pub(crate) fn order(&mut self, change: &ChangeId, body: String) {
        let change = change.clone();
        if let Some(leader) = self.leaders.last_mut() {
            let message = Inbox::Input { change, body };
            leader.inbox.push((self.true_ms, message));
        }
    }
}

/// What the ledger's tail says of a change.
fn seen(stream: &StreamId, version: u64) -> Option<Inbox> {
    let id = stream.as_str().strip_prefix("change/")?;
    let change = ChangeId::new(id).ok()?;
    Some(Inbox::Seen { change, version })
}

/// What a ledger that acknowledges without writing answers.
fn unwritten(append: &Append) -> Vec<Entry> {
    let known = append.expected.last().map_or(0, |it| it.version);
    let written = SimLedger::default().append(append, false);
    let mut entries = written.unwrap_or_default();
    for entry in &mut entries {
        entry.version += known;
    }
    entries
}

/// Messages under way, for bugs that change what is told.
impl<M> Leader<M> {
    pub(crate) fn rewrite(&mut self, mut change: impl FnMut(&ChangeId, &str) -> Option<String>) {
        for (_, message) in &mut self.inbox {
            if let Inbox::Input { change: of, body } = message
                && let Some(other) = change(of, body)
            {
                *body = other;
            }
        }
    }
}
