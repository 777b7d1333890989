//! Orders: deletion and cleaning; series that are kept for less long.

use std::sync::mpsc;

use super::*;
use crate::{Damage, MatchOp, Matcher, Order, OrderError, Outcome};

pub(super) fn obeyed(head: &mut Head, order: Order, now_ms: i64) -> Result<Outcome, OrderError> {
    let (tell, told) = mpsc::channel();
    head.order(
        order,
        now_ms,
        Box::new(move |outcome| tell.send(outcome).unwrap()),
    );
    told.recv().unwrap()
}

pub(super) fn of_series(at: u8) -> Vec<Matcher> {
    vec![Matcher::new("at", MatchOp::Equal, at.to_string()).unwrap()]
}

fn delete(series: u8, start_ms: i64, end_ms: i64) -> Order {
    Order::Delete {
        selectors: vec![of_series(series)],
        start_ms,
        end_ms,
    }
}

/// Times of a series.
fn times(head: &Head, series: u8) -> Vec<i64> {
    let found = head
        .tsdb()
        .select(&of_series(series), i64::MIN, i64::MAX)
        .unwrap();
    found.iter().flat_map(|it| it.timestamps.to_vec()).collect()
}

/// Two series in generations of ten samples, the last of which is still in memory.
fn two_series(disk: &Arc<MemoryDisk>) -> Head {
    let (mut head, _) = open(disk.clone(), short()).unwrap();
    for at in 0..35 {
        head.tend(at);
        head.append(&labels(1), at, at as f64).unwrap();
        head.append(&labels(2), at, at as f64).unwrap();
    }
    assert!(committed(&mut head));
    head
}

#[test]
fn what_is_deleted_is_gone_at_once_and_after_a_kill_and_what_comes_later_is_not() {
    let disk = Arc::new(MemoryDisk::default());
    let mut head = two_series(&disk);
    let outcome = obeyed(&mut head, delete(1, 5, 100), 35).unwrap();
    assert_eq!(outcome.parts, 4, "what was in memory is sealed for it");
    assert_eq!(times(&head, 1), [0, 1, 2, 3, 4]);
    assert_eq!(times(&head, 2).len(), 35);
    head.append(&labels(1), 40, 7.0).unwrap();
    assert!(committed(&mut head));
    let newest = head.tsdb().newest(&of_series(1), 39).unwrap();
    assert_eq!(newest[0].at_ms, 4, "the end of a series is what is left");
    let within = head
        .tsdb()
        .series(&of_series(1), 6, 30, &mut Damage::default());
    assert_eq!(within.unwrap(), []);
    std::mem::forget(head);
    disk.crash(|_| 0);
    let (head, recovered) = open(disk, short()).unwrap();
    assert_eq!(recovered.damaged, []);
    assert_eq!(times(&head, 1), [0, 1, 2, 3, 4, 40]);
    assert_eq!(times(&head, 2).len(), 35);
}

#[test]
fn cleaning_takes_what_was_deleted_off_the_disk() {
    let disk = Arc::new(MemoryDisk::default());
    let mut head = two_series(&disk);
    obeyed(&mut head, delete(1, i64::MIN, i64::MAX), 35).unwrap();
    let on_disk = || {
        let parts = names(&disk, ".part").into_iter();
        // One may go between being listed and being read.
        let parts = parts.filter_map(|name| (&*disk as &dyn Disk).read(&name, 1 << 20).ok());
        let key = labels(1).key().as_bytes().to_vec();
        parts
            .filter(|it| it.windows(key.len()).any(|it| it == key))
            .count()
    };
    assert_eq!(on_disk(), 4);
    assert_eq!(obeyed(&mut head, Order::Clean, 36).unwrap().parts, 4);
    while on_disk() > 0 {
        std::thread::yield_now();
    }
    assert_eq!((times(&head, 1).len(), times(&head, 2).len()), (0, 35));
    assert_eq!(obeyed(&mut head, Order::Clean, 37).unwrap().parts, 0);
    let text = (&*disk as &dyn Disk).read("manifest", 1 << 20).unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("deleted"));
    drop(head);
    let (head, _) = open(disk, short()).unwrap();
    assert_eq!((times(&head, 1).len(), times(&head, 2).len()), (0, 35));
}

#[test]
fn a_part_that_held_nothing_else_goes_as_a_whole() {
    let disk = Arc::new(MemoryDisk::default());
    let mut head = with_generations(&disk, short(), 3);
    obeyed(&mut head, delete(0, 10, 19), 30).unwrap();
    obeyed(&mut head, Order::Clean, 30).unwrap();
    assert_eq!(head.tsdb().view().parts.len(), 2);
    assert_eq!(times(&head, 0).len(), 20);
}

