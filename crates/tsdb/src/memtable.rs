//! Samples of one generation: what came in since the head was cut last.
//!
//! Guarantees: written by one thread, read by any without a lock. Once the next generation has begun nothing
//! changes any more. Samples that came out of order are kept apart and put in their place by whoever reads.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use crate::{
    Histogram,
    histogram::{Chain, HistogramColumn, HistogramSample},
    is_stale,
    page::Page,
    segments::Segments,
    series::SeriesTable,
};

type Pages = Segments<OnceLock<Arc<Page>>>;
type Chains = Segments<OnceLock<Arc<Chain>>>;

/// Bytes of a number with its time.
const NUMBER_BYTES: usize = 16;

/// What stands for the value of a newest sample that is a histogram, where only one number is remembered.
pub(crate) const HISTOGRAM_BITS: u64 = 0x7ff8_0000_0000_0053;

/// See the module.
#[derive(Debug)]
pub(crate) struct Memtable {
    table: Arc<SeriesTable>,
    pages: Pages,
    late: Pages,
    histograms: Chains,
    late_histograms: Chains,
    oldest_ms: AtomicI64,
    newest_ms: AtomicI64,
    samples: AtomicUsize,
    /// What histograms take in memory beyond numbers, in numbers.
    extra: AtomicUsize,
}

impl Memtable {
    pub(crate) fn new(table: Arc<SeriesTable>, limit: usize) -> Self {
        Self {
            table,
            pages: Segments::with_limit(limit),
            late: Segments::with_limit(limit),
            histograms: Segments::with_limit(limit),
            late_histograms: Segments::with_limit(limit),
            oldest_ms: AtomicI64::new(i64::MAX),
            newest_ms: AtomicI64::new(i64::MIN),
            samples: AtomicUsize::new(0),
            extra: AtomicUsize::new(0),
        }
    }

    pub(crate) fn table(&self) -> &Arc<SeriesTable> {
        &self.table
    }

    /// Samples held, repeated ones included.
    pub(crate) fn samples(&self) -> usize {
        self.samples.load(Ordering::Relaxed)
    }

    /// Samples held, each histogram as many as take its place in memory: what limits are about.
    pub(crate) fn weight(&self) -> usize {
        self.samples() + self.extra.load(Ordering::Relaxed)
    }

