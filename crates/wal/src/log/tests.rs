use super::*;
use crate::{MemoryDisk, Seen, replay};

fn group(payloads: &[&str]) -> Group {
    let mut group = Group::default();
    for payload in payloads {
        group.push(1, payload.as_bytes());
    }
    group
}

fn log(disk: &Arc<MemoryDisk>) -> Log {
    Log::start(disk.clone(), LogOptions::default(), 0, 0)
}

fn found(disk: &MemoryDisk) -> Vec<String> {
    let mut found = Vec::new();
    let replayed = replay(disk, 0, &mut |seen| {
        if let Seen::Frame { payload, .. } = seen {
            found.push(String::from_utf8(payload.to_vec()).unwrap());
        }
    })
    .unwrap();
    assert_eq!(replayed.gaps, []);
    found
}

#[test]
fn a_group_whose_sync_failed_goes_to_a_new_file_and_is_read_once() {
    let disk = Arc::new(MemoryDisk::default());
    let mut log = log(&disk);
    log.commit(&group(&["a"])).unwrap();
    disk.fail_syncs(1);
    log.commit(&group(&["b", "c"])).unwrap();
    log.commit(&group(&["d"])).unwrap();
    assert_eq!(disk.list().unwrap().len(), 2);
    assert_eq!(found(&disk), ["a", "b", "c", "d"]);
    // Whatever the failed file kept of its unsynced end.
    for kept in [0, 5, 1_000] {
        disk.crash(|_| kept);
        assert_eq!(found(&disk), ["a", "b", "c", "d"]);
    }
}

#[test]
fn a_group_that_could_not_be_written_comes_before_those_after_it() {
    let disk = Arc::new(MemoryDisk::default());
    let mut log = log(&disk);
    log.commit(&group(&["a"])).unwrap();
    disk.limit_room(Some(10));
    assert!(matches!(
        log.commit(&group(&["b"])),
        Err(LogError::NotDurable(_))
    ));
    assert!(log.commit_staged().is_err());
    disk.limit_room(None);
    log.commit(&group(&["c"])).unwrap();
    disk.crash(|_| 0);
    assert_eq!(found(&disk), ["a", "b", "c"]);
}

#[test]
fn a_rotated_log_loses_its_old_segments_and_nothing_else() {
    let disk = Arc::new(MemoryDisk::default());
    let mut log = log(&disk);
    log.commit(&group(&["a"])).unwrap();
    let id = log.rotate();
    log.commit(&group(&["b"])).unwrap();
    remove_segments_before(&*disk, id).unwrap();
    disk.crash(|_| 0);
    assert_eq!(found(&disk), ["b"]);
}
