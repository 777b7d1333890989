use std::collections::BTreeMap;

use mainstay_wal::MemoryDisk;
use proptest::prelude::*;

use super::{values::tests::any_value, *};
use crate::{Damage, MatchOp, Matcher, damage::Tolerance, stale_marker};

type Samples = BTreeMap<Labels, (Option<i64>, Columns)>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn written(disk: &MemoryDisk, id: u64, samples: &Samples) -> Result<Part, ReadError> {
    written_as(disk, id, Tier::Generation, samples)
}

fn written_as(
    disk: &MemoryDisk,
    id: u64,
    tier: Tier,
    samples: &Samples,
) -> Result<Part, ReadError> {
    let file = disk.create(&name(id)).unwrap();
    let mut writer = PartWriter::new(file, tier, (3, 5), 1_000);
    for (labels, (born_ms, columns)) in samples {
        writer.push(labels, *born_ms, columns).unwrap();
    }
    writer.finish().unwrap();
    Part::open(disk, id)
}

/// What is compared: bits, since no NaN equals itself.
type Bits = BTreeMap<Labels, (Option<i64>, Vec<(i64, u64)>)>;

fn bits(samples: &Samples, window: (i64, i64), matchers: &[Matcher]) -> Bits {
    let matching = samples.iter().filter(|(labels, _)| {
        let value = |m: &Matcher| labels.get(m.name()).unwrap_or("").to_owned();
        matchers.iter().all(|m| m.matches(&value(m)))
    });
    let within = matching.map(|(labels, (born_ms, columns))| {
        let all = columns.times.iter().zip(&columns.values);
        let inside = all.filter(|(t, _)| (window.0..=window.1).contains(*t));
        let inside = inside.map(|(t, v)| (*t, v.to_bits())).collect();
        (labels.clone(), (*born_ms, inside))
    });
    within
        .filter(|(_, (_, found)): &(_, (_, Vec<_>))| !found.is_empty())
        .collect()
}

fn found(part: &Part, window: (i64, i64), matchers: &[Matcher]) -> Result<Bits, ReadError> {
    let mut found = Samples::new();
    let strict = &mut Tolerance::Strict;
    part.find(matchers, window, strict, &mut |labels, born_ms, columns| {
        assert!(
            found.insert(labels, (born_ms, columns)).is_none(),
            "told once"
        );
    })?;
    Ok(bits(&found, window, &[]))
}

/// What is found around damage, and whether any was noted.
fn found_around(part: &Part, matchers: &[Matcher]) -> (Bits, Damage) {
    let (mut found, mut damage) = (Samples::new(), Damage::default());
    let whole = (i64::MIN, i64::MAX);
    let noting = &mut Tolerance::Noting(&mut damage);
    part.find(matchers, whole, noting, &mut |labels, born_ms, columns| {
        assert!(
            found.insert(labels, (born_ms, columns)).is_none(),
            "told once"
        );
    })
    .unwrap();
    (bits(&found, whole, &[]), damage)
}

fn any_samples() -> impl Strategy<Value = Samples> {
    let steps = prop_oneof![
        prop::collection::vec((1_i64..40, any_value()), 1..30),
        // As scrapes come: regular, and the same for several series.
        prop::collection::vec((Just(10), any_value()), 20),
    ];
    let series = ("[ab]{0,2}", "[a-c]{1,3}", prop::option::of(0_i64..9), steps);
    prop::collection::vec(series, 1..40).prop_map(|all| {
        let series = all.into_iter().map(|(zone, name, born_ms, steps)| {
            let mut at_ms = 0;
            let mut columns = Columns::default();
            for (after, value) in steps {
                at_ms += after;
                columns.push(at_ms, value);
            }
            let labels = labels(&[("__name__", &name), ("zone", &zone)]);
            (labels, (born_ms, columns))
        });
        series.collect()
    })
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let pattern = prop::sample::select(vec![
        "",
        "a",
        "ab",
        "a|b",
        "a|bb|cc",
        "a.*",
        ".*",
        ".+",
        "b?",
        "[^a]",
        "ab.*|aa.*",
        "c",
    ]);
    let name = prop::sample::select(vec!["__name__", "zone", "none"]);
    (name, op, pattern).prop_map(|(name, op, pattern)| Matcher::new(name, op, pattern).unwrap())
}

proptest! {
    #[test]
    fn what_went_in_comes_out_bit_for_bit_in_any_window_for_any_matchers(
        samples in any_samples(), start in 0_i64..300, span in 0_i64..300,
        matchers in prop::collection::vec(any_matcher(), 0..3), thorough in any::<bool>(),
    ) {
        let tier = if thorough { Tier::Day } else { Tier::Hour };
        let part = written_as(&MemoryDisk::default(), 1, tier, &samples).unwrap();
        let whole = (i64::MIN, i64::MAX);
        prop_assert_eq!(found(&part, whole, &[]).unwrap(), bits(&samples, whole, &[]));
        let window = (start, start + span);
        let wanted = bits(&samples, window, &matchers);
        prop_assert_eq!(&found(&part, window, &matchers).unwrap(), &wanted);
        let mut series = Vec::new();
        let strict = &mut Tolerance::Strict;
        part.series(&matchers, window, strict, &mut |labels| series.push(labels)).unwrap();
        prop_assert!(series.iter().eq(wanted.keys()));
        prop_assert!(part.label_values("zone", strict).unwrap().iter().map(String::as_str).eq(
            samples.keys().filter_map(|it| it.get("zone")).collect::<std::collections::BTreeSet<_>>()
        ));
        let meta = part.meta();
        let count = samples.values().map(|(_, columns)| columns.times.len() as u64).sum();
        prop_assert_eq!((meta.series as usize, meta.samples), (samples.len(), count));
        part.ends(&[], window.1, strict, &mut |labels, _, last| {
            let (_, columns) = &samples[&labels];
            let until = columns.times.partition_point(|t| *t <= window.1);
            assert_eq!(last.at_ms, columns.times[until - 1]);
        }).unwrap();
    }
}