    /// Time of the newest sample; the smallest there is without any.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.oldest_ms.load(Ordering::Relaxed) <= end_ms && self.newest_ms() >= start_ms
    }

    /// The first page of a series, which is about to get a sample; only the one writer may call this.
    pub(crate) fn first_page(&self, id: u32, expected: usize) -> Option<Arc<Page>> {
        let slot = self.pages.get_or_make(id)?;
        Some(Arc::clone(slot.get_or_init(|| Page::new(expected))))
    }

    /// Adds a sample that is older than the newest of its series; only the one writer may call this.
    pub(crate) fn push_late(&self, id: u32, at_ms: i64, bits: u64) {
        let Some(slot) = self.late.get_or_make(id) else {
            return;
        };
        // Late samples are few: finding the end of their pages each time costs nothing that matters.
        slot.get_or_init(|| Page::new(0)).push(at_ms, bits);
        self.count(at_ms);
    }

    /// Where histograms of a series go, which is about to get one; only the one writer may call this.
    pub(crate) fn first_link(&self, id: u32) -> Option<Arc<Chain>> {
        let slot = self.histograms.get_or_make(id)?;
        Some(Arc::clone(slot.get_or_init(Chain::new)))
    }

    /// Adds a histogram that is older than the newest sample of its series; only the one writer may call this.
    pub(crate) fn push_late_histogram(&self, id: u32, sample: HistogramSample) {
        let Some(slot) = self.late_histograms.get_or_make(id) else {
            return;
        };
        self.count_histogram(&sample);
        slot.get_or_init(Chain::new).push(sample);
    }

    /// Says that a histogram was added; only the one writer may call this.
    pub(crate) fn count_histogram(&self, sample: &HistogramSample) {
        let more = sample.histogram.bytes() / NUMBER_BYTES;
        self.extra
            .store(self.extra.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        self.count(sample.at_ms);
    }

    /// Whether a series has a number at this time.
    pub(crate) fn has_number(&self, id: u32, at_ms: i64) -> bool {
        let page = |pages: &Pages| pages.get(id).and_then(OnceLock::get).cloned();
        let late = page(&self.late).is_some_and(|it| it.samples().any(|(t, _)| t == at_ms));
        late || page(&self.pages).is_some_and(|it| it.ascending(at_ms, at_ms).next().is_some())
    }

    /// Whether a series has any histogram.
    pub(crate) fn has_histograms(&self, id: u32) -> bool {
        self.each_histogram(id).next().is_some()
    }

    /// Whether a series has a histogram at this time.
    pub(crate) fn has_histogram(&self, id: u32, at_ms: i64) -> bool {
        self.each_histogram(id).any(|it| it.at_ms == at_ms)
    }

    /// Whether a series has exactly this sample.
    pub(crate) fn has_exactly(&self, id: u32, at_ms: i64, histogram: &Histogram) -> bool {
        let same = |it: &HistogramSample| it.at_ms == at_ms && *it.histogram == *histogram;
        self.each_histogram(id).any(same)
    }

    /// The histograms of a series: those that came in order, then the others.
    fn each_histogram(&self, id: u32) -> impl Iterator<Item = &HistogramSample> {
        let in_order = self.histograms.get(id).and_then(OnceLock::get);
        let late = self.late_histograms.get(id).and_then(OnceLock::get);
        in_order.into_iter().chain(late).flat_map(|it| it.samples())
    }

    /// Says that a sample was added; only the one writer may call this.
    pub(crate) fn count(&self, at_ms: i64) {
        self.samples.store(self.samples() + 1, Ordering::Relaxed);
        if at_ms < self.oldest_ms.load(Ordering::Relaxed) {
            self.oldest_ms.store(at_ms, Ordering::Relaxed);
        }
        if at_ms > self.newest_ms() {
            self.newest_ms.store(at_ms, Ordering::Relaxed);
        }
    }

    /// From the oldest sample to the newest.
    pub(crate) fn lasted_ms(&self) -> i64 {
        let oldest_ms = self.oldest_ms.load(Ordering::Relaxed);
        self.newest_ms().saturating_sub(oldest_ms).max(0)
    }

    /// The newest sample of a series up to `end_ms`, and the newest that is no staleness marker.
    pub(crate) fn last(&self, id: u32, end_ms: i64) -> Option<Last> {
        let page = |pages: &Pages| pages.get(id).and_then(OnceLock::get).cloned();
        let mut last: Option<Last> = None;
        let in_order = page(&self.pages);
        let in_order = in_order
            .iter()
            .flat_map(|it| it.ascending(i64::MIN, end_ms));
        let late = page(&self.late);
        let late = late.iter().flat_map(|it| it.samples());
        let histograms = self.each_histogram(id).map(|it| (it.at_ms, HISTOGRAM_BITS));
        let others = late.chain(histograms);
        for (at_ms, bits) in in_order.chain(others.filter(|(at_ms, _)| *at_ms <= end_ms)) {
            let last = last.get_or_insert(Last {
                at_ms: i64::MIN,
                is_stale: false,
                real: None,
            });
            let value = f64::from_bits(bits);
            if at_ms > last.at_ms {
                (last.at_ms, last.is_stale) = (at_ms, is_stale(value));
            }
            if !is_stale(value) && last.real.is_none_or(|(newest, _)| at_ms > newest) {
                last.real = Some((at_ms, value));
            }
        }
        last
    }

    /// Whether a series has exactly this sample.
    pub(crate) fn has(&self, id: u32, at_ms: i64, bits: u64) -> bool {
        let in_order = self.pages.get(id).and_then(OnceLock::get);
        let mut in_order = in_order
            .into_iter()
            .flat_map(|it| it.ascending(at_ms, at_ms));
        let late = self.late.get(id).and_then(OnceLock::get);
        let mut late = late.into_iter().flat_map(|it| it.samples());
        in_order.any(|(_, known)| known == bits) || late.any(|it| it == (at_ms, bits))
    }

    /// Whether a series has samples.
    pub(crate) fn holds(&self, id: u32) -> bool {
        let any = |pages: &Pages| pages.get(id).is_some_and(|slot| slot.get().is_some());
        any(&self.pages) || any(&self.late) || self.has_histograms(id)
    }

    /// Adds the samples of a series in `start_ms..=end_ms` to the columns, ascending; of two with one time the
    /// one that came in order stays.
    pub(crate) fn read(&self, id: u32, (start_ms, end_ms): (i64, i64), into: &mut Columns) {
        let begin = into.times.len();
        if let Some(page) = self.pages.get(id).and_then(OnceLock::get) {
            page.read((start_ms, end_ms), &mut into.times, &mut into.values);
        }
        let late = self.late.get(id).and_then(OnceLock::get);
        let late = late.into_iter().flat_map(|page| page.samples());
        let mut late = late
            .filter(|(at_ms, _)| (start_ms..=end_ms).contains(at_ms))
            .peekable();
        if late.peek().is_some() {
            for (at_ms, bits) in late {
                into.push(at_ms, f64::from_bits(bits));
            }
            into.order(begin);
        }
        self.read_histograms(id, (start_ms, end_ms), into);
    }

    /// Adds the histograms of a series as [`Memtable::read`] does numbers.
    fn read_histograms(&self, id: u32, (start_ms, end_ms): (i64, i64), into: &mut Columns) {
        let mut found = HistogramColumn::default();
        let within = |it: &&HistogramSample| (start_ms..=end_ms).contains(&it.at_ms);
        found
            .samples
            .extend(self.each_histogram(id).filter(within).cloned());
        found.order();
        into.histograms.samples.append(&mut found.samples);
    }
}

