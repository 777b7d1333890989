//! What a log and parts say of a head that was.

use super::Head;
use crate::{
    HistogramSample, Labels, STALE_MARKER_BITS, memtable::Last, roster::State, series::Entry,
};

impl Head {
    /// What a log says of a series: its number here.
    pub(crate) fn recover_series(&mut self, labels: &Labels, born_ms: Option<i64>) -> Option<u32> {
        self.series(labels, born_ms).ok()
    }

    /// What a log says of a sample; whether it was new.
    pub(crate) fn recover_sample(&mut self, id: u32, at_ms: i64, bits: u64) -> bool {
        self.put(id, at_ms, bits).unwrap_or(false)
    }

    /// What a log says of a sample that was late; it is not asked how late, since its record tells late ones last.
    pub(crate) fn recover_late(&mut self, id: u32, at_ms: i64, bits: u64) {
        if self.active.has_histogram(id, at_ms) {
            return;
        }
        self.active.push_late(id, at_ms, bits);
    }

    /// A log says that a generation began.
    pub(crate) fn recover_generation(&mut self) {
        if self.active.lasted_ms() >= self.limits.generation_ms {
            self.cut(i64::MIN);
        }
    }

    /// A part says how a series ended that may go on.
    pub(crate) fn recover_end(&mut self, labels: &Labels, born_ms: Option<i64>, last: Last) {
        let (hash, key) = (labels.hash64(), labels.key());
        if self.roster.find(hash, key).is_some() {
            return;
        }
        let real = last.real.filter(|_| !last.is_stale);
        let state = State {
            newest_ms: last.at_ms,
            newest_bits: real.map_or(STALE_MARKER_BITS, |(_, value)| value.to_bits()),
            ..State::new()
        };
        let labels = labels.clone();
        // One that does not fit is made anew when it goes on, as one that ended long ago.
        let _ = self.roster.insert(hash, Entry { labels, born_ms }, state);
    }

    /// What a log says of a histogram. A record tells the numbers of a batch before its histograms: so those that came
    /// in order are compared with one another only.
    pub(crate) fn recover_histogram(&mut self, id: u32, late: bool, sample: HistogramSample) {
        if self.active.has_number(id, sample.at_ms) {
            return;
        }
        self.enter(id);
        let beside = self.roster.beside.get(&id);
        if late || beside.is_some_and(|it| it.newest.at_ms >= sample.at_ms) {
            self.active.push_late_histogram(id, sample);
        } else {
            self.push_histogram(id, sample);
        }
    }
}
