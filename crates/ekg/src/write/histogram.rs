//! Histograms and exemplars of a message; both protocols number their fields alike.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use mainstay_tsdb::{Histogram, HistogramFault, stale_marker};

use crate::{
    native::{self, Sent},
    wire::{Reader, WireError},
};

/// A histogram of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct SentHistogram {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The histogram, nothing where its sum is the staleness marker, or why it is none.
    pub histogram: Result<Option<Histogram>, HistogramFault>,
}

impl SentHistogram {
    /// The value that stands for it where that is a number: the staleness marker.
    pub(crate) fn marker(&self) -> Option<f64> {
        matches!(self.histogram, Ok(None)).then(stale_marker)
    }
}

pub(super) fn histogram(mut reader: Reader<'_>) -> Result<SentHistogram, WireError> {
    let mut sent = Sent::default();
    let mut at_ms = 0;
    while let Some(field) = reader.field()? {
        match field.number {
            1 => (sent.count, sent.real_count) = (field.unsigned()?, None),
            2 => sent.real_count = Some(field.double()?),
            3 => sent.sum = field.double()?,
            4 => sent.schema = native::signed(field.unsigned()?) as i32,
            5 => sent.zero_threshold = field.double()?,
            6 => (sent.zero, sent.real_zero) = (field.unsigned()?, None),
            7 => sent.real_zero = Some(field.double()?),
            8..=10 => sent.negative.read(&field, 8)?,
            11..=13 => sent.positive.read(&field, 11)?,
            14 => sent.hint = native::hint(field.unsigned()?),
            15 => at_ms = field.signed()?,
            16 => sent.read_bounds(&field)?,
            17 => sent.start_ms = field.signed()?,
            _ => {}
        }
    }
    let histogram = if sent.is_stale() {
        Ok(None)
    } else {
        sent.histogram().map(Some)
    };
    Ok(SentHistogram { at_ms, histogram })
}