/// The end of what is known of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Last {
    pub(crate) at_ms: i64,
    /// Whether the newest sample is a staleness marker.
    pub(crate) is_stale: bool,
    /// The newest that is none; its value is [`HISTOGRAM_BITS`] where that is a histogram.
    pub(crate) real: Option<(i64, f64)>,
}

/// Samples as two columns of equal length, and those that are histograms beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Columns {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) histograms: HistogramColumn,
}

impl Columns {
    pub(crate) fn push(&mut self, at_ms: i64, value: f64) {
        self.times.push(at_ms);
        self.values.push(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Samples of either kind.
    pub(crate) fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Time of the oldest sample.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        let first = self.times.first().copied();
        first.into_iter().chain(self.histograms.first_ms()).min()
    }

    /// Takes out the samples of a window, both ends included; those here ascend.
    pub(crate) fn cut_out(&mut self, (start_ms, end_ms): (i64, i64)) {
        let from = self.times.partition_point(|at_ms| *at_ms < start_ms);
        let to = self.times.partition_point(|at_ms| *at_ms <= end_ms);
        if from < to {
            self.times.drain(from..to);
            self.values.drain(from..to);
        }
        let outside = |it: &HistogramSample| !(start_ms..=end_ms).contains(&it.at_ms);
        self.histograms.samples.retain(outside);
    }

    /// Keeps samples by their time.
    pub(crate) fn keep(&mut self, keep: impl Fn(i64) -> bool) {
        let kept: Vec<bool> = self.times.iter().map(|at_ms| keep(*at_ms)).collect();
        let mut flags = kept.iter();
        self.times.retain(|_| flags.next() == Some(&true));
        let mut flags = kept.iter();
        self.values.retain(|_| flags.next() == Some(&true));
        self.histograms.samples.retain(|it| keep(it.at_ms));
    }

    /// Times of samples of either kind, in no order.
    pub(crate) fn all_times(&self) -> impl Iterator<Item = i64> {
        let histograms = self.histograms.samples.iter().map(|it| it.at_ms);
        self.times.iter().copied().chain(histograms)
    }

    /// Brings what stands from `begin` on in the order of time; of equal times the first stays.
    pub(crate) fn order(&mut self, begin: usize) {
        let tail = self.times.iter().zip(&self.values).skip(begin);
        let mut samples: Vec<(i64, f64)> = tail.map(|(t, v)| (*t, *v)).collect();
        samples.sort_by_key(|(at_ms, _)| *at_ms);
        samples.dedup_by_key(|(at_ms, _)| *at_ms);
        self.times.truncate(begin);
        self.values.truncate(begin);
        for (at_ms, value) in samples {
            self.push(at_ms, value);
        }
    }

    /// Adds samples that are mostly newer than those here; of equal times the one here stays, whatever it is.
    pub(crate) fn extend(&mut self, mut newer: Self) {
        if !self.histograms.is_empty() || !newer.histograms.is_empty() {
            newer.leave_out(self);
            self.histograms
                .samples
                .append(&mut newer.histograms.samples);
            self.histograms.order();
        }
        let follows = match (self.times.last(), newer.times.first()) {
            (Some(last), Some(first)) => last < first,
            _ => true,
        };
        if self.times.is_empty() {
            (self.times, self.values) = (newer.times, newer.values);
            return;
        }
        self.times.extend_from_slice(&newer.times);
        self.values.extend_from_slice(&newer.values);
        if !follows {
            self.order(0);
        }
    }

    /// Forgets numbers at times of others' histograms, and histograms at times of others' numbers.
    fn leave_out(&mut self, others: &Self) {
        if !others.histograms.is_empty() {
            let samples = self.times.iter().zip(&self.values);
            let stays = samples.filter(|(at_ms, _)| !others.histograms.has(**at_ms));
            (self.times, self.values) = stays.map(|(t, v)| (*t, *v)).unzip();
        }
        let stays = |it: &HistogramSample| others.times.binary_search(&it.at_ms).is_err();
        self.histograms.samples.retain(stays);
    }
}
