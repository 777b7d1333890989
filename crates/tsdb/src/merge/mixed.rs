//! Parts of numbers and histograms, merged in every order.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_wal::{Disk as _, MemoryDisk};
use proptest::prelude::*;

use super::*;
use crate::{
    Histogram, damage::Tolerance, histogram::tests::any_histogram, memtable::Columns, part,
};

#[derive(Clone, Debug)]
enum Kind {
    Number(f64),
    Histogram(Arc<Histogram>),
}

/// Samples of two series: the series, the time, and what it is.
type Samples = BTreeMap<(u8, i64), Kind>;

fn any_samples() -> impl Strategy<Value = Samples> {
    let kind = prop_oneof![
        any::<f64>().prop_map(Kind::Number),
        Just(Kind::Number(crate::stale_marker())),
        any_histogram().prop_map(|it| Kind::Histogram(Arc::new(it))),
    ];
    prop::collection::btree_map((0_u8..2, 0_i64..30), kind, 0..25)
}

fn labels(series: u8) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("at", &series.to_string())]).unwrap()
}

struct Parts {
    disk: MemoryDisk,
    next: u64,
}

impl Parts {
    fn write(&mut self, generations: (u64, u64), fill: impl FnOnce(&mut PartWriter)) -> Arc<Part> {
        let id = self.next;
        self.next += 1;
        let file = self.disk.create(&part::name(id)).unwrap();
        let tier = if id.is_multiple_of(2) {
            Tier::Hour
        } else {
            Tier::Day
        };
        let mut writer = PartWriter::new(file, tier, generations, 0);
        fill(&mut writer);
        writer.finish().unwrap();
        Arc::new(Part::open(&self.disk, id).unwrap())
    }

    fn of(&mut self, generation: u64, samples: &Samples) -> Arc<Part> {
        self.write((generation, generation), |writer| {
            for series in 0..2 {
                let mut columns = Columns::default();
                for ((_, at_ms), kind) in samples.iter().filter(|((of, _), _)| *of == series) {
                    match kind {
                        Kind::Number(value) => columns.push(*at_ms, *value),
                        Kind::Histogram(it) => columns.histograms.push(*at_ms, Arc::clone(it)),
                    }
                }
                writer.push(&labels(series), None, &columns).unwrap();
            }
        })
    }

    fn merged(&mut self, parts: &[Arc<Part>]) -> Arc<Part> {
        self.write((0, 9), |writer| {
            merge(parts, writer, &mut || true).unwrap();
        })
    }
}

fn told(part: &Part) -> BTreeMap<(Labels, i64), String> {
    let mut told = BTreeMap::new();
    let mut tell = |labels: &Labels, at_ms, text| {
        let before = told.insert((labels.clone(), at_ms), text);
        assert_eq!(before, None, "one sample at a time");
    };
    let strict = &mut Tolerance::Strict;
    part.find(
        &[],
        (i64::MIN, i64::MAX),
        strict,
        &mut |labels, _, columns| {
            for (at_ms, value) in columns.times.iter().zip(&columns.values) {
                tell(&labels, *at_ms, value.to_bits().to_string());
            }
            for sample in &columns.histograms.samples {
                tell(&labels, sample.at_ms, format!("{:?}", sample.histogram));
            }
        },
    )
    .unwrap();
    told
}

/// Merges neighbours until one is left, those first that `order` says.
fn in_order(
    parts: &mut Parts,
    mut all: Vec<Arc<Part>>,
    order: &[prop::sample::Index],
) -> Arc<Part> {
    let mut order = order.iter();
    while all.len() > 1 {
        let at = order.next().map_or(0, |index| index.index(all.len() - 1));
        let both = parts.merged(&all[at..at + 2]);
        all.splice(at..at + 2, [both]);
    }
    all.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn in_whatever_order_parts_are_merged_each_sample_is_there_and_of_equal_times_the_first(
        generations in prop::collection::vec(any_samples(), 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 5),
    ) {
        let mut parts = Parts { disk: MemoryDisk::default(), next: 1 };
        let all: Vec<_> = (0..).zip(&generations).map(|(at, it)| parts.of(at, it)).collect();
        let mut wanted = BTreeMap::new();
        for samples in &generations {
            for ((series, at_ms), kind) in samples {
                let text = match kind {
                    Kind::Number(value) => value.to_bits().to_string(),
                    Kind::Histogram(it) => format!("{it:?}"),
                };
                wanted.entry((labels(*series), *at_ms)).or_insert(text);
            }
        }
        let at_once = parts.merged(&all);
        prop_assert_eq!(&told(&at_once), &wanted);
        prop_assert_eq!(at_once.meta().samples, wanted.len() as u64);
        let stepwise = in_order(&mut parts, all, &order);
        prop_assert_eq!(&told(&stepwise), &wanted);
    }
}
