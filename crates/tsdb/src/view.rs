//! What readers see: the samples of all parts and generations, at one moment.
//!
//! Guarantees: cheap to clone; reading takes no lock that the writer ever takes, and a selection sees every sample
//! that was appended before it began. A series' samples ascend without two of one time.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use hashbrown::HashTable;

use crate::{
    Damage, HistogramSample, Labels, Matcher,
    damage::{Tolerance, Unserved},
    downsample::{AGGREGATE, plain},
    index::matching,
    manifest::Manifest,
    memtable::{Columns, Memtable},
    part::Part,
};

/// Samples of one series inside a selection: numbers as two columns of equal length, histograms beside them.
#[derive(Clone, Debug)]
pub struct SeriesSlice {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Arc<Vec<i64>>,
    /// The values, staleness markers included.
    pub values: Arc<Vec<f64>>,
    /// Samples that are histograms, strictly ascending; none has a time of `timestamps`.
    pub histograms: Vec<HistogramSample>,
}

/// All that there is to read at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Earlier generations, the oldest first.
    pub(crate) frozen: Vec<Arc<Memtable>>,
    /// What was sealed of generations before those, the oldest first.
    pub(crate) parts: Vec<Arc<Part>>,
    /// What says which these are, and what was removed of them.
    pub(crate) listed: Arc<Manifest>,
}

impl View {
    /// All generations, the oldest first.
    pub(crate) fn generations(&self) -> Vec<&Arc<Memtable>> {
        self.frozen.iter().chain([&self.active]).collect()
    }

    /// Samples that are only in memory, but for those of the active generation; histograms by their weight.
    pub(crate) fn frozen_samples(&self) -> usize {
        self.frozen.iter().map(|it| it.weight()).sum()
    }

    pub(crate) fn parts_within(
        &self,
        start_ms: i64,
        end_ms: i64,
    ) -> impl Iterator<Item = &Arc<Part>> {
        let near = move |part: &&Arc<Part>| part.overlaps(start_ms, end_ms);
        self.parts
            .iter()
            .filter(near)
            .filter(move |_| start_ms <= end_ms)
    }

    /// Adds what the generations hold in the window.
    pub(crate) fn gather(
        &self,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        into: &mut Gathered,
    ) {
        if start_ms > end_ms {
            return;
        }
        let mut generations = self.generations();
        generations.retain(|it| it.overlaps(start_ms, end_ms));
        for sharing in generations.chunk_by(share_table) {
            gather(sharing, matchers, (start_ms, end_ms), into);
        }
    }

    /// What the generations' indexes list.
    fn listed(&self, list: impl Fn(&crate::index::Index) -> Vec<String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for sharing in self.generations().chunk_by(share_table) {
            let table = sharing.first().map(|it| it.table());
            all.extend(table.into_iter().flat_map(|table| list(&table.index())));
        }
        all
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
pub enum ReadError {
    /// Bytes of a part are not what was written.
    #[error(
        "part {part} is damaged at byte {offset}: {what} is not what was written; bring the file back from a copy, or \
         move it away to do without its samples"
    )]
    Damaged {
        /// The file.
        part: String,
        /// Where in it what is damaged begins.
        offset: u64,
        /// What that is.
        what: &'static str,
    },
    /// The disk does not give a part's bytes.
    #[error("part {part} cannot be read at byte {offset}: {error}; repair the disk")]
    Disk {
        /// The file.
        part: String,
        /// Where in it.
        offset: u64,
        /// What the disk said.
        error: String,
    },
}

/// The samples, to read.
#[derive(Clone, Debug)]
pub struct Tsdb {
    view: Arc<ArcSwap<View>>,
    unserved: Unserved,
}

impl Tsdb {
    pub(crate) fn over(view: View) -> Self {
        Self {
            view: Arc::new(ArcSwap::from_pointee(view)),
            unserved: Unserved::default(),
        }
    }

    /// Parts that are listed, and cannot be opened.
    pub(crate) fn unserved(&self) -> Vec<ReadError> {
        self.unserved.get()
    }

    pub(crate) fn set_unserved(&self, errors: &[ReadError]) {
        self.unserved.set(errors);
    }

    /// What can be read now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces what can be read by what `change` makes of it, which may be asked more than once.
    pub(crate) fn publish(&self, mut change: impl FnMut(&View) -> View) {
        self.view.rcu(|view| change(view));
    }

    /// Series that satisfy all matchers and have a sample in `start_ms..=end_ms`, sorted by labels; an error if any
    /// that they may have cannot be read.
    pub fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<SeriesSlice>, ReadError> {
        self.selected(matchers, (start_ms, end_ms), &mut Tolerance::Strict)
    }

