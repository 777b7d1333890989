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
use crate::{
    Histogram, Labels, histogram::tests::any_histogram, part::Tier, stale_marker, view::View,
};

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
        let numbers = times.map(|(t, v)| ((slice.labels.clone(), *t), v.to_bits()));
        let histograms = slice.histograms.iter();
        let histograms = histograms.map(|it| {
            let sample = (slice.labels.clone(), it.at_ms);
            (sample, fingerprint(&it.histogram))
        });
        let all: Vec<_> = numbers.chain(histograms).collect();
        let times: BTreeSet<_> = all.iter().map(|((_, t), _)| *t).collect();
        assert_eq!(times.len(), all.len(), "one sample at a time: {slice:?}");
        assert!(slice.histograms.is_sorted_by_key(|it| it.at_ms));
        all
    });
    samples.collect()
}

/// What is compared of a histogram: all of it.
fn fingerprint(histogram: &Histogram) -> u64 {
    let mut bytes = Vec::new();
    crate::histogram::put_histogram(&mut bytes, histogram);
    xxhash_rust::xxh3::xxh3_64(&bytes)
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
    AppendHistogram(u8, i64, Histogram),
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
        12 => (0_u8..5, -3_i64..9, value).prop_map(|(s, t, v)| Step::Append(s, t, v)),
        8 => (0_u8..4, -3_i64..9, any_histogram())
            .prop_map(|(s, t, h)| Step::AppendHistogram(s, t, h)),
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
            Step::Append(series, after, value) => {
                self.append(
                    labels(series),
                    after,
                    value.to_bits(),
                    |head, (series, at_ms)| head.append(series, *at_ms, value).is_ok(),
                );
            }
            Step::AppendHistogram(series, after, histogram) => {
                let bits = fingerprint(&histogram);
                self.append(labels(series), after, bits, |head, (series, at_ms)| {
                    head.append_histogram(series, *at_ms, histogram).is_ok()
                });
            }
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
        match orders::obeyed(&mut self.head, order, self.now) {
            // The disk fails: nothing is removed, and who ordered it is told.
            Err(crate::OrderError::Disk(_)) => {
                assert_eq!(all(&self.head), self.given, "nothing was deleted");
                return;
            }
            obeyed => drop(obeyed.unwrap()),
        }
        let stays = |(labels_, at): &(Labels, i64)| {
            *labels_ != labels(series) || !(start_ms..=end_ms).contains(at)
        };
        for samples in [&mut self.given, &mut self.kept, &mut self.unlogged] {
            samples.retain(|sample, _| stays(sample));
        }
        assert_eq!(all(&self.head), self.given, "deleted at once");
    }

    fn append(
        &mut self,
        series: Labels,
        after: i64,
        bits: u64,
        append: impl FnOnce(&mut Head, &(Labels, i64)) -> bool,
    ) {
        self.now += after.max(0);
        let sample = (series, self.now + after.min(0));
        let logged = self.head.ready().is_ok();
        let taken = append(&mut self.head, &sample);
        if taken && !self.given.contains_key(&sample) {
            if !logged {
                self.unlogged.insert(sample.clone(), bits);
            }
            self.given.insert(sample, bits);
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

/// Numbers and histograms, in a head and in what it becomes.
fn mixed(head: &mut Head, steps: &[(u8, i64, Result<f64, Histogram>)]) {
    for (series, at_ms, sample) in steps {
        // What is refused is refused in any head alike.
        let _ = match sample {
            Ok(value) => head.append(&labels(*series), *at_ms, *value),
            Err(histogram) => head.append_histogram(&labels(*series), *at_ms, histogram.clone()),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn numbers_and_histograms_of_one_series_are_the_same_in_memory_in_the_log_and_in_parts(
        generations in prop::collection::vec(prop::collection::vec((
            0_u8..2, 0_i64..40, prop_oneof![
                any::<f64>().prop_map(Ok),
                Just(Ok(stale_marker())),
                any_histogram().prop_map(Err),
            ],
        ), 0..20), 1..6),
        window in (0_i64..40, 0_i64..40),
    ) {
        let late = HeadLimits { late_ms: 30, generation_ms: 1_000, ..HeadLimits::default() };
        let options = Options { limits: late, ..Options::default() };
        let disk = Arc::new(MemoryDisk::default());
        let (mut kept, _) = open(disk.clone(), options).unwrap();
        let mut memory = Head::new(late);
        for steps in &generations {
            mixed(&mut memory, steps);
            memory.cut(0);
            mixed(&mut kept, steps);
            prop_assert!(committed(&mut kept));
        }
        let wanted = all(&memory);
        // Without cuts between, what is late for another generation may be refused at once instead of hidden.
        prop_assert_eq!(&all(&kept), &wanted);
        drop(kept);
        let (replayed, _) = open(disk.clone(), options).unwrap();
        prop_assert_eq!(&all(&replayed), &wanted);
        settle(&replayed, options.tiers);
        prop_assert_eq!(&all(&replayed), &wanted);
        drop(replayed);
        let (reopened, _) = open(disk, options).unwrap();
        prop_assert_eq!(&all(&reopened), &wanted);
        let (start, end) = (window.0.min(window.1), window.0.max(window.1));
        let within = |it: &Head| it.tsdb().select(&[], start, end).unwrap().into_iter()
            .map(|it| (it.labels, it.timestamps.to_vec(), it.histograms)).collect::<Vec<_>>();
        prop_assert_eq!(within(&reopened), within(&memory));
    }
}

#[test]
fn the_newest_sample_of_a_series_may_be_a_histogram_also_once_it_is_sealed() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut head, _) = opened(&disk, HeadLimits::default());
    let sample = &crate::histogram::tests::histograms(2, 5)[1];
    head.append(&labels(0), 10, 3.0).unwrap();
    let histogram = || Histogram::clone(&sample.histogram);
    head.append_histogram(&labels(0), 20, histogram()).unwrap();
    head.append_histogram(&labels(0), 20, histogram()).unwrap();
    let other = head.append(&labels(0), 20, 3.0).unwrap_err();
    assert!(matches!(other, crate::AppendError::DuplicateTime { .. }));
    assert!(committed(&mut head));
    for _ in 0..2 {
        let found = head.tsdb().newest(&[], 100).unwrap();
        assert_eq!((found[0].at_ms, found[0].ended), (20, false));
        assert!(found[0].value.is_nan());
        let found = head.tsdb().newest(&[], 19).unwrap();
        assert_eq!((found[0].at_ms, found[0].value), (10, 3.0));
        let series = |start, end| {
            let mut damage = crate::Damage::default();
            head.tsdb().series(&[], start, end, &mut damage).unwrap()
        };
        assert_eq!(series(15, 25), [labels(0)]);
        assert_eq!(series(11, 19), []);
        drop(head);
        head = opened(&disk, HeadLimits::default()).0;
        settle(&head, Tiers::default());
    }
    let late = head.append_histogram(&labels(0), 15, histogram());
    assert!(matches!(late, Err(crate::AppendError::OutOfOrder { .. })));
    let end = Histogram {
        sum: stale_marker(),
        ..Histogram::default()
    };
    head.append_histogram(&labels(0), 30, end).unwrap();
    let found = head.tsdb().newest(&[], 100).unwrap();
    assert_eq!((found[0].at_ms, found[0].ended), (20, true));
    let found = head.tsdb().select(&[], 0, 100).unwrap();
    assert_eq!(
        (found[0].timestamps.as_slice(), found[0].histograms.len()),
        (&[10, 30][..], 1)
    );
}

#[test]
fn a_histogram_counts_in_limits_as_many_samples_as_take_its_place() {
    let mut head = Head::new(HeadLimits::default());
    let sample = &crate::histogram::tests::histograms(2, 100)[1];
    head.append_histogram(&labels(0), 20, Histogram::clone(&sample.histogram))
        .unwrap();
    assert_eq!(head.tsdb().sample_count(), 1);
    assert!(head.tsdb().view().active.weight() > 50);
}

#[test]
fn a_histogram_at_the_end_of_a_torn_log_is_lost_and_those_before_it_are_not() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut head, _) = opened(&disk, HeadLimits::default());
    let samples = crate::histogram::tests::histograms(3, 5);
    let mut before = BTreeMap::new();
    for (at, sample) in samples.iter().enumerate() {
        let histogram = Histogram::clone(&sample.histogram);
        head.append_histogram(&labels(0), sample.at_ms, histogram)
            .unwrap();
        if at < 2 {
            assert!(committed(&mut head));
            before = all(&head);
        }
    }
    assert!(committed(&mut head));
    drop(head);
    let name = names(&disk, ".wal").remove(0);
    let bytes = (&*disk as &dyn Disk).read(&name, 1 << 20).unwrap();
    disk.damage(&name, bytes.len() - 3);
    let (head, recovered) = opened(&disk, HeadLimits::default());
    assert_eq!((all(&head), recovered.samples), (before, 2));
}
