//! Parts as files, for whoever copies them elsewhere.
//!
//! Guarantees: a part never changes, and its file stays as long as somebody holds it, merged or dropped meanwhile or
//! not: so hold one at a time. What a [`Sealed`] shows is of one moment: its parts and what was removed of them belong
//! together. Nothing is written.

use std::{collections::BTreeSet, io, sync::Arc};

use crate::{
    ReadError, Tiers, Tsdb,
    manifest::Manifest,
    merge::resting,
    part::{IMPORTED, Part, Tier},
};

/// A part.
#[derive(Clone, Debug)]
pub struct SealedPart {
    part: Arc<Part>,
    rests: bool,
}

impl SealedPart {
    /// The file's name.
    pub fn name(&self) -> &str {
        self.part.name()
    }

    /// The file's length.
    pub fn bytes(&self) -> u64 {
        self.part.bytes()
    }

    /// Samples in it.
    pub fn samples(&self) -> u64 {
        self.part.meta().samples
    }

    /// Times of its oldest and its newest sample, in milliseconds.
    pub fn span_ms(&self) -> (i64, i64) {
        let meta = self.part.meta();
        (meta.oldest_ms, meta.newest_ms)
    }

    /// The first and the last generation of the head that are in it; of what was imported, twice the largest number.
    pub fn generations(&self) -> (u64, u64) {
        self.part.meta().generations
    }

    /// Whether it is not merged soon: a part of an hour or more whose day is not over, or of a day or more. Imported
    /// parts rest once they are merged.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Whether it holds summaries.
    pub fn is_summary(&self) -> bool {
        self.part.resolution().is_some()
    }

    /// Bytes of the file, as they are.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.part.read_at(offset, into)
    }

    /// Reads everything, and says what is damaged first.
    pub fn check(&self) -> Result<(), ReadError> {
        self.part.check()
    }
}

/// All parts at one moment.
#[derive(Clone, Debug)]
pub struct Sealed {
    parts: Vec<SealedPart>,
    listed: Arc<Manifest>,
}

impl Sealed {
    /// Those that can be read, the ones with older generations first.
    pub fn parts(&self) -> &[SealedPart] {
        &self.parts
    }

    /// The manifest of an engine that has only the parts of these names, as a text: equal as long as they, and what was
    /// removed of them, are.
    pub fn manifest_of(&self, names: &BTreeSet<&str>) -> String {
        let kept = || self.parts.iter().filter(|it| names.contains(it.name()));
        let ids: Vec<u64> = kept().map(|it| it.part.id()).collect();
        let mut manifest = Manifest::clone(&self.listed);
        let gone: Vec<u64> = { manifest.parts.iter() }
            .filter(|id| !ids.contains(id))
            .copied()
            .collect();
        manifest.replace(&gone, None);
        let lasts = kept()
            .map(SealedPart::generations)
            .filter(|it| *it != IMPORTED);
        manifest.log_from = 0;
        manifest.next_part = ids.iter().max().map_or(0, |last| last + 1);
        manifest.next_generation = lasts.map(|(_, last)| last + 1).max().unwrap_or(0);
        manifest.file().1
    }
}

impl Tsdb {
    /// All parts now, merged as `tiers` says.
    pub fn sealed(&self, tiers: Tiers) -> Sealed {
        let view = self.view();
        let metas = view.parts.iter().map(|part| {
            let meta = *part.meta();
            (meta.generations != IMPORTED).then_some(meta)
        });
        let metas: Vec<_> = metas.collect();
        let parts = view.parts.iter().zip(resting(&metas, tiers));
        let parts = parts.map(|(part, rests)| SealedPart {
            rests: rests && (part.meta().generations != IMPORTED || part.meta().tier >= Tier::Day),
            part: Arc::clone(part),
        });
        Sealed {
            parts: parts.collect(),
            listed: Arc::clone(&view.listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::mpsc};

    use mainstay_wal::{Disk as _, LocalDisk};

    use super::*;
    use crate::{Head, Labels, MatchOp, Matcher, Options, Order, assemble, open};

    fn engine(path: &Path) -> Head {
        let disk = LocalDisk::open(path).unwrap().sparing(0);
        open(Arc::new(disk), Options::default()).unwrap().0
    }

    fn obeyed(head: &mut Head, order: Order) {
        let (tell, told) = mpsc::channel();
        let tell = Box::new(move |outcome| tell.send(outcome).unwrap());
        head.order(order, 0, tell);
        let outcome: Result<_, crate::OrderError> = told.recv().unwrap();
        outcome.unwrap();
    }

    fn values(head: &Head) -> Vec<f64> {
        let found = head.tsdb().select(&[], i64::MIN, i64::MAX).unwrap();
        found.iter().flat_map(|it| it.values.to_vec()).collect()
    }

    #[test]
    fn copied_files_and_their_manifest_are_an_engine_without_what_was_removed_or_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
        let mut head = engine(&live);
        let series = |at: &str| Labels::from_pairs([("at", at)]).unwrap();
        for (number, at) in ["a", "b", "c"].into_iter().enumerate() {
            head.append(&series(at), 1, number as f64).unwrap();
            let name = at.to_owned();
            let with_head = true;
            obeyed(&mut head, Order::Snapshot { name, with_head });
        }
        let delete = Order::Delete {
            selectors: vec![vec![Matcher::new("at", MatchOp::Equal, "a").unwrap()]],
            start_ms: 0,
            end_ms: 9,
        };
        obeyed(&mut head, delete);
        let sealed = head.tsdb().sealed(Tiers::default());
        let names: Vec<&str> = sealed.parts().iter().map(SealedPart::name).collect();
        assert_eq!(names.len(), 3);
        let some: BTreeSet<&str> = [names[0], names[1]].into();
        let manifest = sealed.manifest_of(&some);
        head.append(&series("d"), 2, 9.0).unwrap();
        let name = "later".to_owned();
        let with_head = true;
        obeyed(&mut head, Order::Snapshot { name, with_head });
        let later = head.tsdb().sealed(Tiers::default());
        assert_eq!(
            later.manifest_of(&some),
            manifest,
            "nothing of these changed"
        );
        let to = LocalDisk::open(&copy).unwrap().sparing(0);
        for part in sealed.parts().iter().take(2) {
            part.check().unwrap();
            let mut bytes = vec![0; usize::try_from(part.bytes()).unwrap()];
            part.read_at(0, &mut bytes).unwrap();
            to.create(part.name()).unwrap().append(&bytes).unwrap();
        }
        let (restored, without) = assemble(&to, &manifest).unwrap();
        assert_eq!((restored.parts, without.len()), (2, 0));
        drop(to);
        let mut again = engine(&copy);
        assert_eq!(values(&again), [1.0], "a deletion holds in the copy");
        again.append(&series("e"), 1, 5.0).unwrap();
        let name = "more".to_owned();
        obeyed(&mut again, Order::Snapshot { name, with_head });
        assert_eq!(values(&again), [1.0, 5.0], "it goes on");
        drop(again);

        let other = dir.path().join("other");
        let to = LocalDisk::open(&other).unwrap().sparing(0);
        std::fs::copy(live.join(names[1]), other.join(names[1])).unwrap();
        std::fs::write(other.join(names[0]), b"no part").unwrap();
        let (restored, without) = assemble(&to, &manifest).unwrap();
        assert_eq!((restored.parts, &*without[0].0), (1, names[0]));
        drop(to);
        assert_eq!(values(&engine(&other)), [1.0]);
    }
}
