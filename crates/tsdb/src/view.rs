//! What readers see: the samples of all generations and blocks, at one moment.
//!
//! Guarantees: cheap to clone; reading takes no lock that the writer ever takes, and a selection sees every sample
//! that was appended before it began. A series' samples ascend without two of one time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashTable;

use crate::{
    Labels, Matcher,
    index::matching,
    memtable::{Columns, Memtable},
};

/// Samples of one series inside a selection, as two columns of equal length.
#[derive(Clone, Debug)]
pub struct SeriesSlice {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Arc<[i64]>,
    /// The values, staleness markers included.
    pub values: Arc<[f64]>,
}

/// All that there is to read at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Earlier generations, the oldest first.
    pub(crate) frozen: Vec<Arc<Memtable>>,
}

impl View {
    /// All generations, the oldest first.
    pub(crate) fn generations(&self) -> Vec<&Arc<Memtable>> {
        self.frozen.iter().chain([&self.active]).collect()
    }
}

/// Whether one number means the same series in both.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what chunk_by compares with"
)]
pub(crate) fn share_table(a: &&Arc<Memtable>, b: &&Arc<Memtable>) -> bool {
    Arc::ptr_eq(a.table(), b.table())
}

/// A series with what was found of it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) labels: Labels,
    pub(crate) born_ms: Option<i64>,
    pub(crate) columns: Columns,
}

/// Why samples could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {}

/// The samples, to read.
#[derive(Clone, Debug)]
pub struct Tsdb {
    view: Arc<ArcSwap<View>>,
}

impl Tsdb {
    pub(crate) fn over(view: View) -> Self {
        Self {
            view: Arc::new(ArcSwap::from_pointee(view)),
        }
    }

    /// What can be read now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces what can be read by what `change` makes of it, which may be asked more than once.
    pub(crate) fn publish(&self, mut change: impl FnMut(&View) -> View) {
        self.view.rcu(|view| change(view));
    }

    /// Series that satisfy all matchers and have a sample in `start_ms..=end_ms`, sorted by labels.
    pub fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<SeriesSlice>, ReadError> {
        let mut found = self.find(matchers, start_ms, end_ms)?;
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let slice = |found: Found| SeriesSlice {
            labels: found.labels,
            timestamps: found.columns.times.into(),
            values: found.columns.values.into(),
        };
        Ok(found.into_iter().map(slice).collect())
    }

    /// Labels of the series that satisfy all matchers and have a sample in `start_ms..=end_ms`, in no order.
    pub fn series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Labels>, ReadError> {
        let found = self.find(matchers, start_ms, end_ms)?;
        Ok(found.into_iter().map(|found| found.labels).collect())
    }

    /// Like [`Tsdb::select`], in no order.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "what callers may meet once samples are read from files is part of the interface"
    )]
    pub(crate) fn find(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Found>, ReadError> {
        let view = self.view();
        let mut gathered = Gathered::default();
        if start_ms > end_ms {
            return Ok(gathered.found);
        }
        let mut generations = view.generations();
        generations.retain(|it| it.overlaps(start_ms, end_ms));
        for sharing in generations.chunk_by(share_table) {
            gather(sharing, matchers, (start_ms, end_ms), &mut gathered);
        }
        Ok(gathered.found)
    }

    /// Label names present, ascending.
    pub fn label_names(&self) -> Result<Vec<String>, ReadError> {
        Ok(self.listed(|index| index.names().map(str::to_owned).collect()))
    }

    /// Values of one label, ascending.
    pub fn label_values(&self, name: &str) -> Result<Vec<String>, ReadError> {
        Ok(self.listed(|index| index.values(name).map(str::to_owned).collect()))
    }

    fn listed(&self, list: impl Fn(&crate::index::Index) -> Vec<String>) -> Vec<String> {
        let view = self.view();
        let mut all = Vec::new();
        for sharing in view.generations().chunk_by(share_table) {
            let table = sharing.first().map(|it| it.table());
            all.extend(table.into_iter().flat_map(|table| list(&table.index())));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Samples in memory.
    pub fn sample_count(&self) -> usize {
        let view = self.view();
        view.generations().iter().map(|it| it.samples()).sum()
    }

    /// Series in memory.
    pub fn series_count(&self) -> usize {
        self.view().active.table().len() as usize
    }
}

/// Reads generations that share one table: what matches is looked up once for all of them.
fn gather(
    sharing: &[&Arc<Memtable>],
    matchers: &[Matcher],
    window: (i64, i64),
    gathered: &mut Gathered,
) {
    let Some(table) = sharing.first().map(|it| it.table()) else {
        return;
    };
    let Ok(ids) = matching(&*table.index(), matchers);
    for id in ids.iter() {
        let mut columns = Columns::default();
        for generation in sharing {
            let begin = columns.times.len();
            generation.read(id, window, &mut columns);
            // A late sample is younger than the cut, and older than what was cut away.
            let unordered = begin > 0
                && columns
                    .times
                    .get(begin)
                    .is_some_and(|t| columns.times[begin - 1] >= *t);
            if unordered {
                columns.order(0);
            }
        }
        if let Some(entry) = table.get(id).filter(|_| !columns.is_empty()) {
            gathered.add(&entry.labels, entry.born_ms, columns);
        }
    }
}

/// Series found so far, each once.
#[derive(Default)]
pub(crate) struct Gathered {
    found: Vec<Found>,
    by_labels: HashTable<usize>,
}

impl Gathered {
    /// Adds samples of a series, mostly newer than those it has already.
    pub(crate) fn add(&mut self, labels: &Labels, born_ms: Option<i64>, columns: Columns) {
        let same = |at: &usize| self.found.get(*at).is_some_and(|it| it.labels == *labels);
        if let Some(at) = self.by_labels.find(labels.hash64(), same) {
            if let Some(known) = self.found.get_mut(*at) {
                known.columns.extend(&columns.times, &columns.values);
                known.born_ms = known.born_ms.or(born_ms);
            }
            return;
        }
        let at = self.found.len();
        self.found.push(Found {
            labels: labels.clone(),
            born_ms,
            columns,
        });
        let found = &self.found;
        self.by_labels.insert_unique(labels.hash64(), at, |at| {
            found.get(*at).map_or(0, |it| it.labels.hash64())
        });
    }
}
