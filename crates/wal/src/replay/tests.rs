use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Group, Log, LogOptions, MemoryDisk};

const FRAME: usize = HEADER_BYTES + 4;

fn written(frames: u32, segment_bytes: u64) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::default());
    let mut log = Log::start(disk.clone(), LogOptions { segment_bytes }, 0, 0);
    for frame in 0..frames {
        let mut group = Group::default();
        group.push(1, &frame.to_le_bytes());
        log.commit(&group).unwrap();
    }
    disk
}

fn read(disk: &MemoryDisk) -> (Vec<u32>, Replayed) {
    let mut found = Vec::new();
    let replayed = replay(disk, 0, &mut |seen| {
        if let Seen::Frame { payload, .. } = seen {
            found.push(u32::from_le_bytes(payload.try_into().unwrap()));
        }
    });
    (found, replayed.unwrap())
}

#[test]
fn a_damaged_middle_is_told_and_what_follows_it_is_given() {
    let disk = written(5, u64::MAX);
    disk.damage(&segment::name(0), segment::HEADER_BYTES + 2 * FRAME);
    let (found, replayed) = read(&disk);
    assert_eq!(found, [0, 1, 3, 4]);
    let offset = (segment::HEADER_BYTES + 2 * FRAME) as u64;
    let gap = Gap {
        segment: 0,
        offset,
        frames: 1,
    };
    assert_eq!(
        (replayed.gaps, replayed.cut, replayed.next_seq),
        (vec![gap], None, 5)
    );
}

#[test]
fn a_damaged_end_of_a_segment_that_is_not_the_last_is_a_gap_and_not_a_cut() {
    let disk = written(4, (segment::HEADER_BYTES + 2 * FRAME) as u64);
    disk.damage(&segment::name(0), segment::HEADER_BYTES + FRAME + 12);
    let (found, replayed) = read(&disk);
    assert_eq!(found, [0, 2, 3]);
    assert_eq!((replayed.gaps[0].frames, replayed.cut), (1, None));
}

#[test]
fn a_damaged_header_hides_no_frame() {
    let disk = written(4, (segment::HEADER_BYTES + 2 * FRAME) as u64);
    disk.damage(&segment::name(1), 9);
    let (found, replayed) = read(&disk);
    assert_eq!((&*found, replayed.gaps), (&[0, 1, 2, 3][..], vec![]));
}

#[test]
fn a_log_goes_on_after_its_torn_end() {
    let disk = written(2, u64::MAX);
    disk.damage(&segment::name(0), segment::HEADER_BYTES + FRAME + 1);
    let (found, replayed) = read(&disk);
    assert_eq!(
        (&*found, replayed.cut.map(|cut| cut.bytes)),
        (&[0][..], Some(FRAME as u64))
    );
    let (segment, seq) = (replayed.next_segment, replayed.next_seq);
    let mut log = Log::start(disk.clone(), LogOptions::default(), segment, seq);
    let mut group = Group::default();
    group.push(1, &9_u32.to_le_bytes());
    log.commit(&group).unwrap();
    let (found, replayed) = read(&disk);
    assert_eq!(
        (&*found, replayed.gaps, replayed.cut),
        (&[0, 9][..], vec![], None)
    );
}

proptest! {
    #[test]
    fn whatever_a_crash_keeps_the_acknowledged_comes_back_in_order(
        steps in prop::collection::vec((0_usize..4, 0_usize..3, any::<u16>()), 1..40),
        segment_bytes in 30_u64..400,
    ) {
        let disk = Arc::new(MemoryDisk::default());
        let start = |at: Replayed| {
            let options = LogOptions { segment_bytes };
            Log::start(disk.clone(), options, at.next_segment, at.next_seq)
        };
        let mut log = start(Replayed::default());
        let (mut next, mut given, mut acknowledged) = (0_u32, Vec::new(), 0);
        for (frames, fault, kept) in steps {
            disk.fail_syncs(if fault == 1 { usize::from(kept % 3) } else { 0 });
            let mut group = Group::default();
            for _ in 0..frames {
                group.push(1, &next.to_le_bytes());
                given.push(next);
                next += 1;
            }
            if log.commit(&group).is_ok() {
                acknowledged = given.len();
            }
            if fault == 2 {
                disk.crash(|unsynced| usize::from(kept) % (unsynced + 1));
                let (found, replayed) = read(&disk);
                prop_assert_eq!(&replayed.gaps, &vec![]);
                prop_assert!(found.len() >= acknowledged, "{} of {}", found.len(), acknowledged);
                prop_assert_eq!(&found[..], &given[..found.len()]);
                // What was not acknowledged and is gone was never there.
                given.truncate(found.len());
                acknowledged = found.len();
                log = start(replayed);
            }
        }
    }
}