#[test]
fn a_deletion_that_nobody_cleans_is_cleaned_within_hours() {
    let disk = Arc::new(MemoryDisk::default());
    let mut head = two_series(&disk);
    obeyed(&mut head, delete(1, 5, 100), 35).unwrap();
    let later = 35 + 3 * 60 * 60 * 1_000;
    head.append(&labels(2), later, 1.0).unwrap();
    head.tend(later);
    let buried = || {
        let text = (&*disk as &dyn Disk).read("manifest", 1 << 20).unwrap();
        String::from_utf8(text).unwrap().contains("deleted")
    };
    while buried() {
        std::thread::yield_now();
    }
    assert_eq!(times(&head, 1), [0, 1, 2, 3, 4]);
}

#[test]
fn where_nothing_is_kept_on_disk_an_order_is_refused() {
    let mut head = Head::new(HeadLimits::default());
    assert_eq!(
        obeyed(&mut head, delete(1, 0, 1), 0),
        Err(OrderError::NoDisk)
    );
}

#[test]
fn series_that_are_kept_for_less_long_leave_their_parts_and_others_stay() {
    let disk = Arc::new(MemoryDisk::default());
    let rules = [(1, 20), (2, 500)].map(|(at, for_ms)| crate::Retain {
        matchers: of_series(at),
        for_ms,
    });
    // Each generation is a part of its own, however soon others come: what is merged goes together.
    let options = Options {
        tiers: Tiers {
            hour_ms: 10,
            day_ms: 1_000_000,
        },
        retention_ms: 60,
        ..short()
    };
    let (mut head, _) = open_keeping(
        disk,
        options,
        crate::Keeping {
            retain: rules.to_vec(),
            ..Default::default()
        },
    )
    .unwrap();
    for at in 0..100 {
        head.tend(at);
        for series in 0..3 {
            head.append(&labels(series), at, at as f64).unwrap();
        }
    }
    assert!(committed(&mut head));
    head.tend(100);
    let oldest = |head: &Head, series| times(head, series).first().copied();
    while (oldest(&head, 0), oldest(&head, 1)) != (Some(40), Some(80)) {
        std::thread::yield_now();
    }
    assert_eq!(times(&head, 2).len(), 100);
}

fn backfill(series: u8, samples: &[(i64, f64)]) -> Order {
    Order::Backfill(vec![crate::Backfilled {
        labels: labels(series),
        samples: samples.to_vec(),
    }])
}

#[test]
fn what_is_imported_is_read_among_the_rest_and_only_once_however_often_it_comes() {
    let disk = Arc::new(MemoryDisk::default());
    let mut head = two_series(&disk);
    let old = [(-9, 1.0), (7, 99.0), (-8, 2.0), (33, 99.0), (40, 4.0)];
    let outcome = obeyed(&mut head, backfill(1, &old), 50).unwrap();
    assert_eq!((outcome.written, outcome.known), (3, 2));
    let again = obeyed(&mut head, backfill(1, &old), 50).unwrap();
    assert_eq!((again.written, again.known, again.parts), (0, 5, 0));
    let outcome = obeyed(&mut head, backfill(3, &[(5, 5.0)]), 50).unwrap();
    assert_eq!(outcome.written, 1);
    let check = |head: &Head| {
        let found: Vec<i64> = [-9, -8].into_iter().chain(0..35).chain([40]).collect();
        assert_eq!(times(head, 1), found);
        assert_eq!(all(head)[&(labels(1), 7)], 7_f64.to_bits());
        assert_eq!((times(head, 2).len(), times(head, 3)), (35, vec![5]));
    };
    check(&head);
    // The next sample of a series goes on where the head was.
    head.append(&labels(1), 36, 1.0).unwrap();
    drop(head);
    disk.damage("manifest", 0);
    let (mut head, _) = open(disk.clone(), short()).unwrap();
    assert_eq!(times(&head, 1).len(), 39);
    obeyed(
        &mut head,
        Order::Delete {
            selectors: vec![of_series(1)],
            start_ms: 36,
            end_ms: 36,
        },
        60,
    )
    .unwrap();
    check(&head);
}

#[test]
fn imported_parts_of_a_day_become_one() {
    let disk = Arc::new(MemoryDisk::default());
    let options = Options {
        tiers: Tiers {
            hour_ms: 10,
            day_ms: 1_000,
        },
        ..short()
    };
    let (mut head, _) = open(disk, options).unwrap();
    for at in 0..20 {
        let order = backfill(1, &[(at, 1.0), (at + 1_000, 2.0)]);
        assert_eq!(obeyed(&mut head, order, 3_000).unwrap().written, 2);
    }
    for at in [3_000, 3_020] {
        head.append(&labels(2), at, 0.0).unwrap();
        head.tend(at);
    }
    let imported = |head: &Head| {
        let view = head.tsdb().view();
        let imported = view
            .parts
            .iter()
            .filter(|it| it.meta().generations == crate::part::IMPORTED);
        imported.count()
    };
    while imported(&head) != 2 {
        std::thread::yield_now();
    }
    assert_eq!(times(&head, 1).len(), 40);
}

