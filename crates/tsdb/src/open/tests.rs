use std::{collections::BTreeMap, sync::mpsc};

use mainstay_wal::MemoryDisk;
use proptest::prelude::*;

use super::*;
use crate::{Labels, stale_marker};

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
    let names = mainstay_wal::Disk::list(&*disk).unwrap();
    let bytes = (&*disk as &dyn mainstay_wal::Disk)
        .read(&names[0], 1 << 20)
        .unwrap();
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
    FailSyncs(usize),
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
        8 => (0_u8..5, -3_i64..9, value).prop_map(|(s, t, v)| Step::Append(s, t, v)),
        3 => Just(Step::Commit),
        1 => (0_usize..6).prop_map(Step::FailSyncs),
        1 => any::<u16>().prop_map(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_acknowledged_is_there_whatever_happens_and_nothing_else(
        steps in prop::collection::vec(any_step(), 1..120),
        generation_ms in 1_i64..60, late_ms in 0_i64..4,
    ) {
        let limits = HeadLimits { late_ms, generation_ms, ..HeadLimits::default() };
        let disk = Arc::new(MemoryDisk::default());
        let (mut head, _) = opened(&disk, limits);
        let mut now = 0;
        let (mut given, mut kept) = (BTreeMap::new(), BTreeMap::new());
        // Taken while the disk failed: there until the process ends.
        let mut unlogged = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append(series, after, value) => {
                    now += after.max(0);
                    let at = now + after.min(0);
                    let logged = head.ready().is_ok();
                    let sample = (labels(series), at);
                    if head.append(&sample.0, at, value).is_ok() && !given.contains_key(&sample) {
                        if !logged {
                            unlogged.insert(sample.clone(), value.to_bits());
                        }
                        given.insert(sample, value.to_bits());
                    }
                    head.tend(now);
                    prop_assert_eq!(&all(&head), &given, "readable at once");
                }
                Step::Commit => {
                    if head.ready().is_ok() && committed(&mut head) {
                        kept.clone_from(&given);
                        kept.retain(|sample, _| !unlogged.contains_key(sample));
                    }
                }
                Step::FailSyncs(count) => disk.fail_syncs(count),
                Step::Crash(some) => {
                    // Whatever the old process still does must not reach the disk: it ends first.
                    disk.fail_syncs(0);
                    drop(head);
                    disk.crash(|unsynced| usize::from(some) % (unsynced + 1));
                    head = opened(&disk, limits).0;
                    let found = all(&head);
                    for (sample, bits) in &kept {
                        prop_assert_eq!(found.get(sample), Some(bits));
                    }
                    for (sample, bits) in &found {
                        prop_assert_eq!(given.get(sample), Some(bits));
                    }
                    given = found;
                    kept.clone_from(&given);
                    unlogged.clear();
                }
                Step::Restart => {
                    disk.fail_syncs(0);
                    while !(head.ready().is_ok() && committed(&mut head)) {
                        std::thread::yield_now();
                    }
                    drop(head);
                    head = opened(&disk, limits).0;
                    given.retain(|sample, _| !unlogged.contains_key(sample));
                    prop_assert_eq!(&all(&head), &given);
                    kept.clone_from(&given);
                    unlogged.clear();
                }
            }
        }
    }
}
