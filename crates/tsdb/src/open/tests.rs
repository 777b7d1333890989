mod orders;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use mainstay_wal::{DiskFile, DiskRead, MemoryDisk};
use proptest::prelude::*;

use super::*;
use crate::{Labels, part::Tier, stale_marker, view::View};

fn labels(at: u8) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("at", &at.to_string())]).unwrap()
}

fn opened(disk: &Arc<MemoryDisk>, limits: HeadLimits) -> (Head, Recovered) {
    let options = Options {
        limits,
        ..Options::default()
    };
    open(disk.clone(), options).unwrap()
}

fn committed(head: &mut Head) -> bool {
    let (tell, told) = mpsc::channel();
    head.commit(Box::new(move |result| tell.send(result.is_ok()).unwrap()));
    told.recv().unwrap()
}

fn all(head: &Head) -> BTreeMap<(Labels, i64), u64> {
    let slices = head.tsdb().select(&[], i64::MIN, i64::MAX).unwrap();
    let samples = slices.iter().flat_map(|slice| {
        let times = slice.timestamps.iter().zip(&*slice.values);
        times.map(|(t, v)| ((slice.labels.clone(), *t), v.to_bits()))
    });
    samples.collect()
}

#[test]
fn a_counters_birth_survives_a_restart() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut head, _) = opened(&disk, HeadLimits::default());
    head.append_born_from_zero(&labels(0), 20, 8.0).unwrap();
    assert!(committed(&mut head));
    drop(head);
    let (head, recovered) = opened(&disk, HeadLimits::default());
    assert_eq!((recovered.samples, recovered.series), (1, 1));
    assert_eq!(head.tsdb().counts(&[], 10, 30).unwrap().total(), Ok(8));
}