#[test]
fn what_is_too_old_to_be_kept_is_not_imported() {
    let options = Options {
        retention_ms: 100,
        ..short()
    };
    let (mut head, _) = open(Arc::new(MemoryDisk::default()), options).unwrap();
    let order = backfill(1, &[(1, 1.0), (950, 2.0)]);
    let outcome = obeyed(&mut head, order, 1_000).unwrap();
    assert_eq!((outcome.written, outcome.expired), (1, 1));
}

#[test]
fn what_is_too_old_becomes_a_summary_and_then_a_coarser_one_and_nothing_is_read_twice() {
    use crate::{Aggregate, Downsampling, Keeping, Resolution};
    const MINUTE: i64 = 60_000;
    let disk = Arc::new(MemoryDisk::default());
    let keeping = Keeping {
        retain: vec![crate::Retain {
            matchers: of_series(2),
            for_ms: 10_000 * MINUTE,
        }],
        downsampling: Downsampling {
            five_minutes_ms: Some(1_000 * MINUTE),
            hour_ms: Some(10_000 * MINUTE),
        },
    };
    let options = Options {
        retention_ms: 100 * MINUTE,
        tiers: Tiers {
            hour_ms: 60 * MINUTE,
            day_ms: 240 * MINUTE,
        },
        ..Options::default()
    };
    let (mut head, _) = open_keeping(disk.clone(), options, keeping.clone()).unwrap();
    let samples: Vec<(i64, f64)> = (0..2_000)
        .map(|at| (at * MINUTE, (at % 7) as f64))
        .collect();
    for series in [1, 2] {
        obeyed(&mut head, backfill(series, &samples), 2_000 * MINUTE).unwrap();
    }
    let tsdb = head.tsdb();
    let coarse = |resolution| {
        let coarse = tsdb.coarse(i64::MIN, i64::MAX);
        coarse
            .iter()
            .filter(|it| it.resolution == resolution)
            .count()
    };
    while (coarse(Resolution::Hour), coarse(Resolution::FiveMinutes)) != (4, 3) {
        std::thread::yield_now();
    }
    let check = |head: &Head| {
        let tsdb = head.tsdb();
        for (aggregate, wanted) in [
            (Aggregate::Count, 2_000.0),
            (Aggregate::Sum, samples.iter().map(|(_, v)| v).sum()),
        ] {
            let mut damage = Damage::default();
            let window = (i64::MIN, i64::MAX);
            for series in [1, 2] {
                let matchers = of_series(series);
                let found = tsdb
                    .select_aggregate(aggregate, &matchers, window, &mut damage)
                    .unwrap();
                assert_eq!((found.len(), &found[0].labels), (1, &labels(series)));
                assert_eq!(found[0].values.iter().sum::<f64>(), wanted);
            }
            assert!(damage.is_none());
        }
        assert_eq!(times(head, 2).len(), 2_000, "a rule keeps it");
        let left = times(head, 1);
        assert!(
            left.len() < 1_000 && left.contains(&(1_999 * MINUTE)),
            "{}",
            left.len()
        );
        let names = tsdb.label_names(&mut Damage::default()).unwrap();
        assert_eq!(names, ["__name__", "at"]);
        let all = tsdb.series(&[], i64::MIN, i64::MAX, &mut Damage::default());
        assert_eq!(all.unwrap().len(), 2);
    };
    check(&head);
    let again = obeyed(&mut head, backfill(1, &samples), 2_000 * MINUTE).unwrap();
    assert_eq!(
        (again.written, again.known),
        (0, 2_000),
        "summaries are known, too"
    );
    obeyed(
        &mut head,
        delete(1, 5_000 * MINUTE, 6_000 * MINUTE),
        2_000 * MINUTE,
    )
    .unwrap();
    drop(head);
    let (mut head, _) = open_keeping(disk, options, keeping).unwrap();
    check(&head);
    obeyed(&mut head, delete(1, i64::MIN, i64::MAX), 2_000 * MINUTE).unwrap();
    let mut damage = Damage::default();
    let window = (i64::MIN, i64::MAX);
    let gone = head
        .tsdb()
        .select_aggregate(Aggregate::Sum, &of_series(1), window, &mut damage);
    assert_eq!(gone.unwrap().len(), 0, "summaries are deleted like samples");
}