/// Enough of everything for several blocks, pages and pieces.
fn many() -> Samples {
    let series = (0..300).map(|at| {
        let mut columns = Columns::default();
        let count = if at == 7 { 9_000 } else { 20 };
        for step in 0..count {
            let value = if step % 2 == 0 {
                f64::from(at) + 0.1
            } else {
                1.0 / f64::from(step)
            };
            columns.push(i64::from(step) * 15_000, value);
        }
        columns.push(i64::from(count) * 15_000, stale_marker());
        let labels = labels(&[("__name__", "m"), ("at", &format!("{at:04}"))]);
        (labels, (None, columns))
    });
    series.collect()
}

#[test]
fn a_long_series_is_read_in_pieces_and_a_timestamp_vector_is_written_once() {
    let disk = MemoryDisk::default();
    let samples = many();
    let part = written(&disk, 1, &samples).unwrap();
    let window = (4_000 * 15_000, 4_100 * 15_000);
    let read = found(&part, window, &[]).unwrap();
    assert_eq!(read, bits(&samples, window, &[]));
    assert_eq!(
        read.values()
            .map(|(_, samples)| samples.len())
            .sum::<usize>(),
        101
    );
    let mut spans = std::collections::BTreeSet::new();
    let mut walk = Walk::new(&part);
    for id in 0..part.meta().series {
        let pieces = &walk.series(id).unwrap().pieces;
        spans.extend(pieces.iter().map(|it| (it.times.page, it.times.at)));
    }
    assert_eq!(spans.len(), 1 + 3);
}

#[test]
fn any_damaged_byte_is_found_and_never_read_as_another_sample() {
    let disk = MemoryDisk::default();
    let samples: Samples = many().into_iter().take(7).collect();
    let whole = (i64::MIN, i64::MAX);
    let part = written(&disk, 1, &samples).unwrap();
    let matcher = Matcher::new("at", MatchOp::Regex, "000.").unwrap();
    let wanted = bits(&samples, whole, &[]);
    for at in 0..part.bytes() as usize {
        disk.damage(&name(1), at);
        let pages_hold = Part::open(&disk, 1).is_ok_and(|part| {
            for matchers in [&[][..], std::slice::from_ref(&matcher)] {
                if let Ok(found) = found(&part, whole, matchers) {
                    assert_eq!(found, wanted, "byte {at}");
                }
            }
            (0..=part.pages.root()).all(|page| part.pages.read(page).is_ok())
        });
        assert!(!pages_hold, "byte {at}");
        disk.damage(&name(1), at);
    }
    assert_eq!(found(&part, whole, &[]).unwrap(), wanted);
}

#[test]
fn a_damaged_page_is_named_to_those_who_need_it_and_all_others_are_served() {
    let disk = MemoryDisk::default();
    let samples = many();
    let part = written(&disk, 9, &samples).unwrap();
    let (whole, one) = ((i64::MIN, i64::MAX), |at: &str| {
        [Matcher::new("at", MatchOp::Equal, at).unwrap()]
    });
    // The first page of values begins behind the magic.
    disk.damage(&name(9), 40);
    let error = found(&part, whole, &one("0000")).unwrap_err();
    assert!(matches!(&error, ReadError::Damaged { part, offset: 8.., .. } if *part == name(9)));
    let served = found(&part, whole, &one("0299")).unwrap();
    assert_eq!(served, bits(&samples, whole, &one("0299")));
}

#[test]
fn around_any_damaged_page_everything_else_is_served_and_the_damage_is_told() {
    let disk = MemoryDisk::default();
    let samples = many();
    let pristine = written(&disk, 1, &samples).unwrap();
    let whole = (i64::MIN, i64::MAX);
    let ten = [Matcher::new("at", MatchOp::Regex, "00[0-9]7").unwrap()];
    let wanted = [&[][..], &ten].map(|matchers| bits(&samples, whole, matchers));
    let (mut index_only, mut samples_gone) = (0, 0);
    for page in 0..pristine.pages.root() {
        let at = pristine.pages.begins_at(page);
        disk.damage(&name(1), at as usize);
        let part = Part::open(&disk, 1).unwrap();
        for (matchers, wanted) in [&[][..], &ten].into_iter().zip(&wanted) {
            let (found, damage) = found_around(&part, matchers);
            for (labels, (_, samples)) in &found {
                let (_, all) = &wanted[labels];
                let mut all = all.iter();
                assert!(samples.iter().all(|it| all.any(|other| other == it)));
            }
            let complete = found == *wanted;
            assert!(complete || !damage.is_none(), "page {page}");
            match (complete, damage.is_none()) {
                (true, false) => index_only += 1,
                (false, false) => samples_gone += 1,
                (_, true) => {}
            }
        }
        let pages = part.quarantined();
        assert!(pages <= 1, "one page is damaged, {pages} are quarantined");
        disk.damage(&name(1), at as usize);
    }
    assert!(index_only > 0 && samples_gone > 3);
}
