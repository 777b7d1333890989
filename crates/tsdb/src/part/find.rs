//! Selections over one part.
//!
//! Guarantees: damage costs what it holds and no more, where it is tolerated: a page of samples those of its pieces, a
//! page of the index only time, since every series then says itself whether it matches.

use super::{
    Part,
    index::Index,
    read::{Reader, Walk},
    series::BLOCK_SERIES,
};
use crate::{
    IdSet, Labels, Matcher, ReadError,
    damage::Tolerance,
    index::{Postings as _, matching},
    memtable::{Columns, Last},
};

impl Part {
    /// Values of a label, ascending.
    pub(crate) fn label_values(
        &self,
        name: &str,
        tolerance: &mut Tolerance<'_>,
    ) -> Result<Vec<String>, ReadError> {
        match self.index().listed(name) {
            Ok(values) => Ok(values),
            Err(error) => {
                tolerance.forgive(error)?;
                let mut values = std::collections::BTreeSet::new();
                self.walk_matching(&[], tolerance, &mut |_, walk, _| {
                    values.extend(walk.labels()?.get(name).map(str::to_owned));
                    Ok(())
                })?;
                Ok(values.into_iter().collect())
            }
        }
    }

    fn index(&self) -> Index<'_> {
        Index {
            pages: &self.pages,
            names: &self.names,
            series: self.meta.series,
        }
    }

    pub(super) fn matching(&self, matchers: &[Matcher]) -> Result<IdSet, ReadError> {
        let index = self.index();
        if matchers.is_empty() {
            return Ok(IdSet::full(index.universe()));
        }
        matching(&index, matchers)
    }

    /// Comes by every matching series that can be read.
    fn walk_matching(
        &self,
        matchers: &[Matcher],
        tolerance: &mut Tolerance<'_>,
        visit: &mut dyn FnMut(u32, &Walk<'_>, &mut Tolerance<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (ids, certain) = match self.matching(matchers) {
            Ok(ids) => (ids, true),
            Err(error) => {
                tolerance.forgive(error)?;
                (IdSet::full(self.meta.series), false)
            }
        };
        let mut walk = Walk::new(self);
        let mut readable_from = 0;
        for id in ids.iter() {
            if id < readable_from {
                continue;
            }
            let read = walk.series(id).map(|_| ());
            let visited = read.and_then(|()| {
                if certain || matches(&walk.labels()?, matchers) {
                    visit(id, &walk, tolerance)?;
                }
                Ok(())
            });
            if let Err(error) = visited {
                tolerance.forgive(error)?;
                readable_from = (id / BLOCK_SERIES + 1) * BLOCK_SERIES;
            }
        }
        Ok(())
    }

    /// Adds the matching series; no more of them is read than that takes.
    pub(super) fn walk_ids(
        &self,
        matchers: &[Matcher],
        tolerance: &mut Tolerance<'_>,
        into: &mut IdSet,
    ) -> Result<(), ReadError> {
        match self.matching(matchers) {
            Ok(ids) => {
                *into = ids;
                Ok(())
            }
            Err(_) => self.walk_matching(matchers, tolerance, &mut |id, _, _| {
                into.insert(id);
                Ok(())
            }),
        }
    }

    /// Tells every matching series that has samples in the window, and these.
    pub(crate) fn find(
        &self,
        matchers: &[Matcher],
        window: (i64, i64),
        tolerance: &mut Tolerance<'_>,
        visit: &mut dyn FnMut(Labels, Option<i64>, Columns),
    ) -> Result<(), ReadError> {
        let (mut reader, masked) = (Reader::new(self), self.masks.now());
        self.walk_matching(matchers, tolerance, &mut |id, walk, tolerance| {
            let labels = walk.labels()?;
            let mut columns = Columns::default();
            reader.read(walk.stored(), window, tolerance, &mut columns)?;
            masked.apply(id, &mut columns);
            if !columns.is_empty() {
                visit(labels, walk.stored().born_ms, columns);
            }
            Ok(())
        })
    }

    /// Tells every matching series that has a sample in the window.
    pub(crate) fn series(
        &self,
        matchers: &[Matcher],
        window: (i64, i64),
        tolerance: &mut Tolerance<'_>,
        visit: &mut dyn FnMut(Labels),
    ) -> Result<(), ReadError> {
        let (mut reader, masked) = (Reader::new(self), self.masks.now());
        self.walk_matching(matchers, tolerance, &mut |id, walk, tolerance| {
            let labels = walk.labels()?;
            let has_sample = if masked.any(id) {
                let mut columns = Columns::default();
                reader.read(walk.stored(), window, tolerance, &mut columns)?;
                masked.apply(id, &mut columns);
                Ok(!columns.is_empty())
            } else {
                reader.has_sample(walk.stored(), window)
            };
            match has_sample {
                Ok(true) => visit(labels),
                Ok(false) => {}
                Err(error) => tolerance.forgive(error)?,
            }
            Ok(())
        })
    }

    /// Tells the end of every matching series up to `end_ms`, and when it was born.
    pub(crate) fn ends(
        &self,
        matchers: &[Matcher],
        end_ms: i64,
        tolerance: &mut Tolerance<'_>,
        visit: &mut dyn FnMut(Labels, Option<i64>, Last),
    ) -> Result<(), ReadError> {
        let (mut reader, masked) = (Reader::new(self), self.masks.now());
        self.walk_matching(matchers, tolerance, &mut |id, walk, tolerance| {
            let (labels, series) = (walk.labels()?, walk.stored());
            let last = if series.last.at_ms <= end_ms && !masked.any(id) {
                Some(series.last)
            } else {
                let mut columns = Columns::default();
                reader.read(series, (i64::MIN, end_ms), tolerance, &mut columns)?;
                masked.apply(id, &mut columns);
                Last::of(&columns)
            };
            if let Some(last) = last {
                visit(labels, series.born_ms, last);
            }
            Ok(())
        })
    }
}

fn matches(labels: &Labels, matchers: &[Matcher]) -> bool {
    let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or("");
    matchers
        .iter()
        .all(|matcher| matcher.matches(value(matcher)))
}