#[test]
fn after_a_damaged_record_no_value_is_made_up() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut head, _) = opened(&disk, HeadLimits::default());
    for t in 0..10 {
        head.append(&labels(0), t, (t * 100) as f64).unwrap();
        assert!(committed(&mut head));
    }
    drop(head);
    let names = disk.list().unwrap();
    let bytes = (&*disk as &dyn Disk).read(&names[0], 1 << 20).unwrap();
    let middle = bytes.len() / 2;
    disk.damage(&names[0], middle);
    let (head, recovered) = opened(&disk, HeadLimits::default());
    assert_eq!(recovered.log.gaps.len(), 1);
    assert!(recovered.lost > 0);
    let found = all(&head);
    assert!(!found.is_empty() && found.len() < 9);
    assert!(
        found
            .iter()
            .all(|((_, t), bits)| *bits == ((t * 100) as f64).to_bits())
    );
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, i64, f64),
    Commit,
    Delete(u8, i64),
    FailSyncs(usize),
    LosePower(usize),
    Settle,
    Crash(u16),
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        (0_u32..1_000).prop_map(f64::from),
        any::<f64>(),
        Just(stale_marker()),
        Just(-0.0),
    ];
    prop_oneof![
        16 => (0_u8..5, -3_i64..9, value).prop_map(|(s, t, v)| Step::Append(s, t, v)),
        6 => Just(Step::Commit),
        1 => (0_u8..5, 0_i64..60).prop_map(|(s, span)| Step::Delete(s, span)),
        2 => (0_usize..6).prop_map(Step::FailSyncs),
        2 => (0_usize..30).prop_map(Step::LosePower),
        3 => Just(Step::Settle),
        3 => any::<u16>().prop_map(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

/// Waits until all generations that ended are sealed and nothing is left to merge.
fn settle(head: &Head, tiers: Tiers) {
    let tsdb = head.tsdb();
    let mergeable = |view: &View| {
        let parts: Vec<_> = view.parts.iter().map(|part| Some(*part.meta())).collect();
        crate::merge::plan(&parts, tiers).is_some()
    };
    loop {
        let view = tsdb.view();
        if view.frozen.is_empty() && !mergeable(&view) {
            return;
        }
        std::thread::yield_now();
    }
}

type Samples = BTreeMap<(Labels, i64), u64>;

/// An engine, and what it should hold.
struct World {
    disk: Arc<MemoryDisk>,
    options: Options,
    head: Head,
    /// What can be read.
    given: Samples,
    /// What was acknowledged.
    kept: Samples,
    /// Taken while the disk failed: there until the process ends, and after that if it was sealed.
    unlogged: Samples,
    powerless: bool,
    now: i64,
}

impl World {
    fn new(options: Options) -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let (head, _) = open(disk.clone(), options).unwrap();
        Self {
            disk,
            options,
            head,
            given: Samples::new(),
            kept: Samples::new(),
            unlogged: Samples::new(),
            powerless: false,
            now: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(series, after, value) => self.append(labels(series), after, value),
            Step::Commit => {
                if self.head.ready().is_ok() && committed(&mut self.head) {
                    self.kept.clone_from(&self.given);
                    let unlogged = &self.unlogged;
                    self.kept.retain(|sample, _| !unlogged.contains_key(sample));
                }
            }
            Step::Delete(..) | Step::Settle if self.powerless => {}
            Step::Delete(series, span) => self.delete(series, span),
            Step::FailSyncs(count) => self.disk.fail_syncs(count),
            Step::LosePower(after) => {
                self.disk.lose_power_after(after);
                self.powerless = true;
            }
            Step::Settle => {
                settle(&self.head, self.options.tiers);
                assert_eq!(all(&self.head), self.given, "sealed");
            }
            Step::Crash(some) => self.crash(some),
            Step::Restart if self.powerless => self.crash(0),
            Step::Restart => self.restart(),
        }
    }

    /// Samples so old that none of their series come any more.
    fn delete(&mut self, series: u8, span: i64) {
        let (start_ms, end_ms) = (self.now - 10 - span, self.now - 10);
        let order = crate::Order::Delete {
            selectors: vec![orders::of_series(series)],
            start_ms,
            end_ms,
        };
        orders::obeyed(&mut self.head, order, self.now).unwrap();
        let stays = |(labels_, at): &(Labels, i64)| {
            *labels_ != labels(series) || !(start_ms..=end_ms).contains(at)
        };
        for samples in [&mut self.given, &mut self.kept, &mut self.unlogged] {
            samples.retain(|sample, _| stays(sample));
        }
        assert_eq!(all(&self.head), self.given, "deleted at once");
    }

    fn append(&mut self, series: Labels, after: i64, value: f64) {
        self.now += after.max(0);
        let sample = (series, self.now + after.min(0));
        let logged = self.head.ready().is_ok();
        let taken = self.head.append(&sample.0, sample.1, value).is_ok();
        if taken && !self.given.contains_key(&sample) {
            if !logged {
                self.unlogged.insert(sample.clone(), value.to_bits());
            }
            self.given.insert(sample, value.to_bits());
        }
        self.head.tend(self.now);
        assert_eq!(all(&self.head), self.given, "readable at once");
    }

    /// Ends the process before the disk is looked at again: nothing it does may come after.
    fn reopen(&mut self, between: impl FnOnce(&MemoryDisk)) {
        self.disk.fail_syncs(0);
        self.head = Head::new(self.options.limits);
        between(&self.disk);
        self.powerless = false;
        let (head, recovered) = open(self.disk.clone(), self.options).unwrap();
        assert_eq!(recovered.damaged, []);
        self.head = head;
    }

    fn crash(&mut self, some: u16) {
        self.reopen(|disk| disk.crash(|unsynced| usize::from(some) % (unsynced + 1)));
        let found = all(&self.head);
        for (sample, bits) in &self.kept {
            assert_eq!(found.get(sample), Some(bits));
        }
        for (sample, bits) in &found {
            assert_eq!(self.given.get(sample), Some(bits));
        }
        self.given = found;
        self.kept.clone_from(&self.given);
        self.unlogged.clear();
    }

    fn restart(&mut self) {
        self.disk.fail_syncs(0);
        while !(self.head.ready().is_ok() && committed(&mut self.head)) {
            std::thread::yield_now();
        }
        self.reopen(|_| ());
        let found = all(&self.head);
        for (sample, bits) in &self.given {
            let there = found.get(sample) == Some(bits);
            assert!(there || self.unlogged.contains_key(sample), "{sample:?}");
        }
        assert!(
            found
                .iter()
                .all(|(sample, bits)| self.given.get(sample) == Some(bits))
        );
        self.given = found;
        self.kept.clone_from(&self.given);
        self.unlogged.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_was_acknowledged_is_there_whatever_happens_and_nothing_else(
        steps in prop::collection::vec(any_step(), 1..150),
        generation_ms in 1_i64..60, late_ms in 0_i64..4, hour in 1_i64..4, day in 1_i64..4,
    ) {
        let hour_ms = generation_ms * hour;
        let options = Options {
            limits: HeadLimits { late_ms, generation_ms, ..HeadLimits::default() },
            tiers: Tiers { hour_ms, day_ms: hour_ms * day },
            ..Options::default()
        };
        let mut world = World::new(options);
        for step in steps {
            world.take(step);
        }
    }
}

/// An engine whose generations are ten samples long, with this many of them.
fn with_generations(disk: &Arc<MemoryDisk>, options: Options, count: i64) -> Head {
    let (mut head, _) = open(disk.clone(), options).unwrap();
    for at in 0..count * 10 {
        head.tend(at);
        head.append(&labels(0), at, at as f64).unwrap();
        if at % 10 == 9 {
            assert!(committed(&mut head));
        }
    }
    head.tend(count * 10);
    settle(&head, options.tiers);
    head
}

fn short() -> Options {
    let limits = HeadLimits {
        generation_ms: 10,
        ..HeadLimits::default()
    };
    Options {
        limits,
        ..Options::default()
    }
}

fn names(disk: &MemoryDisk, suffix: &str) -> Vec<String> {
    let names = disk.list().unwrap();
    names
        .into_iter()
        .filter(|name| name.ends_with(suffix))
        .collect()
}

#[test]
fn a_sealed_generation_is_not_replayed_and_its_log_is_gone() {
    let disk = Arc::new(MemoryDisk::default());
    let head = with_generations(&disk, short(), 4);
    let before = all(&head);
    drop(head);
    // What is left of the log says that a generation began.
    assert_eq!(
        (names(&disk, ".part").len(), names(&disk, ".wal").len()),
        (4, 1)
    );
    disk.crash(|_| 0);
    let (mut head, recovered) = open(disk, short()).unwrap();
    assert_eq!((recovered.parts, recovered.sealed), (4, 40));
    assert_eq!((recovered.samples, recovered.log.frames), (0, 1));
    assert_eq!((all(&head), recovered.series), (before, 1));
    let refused = head.append(&labels(0), 38, 0.0).unwrap_err();
    assert!(matches!(
        refused,
        crate::AppendError::OutOfOrder { newest_ms: 39, .. }
    ));
    assert_eq!(head.tsdb().newest(&[], 25).unwrap()[0].at_ms, 25);
    assert_eq!(head.tsdb().newest(&[], i64::MAX).unwrap()[0].at_ms, 39);
}

#[test]
fn a_damaged_part_is_named_and_all_others_are_served() {
    let disk = Arc::new(MemoryDisk::default());
    drop(with_generations(&disk, short(), 3));
    let part = names(&disk, ".part").remove(1);
    disk.damage(&part, 2);
    let (head, recovered) = open(disk.clone(), short()).unwrap();
    assert!(matches!(&recovered.damaged[..], [ReadError::Damaged { part: it, .. }] if *it == part));
    let times: Vec<i64> = all(&head).into_keys().map(|(_, at)| at).collect();
    assert_eq!(times, (0..10).chain(20..30).collect::<Vec<_>>());
    drop(head);
    // A copy takes its place.
    disk.damage(&part, 2);
    let (head, recovered) = open(disk.clone(), short()).unwrap();
    assert_eq!((recovered.damaged, all(&head).len()), (vec![], 30));
}

#[test]
fn without_a_manifest_parts_say_themselves_what_they_hold() {
    let disk = Arc::new(MemoryDisk::default());
    drop(with_generations(&disk, short(), 3));
    disk.damage("manifest", 0);
    let (head, recovered) = open(disk.clone(), short()).unwrap();
    assert!(
        matches!(&recovered.damaged[..], [ReadError::Damaged { part, .. }] if part == "manifest")
    );
    assert_eq!((all(&head).len(), recovered.parts), (30, 3));
}

/// A disk that takes no parts while it is told so.
#[derive(Debug, Default)]
struct Picky {
    disk: MemoryDisk,
    refuses: AtomicBool,
}

impl Disk for Picky {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        if self.refuses.load(Ordering::Relaxed) && crate::part::id(name).is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskRead>> {
        self.disk.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }
}

#[test]
fn while_nothing_can_be_sealed_memory_is_bounded_and_nothing_acknowledged_is_lost() {
    let disk = Arc::new(Picky::default());
    let mut options = short();
    options.limits.frozen_samples = 25;
    let (mut head, _) = open(disk.clone(), options).unwrap();
    disk.refuses.store(true, Ordering::Relaxed);
    let mut samples = 0;
    let refused = loop {
        head.tend(samples);
        if let Err(why) = head.ready() {
            break why;
        }
        head.append(&labels(0), samples, 1.0).unwrap();
        assert!(committed(&mut head));
        samples += 1;
        assert!(samples <= 31, "30 samples in three generations wait");
    };
    assert!(refused.0.contains("30 samples wait in memory"), "{refused}");
    disk.refuses.store(false, Ordering::Relaxed);
    while head.ready().is_err() {
        std::thread::yield_now();
    }
    settle(&head, options.tiers);
    assert_eq!(all(&head).len() as i64, samples);
    drop(head);
    disk.disk.crash(|_| 0);
    let (head, recovered) = open(disk.clone(), options).unwrap();
    assert_eq!((all(&head).len() as i64, recovered.parts), (samples, 3));
}

#[test]
fn samples_that_nobody_answers_for_fill_no_memory_while_the_disk_is_full() {
    let disk = Arc::new(MemoryDisk::default());
    let mut options = short();
    options.limits.frozen_samples = 25;
    let (mut head, _) = open(disk.clone(), options).unwrap();
    disk.limit_room(Some(0));
    for at in 0..500 {
        head.tend(at);
        let _ = head.ready();
        head.append(&labels(0), at, 1.0).unwrap();
        head.commit_at_leisure(at);
        let newest = head.tsdb().select(&[], at, at).unwrap();
        assert_eq!(newest.len(), 1, "the newest can always be read");
        assert!(
            head.tsdb().sample_count() <= 60,
            "two limits and the active generation"
        );
    }
    disk.limit_room(None);
    while head.ready().is_err() {
        std::thread::yield_now();
    }
    head.append(&labels(0), 500, 2.0).unwrap();
    assert!(committed(&mut head));
}

#[test]
fn parts_are_merged_tier_by_tier_and_go_when_they_are_too_old() {
    let disk = Arc::new(MemoryDisk::default());
    let options = Options {
        tiers: Tiers {
            hour_ms: 30,
            day_ms: 120,
        },
        ..short()
    };
    let head = with_generations(&disk, options, 25);
    let view = head.tsdb().view();
    let tiers: Vec<_> = view.parts.iter().map(|part| part.meta().tier).collect();
    assert_eq!(tiers, [Tier::Day, Tier::Day, Tier::Generation]);
    let samples = all(&head);
    assert_eq!(samples.len(), 250);
    drop((view, head));
    // Only now: parts that wait for their merge would go by themselves.
    let options = Options {
        retention_ms: 200,
        ..options
    };
    let (mut head, _) = open(disk.clone(), options).unwrap();
    for at in (250..400).step_by(10) {
        head.append(&labels(0), at, 0.0).unwrap();
        head.tend(at + 10);
    }
    settle(&head, options.tiers);
    let oldest = all(&head).into_keys().next().unwrap().1;
    assert_eq!(oldest, 120, "whole parts go");
    let listed = || head.tsdb().view().parts.len();
    while names(&disk, ".part").len() != listed() {
        std::thread::yield_now();
    }
}