    /// Like [`Tsdb::select`], without what cannot be read, which is noted.
    pub fn select_around(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        damage: &mut Damage,
    ) -> Result<Vec<SeriesSlice>, ReadError> {
        let mut tolerance = self.tolerance(damage)?;
        self.selected(matchers, (start_ms, end_ms), &mut tolerance)
    }

    /// What is noted first are parts of which nothing is served, whatever time they were from.
    pub(crate) fn tolerance<'a>(&self, damage: &'a mut Damage) -> Result<Tolerance<'a>, ReadError> {
        let mut tolerance = Tolerance::Noting(damage);
        let unserved = self.unserved();
        unserved
            .into_iter()
            .try_for_each(|error| tolerance.forgive(error))?;
        Ok(tolerance)
    }

    fn selected(
        &self,
        matchers: &[Matcher],
        window: (i64, i64),
        tolerance: &mut Tolerance<'_>,
    ) -> Result<Vec<SeriesSlice>, ReadError> {
        let mut found = self.find(matchers, window, tolerance)?;
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(slices(found))
    }

    /// Labels of the series that satisfy all matchers and have a sample in `start_ms..=end_ms`, in no order; without
    /// what cannot be read, which is noted.
    pub fn series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        damage: &mut Damage,
    ) -> Result<Vec<Labels>, ReadError> {
        let (view, mut tolerance) = (self.view(), self.tolerance(damage)?);
        let mut gathered = Gathered::default();
        for part in view.parts_within(start_ms, end_ms) {
            let window = (start_ms, end_ms);
            part.series(
                &plain(part, matchers),
                window,
                &mut tolerance,
                &mut |labels| {
                    gathered.add(&labels, None, Columns::default());
                },
            )?;
        }
        view.gather(matchers, (start_ms, end_ms), &mut gathered);
        let labels = |found: Found| found.labels;
        Ok(gathered.found.into_iter().map(labels).collect())
    }

    /// Like [`Tsdb::select`], in no order.
    pub(crate) fn find(
        &self,
        matchers: &[Matcher],
        window: (i64, i64),
        tolerance: &mut Tolerance<'_>,
    ) -> Result<Vec<Found>, ReadError> {
        let view = self.view();
        let mut gathered = Gathered::default();
        for part in view.parts_within(window.0, window.1) {
            part.find(
                &plain(part, matchers),
                window,
                tolerance,
                &mut |labels, born_ms, columns| {
                    gathered.add(&labels, born_ms, columns);
                },
            )?;
        }
        view.gather(matchers, window, &mut gathered);
        Ok(gathered.found)
    }

    /// Label names present, ascending; what cannot be read is noted.
    pub fn label_names(&self, damage: &mut Damage) -> Result<Vec<String>, ReadError> {
        let view = self.view();
        self.tolerance(damage)?;
        let mut names = view.listed(|index| index.names().map(str::to_owned).collect());
        for part in &view.parts {
            let plain = part.label_names().filter(|name| *name != AGGREGATE);
            names.extend(plain.map(str::to_owned));
        }
        Ok(names.into_iter().collect())
    }

    /// Values of one label, ascending; without what cannot be read, which is noted.
    pub fn label_values(&self, name: &str, damage: &mut Damage) -> Result<Vec<String>, ReadError> {
        let (view, mut tolerance) = (self.view(), self.tolerance(damage)?);
        let mut values = view.listed(|index| index.values(name).map(str::to_owned).collect());
        for part in view.parts.iter().filter(|_| name != AGGREGATE) {
            values.extend(part.label_values(name, &mut tolerance)?);
        }
        Ok(values.into_iter().collect())
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

/// What was found, as it is given out.
pub(crate) fn slices(found: Vec<Found>) -> Vec<SeriesSlice> {
    let slice = |found: Found| SeriesSlice {
        labels: found.labels,
        timestamps: found.columns.times.into(),
        values: found.columns.values.into(),
        histograms: found.columns.histograms.samples,
    };
    found.into_iter().map(slice).collect()
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
            if generation.has_histograms(id) || !columns.histograms.is_empty() {
                let mut newer = Columns::default();
                generation.read(id, window, &mut newer);
                columns.extend(newer);
                continue;
            }
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
    pub(crate) fn into_found(self) -> impl Iterator<Item = Found> {
        self.found.into_iter()
    }

    /// Adds samples of a series, mostly newer than those it has already.
    pub(crate) fn add(&mut self, labels: &Labels, born_ms: Option<i64>, columns: Columns) {
        let same = |at: &usize| self.found.get(*at).is_some_and(|it| it.labels == *labels);
        if let Some(at) = self.by_labels.find(labels.hash64(), same) {
            if let Some(known) = self.found.get_mut(*at) {
                known.columns.extend(columns);
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
