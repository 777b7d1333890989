use super::*;
use mainstay_wal::{LogOptions, MemoryDisk, Seen, replay};
use std::sync::mpsc;

fn group(byte: u8) -> Group {
    let mut group = Group::default();
    group.push(1, &[byte]);
    group
}

fn told(journal: &Journal, byte: u8) -> mpsc::Receiver<Result<(), NotDurable>> {
    let (tell, told) = mpsc::channel();
    journal.commit(
        group(byte),
        Some(Box::new(move |result| tell.send(result).unwrap())),
    );
    told
}

#[test]
fn nobody_is_acknowledged_while_the_disk_fails_and_nothing_taken_is_lost() {
    let disk = Arc::new(MemoryDisk::default());
    let log = Log::start(disk.clone(), LogOptions::default(), 0, 0);
    let journal = Journal::start(log, Box::new(|_| ())).unwrap();
    assert_eq!(told(&journal, 1).recv().unwrap(), Ok(()));
    disk.limit_room(Some(0));
    let refused = told(&journal, 2).recv().unwrap().unwrap_err();
    assert!(refused.0.contains("make room"), "{refused}");
    assert_eq!(journal.check(), Err(refused));
    disk.limit_room(None);
    assert_eq!(told(&journal, 3).recv().unwrap(), Ok(()));
    assert_eq!(journal.check(), Ok(()));
    disk.crash(|_| 0);
    let mut found = Vec::new();
    replay(&*disk, 0, &mut |seen| {
        if let Seen::Frame { payload, .. } = seen {
            found.extend_from_slice(payload);
        }
    })
    .unwrap();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn who_waits_behind_the_end_of_a_generation_hears_of_a_disk_that_fails() {
    let disk = Arc::new(MemoryDisk::default());
    disk.limit_room(Some(0));
    let log = Log::start(disk.clone(), LogOptions::default(), 0, 0);
    let (handed, on) = mpsc::channel();
    let hand_on = move |it| match it {
        Handed::Ended(_, segment) => handed.send(segment).unwrap(),
        Handed::Order(_) => {}
    };
    let journal = Journal::start(log, Box::new(hand_on)).unwrap();
    let table = Arc::new(crate::series::SeriesTable::with_limit(1));
    let ended = Ended {
        generation: Arc::new(Memtable::new(table, 1)),
        now_ms: 0,
        retired: None,
    };
    let (tell, told) = mpsc::channel();
    let waits: Acknowledge = Box::new(move |result| tell.send(result).unwrap());
    journal.shared.queue().items.extend([
        Item::Group(group(1), None),
        Item::Cut(ended),
        Item::Group(group(2), Some(waits)),
    ]);
    journal.shared.wake.notify_one();
    assert!(told.recv().unwrap().is_err());
    assert!(
        on.try_recv().is_err(),
        "a generation that is not durable is not handed on"
    );
    disk.limit_room(None);
    assert!(on.recv().unwrap() > 0);
}
