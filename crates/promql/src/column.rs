//! One value a step: floats in a flat column, histograms beside it only where a series has some.
//!
//! Guarantees: every step is a gap, a float or a histogram, never two of them. A gap is a bit pattern that no
//! operation of the engine yields (that of Prometheus's staleness marker, which selection has removed before),
//! so that a column of floats costs eight bytes a step and its loops have no side table.

use crate::Histogram;
use std::sync::Arc;

/// Bits of the NaN that ends a series in a store, and that is a gap in a column.
pub(crate) const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

const GAP: f64 = f64::from_bits(STALE_MARKER_BITS);

pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

/// What stands at a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    Gap,
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// What a computation gives for one step.
#[derive(Clone, Debug)]
pub(crate) enum Reading {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Histogram> for Reading {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

impl Point<'_> {
    pub(crate) fn reading(self) -> Option<Reading> {
        match self {
            Self::Gap => None,
            Self::Float(value) => Some(Reading::Float(value)),
            Self::Histogram(histogram) => Some(Reading::Histogram(Arc::clone(histogram))),
        }
    }
}

type Histograms = Box<[Option<Arc<Histogram>>]>;

/// The values of one series over all steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    floats: Vec<f64>,
    histograms: Option<Histograms>,
}

impl Column {
    pub(crate) fn gaps(len: usize) -> Self {
        Self {
            floats: vec![GAP; len],
            histograms: None,
        }
    }

    /// Of numbers without gaps.
    pub(crate) fn full(floats: Vec<f64>) -> Self {
        Self {
            floats,
            histograms: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len()
    }

    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.is_some()
    }

    pub(crate) fn get(&self, at: usize) -> Point<'_> {
        let value = self.floats[at];
        if !is_stale(value) {
            return Point::Float(value);
        }
        match self.histogram(at) {
            Some(histogram) => Point::Histogram(histogram),
            None => Point::Gap,
        }
    }

    pub(crate) fn float(&self, at: usize) -> Option<f64> {
        let value = self.floats[at];
        (!is_stale(value)).then_some(value)
    }

    pub(crate) fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref()?.get(at)?.as_ref()
    }

    pub(crate) fn is_some(&self, at: usize) -> bool {
        !is_stale(self.floats[at]) || self.histogram(at).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        (0..self.len()).all(|at| !self.is_some(at))
    }

    pub(crate) fn set_float(&mut self, at: usize, value: f64) {
        self.floats[at] = value;
    }

    pub(crate) fn set(&mut self, at: usize, reading: Reading) {
        match reading {
            Reading::Float(value) => self.floats[at] = value,
            Reading::Histogram(histogram) => {
                let len = self.floats.len();
                let column = self
                    .histograms
                    .get_or_insert_with(|| vec![None; len].into_boxed_slice());
                column[at] = Some(histogram);
            }
        }
    }

    pub(crate) fn clear(&mut self, at: usize) {
        self.floats[at] = GAP;
        if let Some(histograms) = &mut self.histograms {
            histograms[at] = None;
        }
    }

    pub(crate) fn without_histograms(mut self) -> Self {
        self.histograms = None;
        self
    }

    /// Applies `f` to each float; gaps stay gaps.
    pub(crate) fn map_floats(&mut self, f: impl Fn(f64) -> f64) {
        for value in &mut self.floats {
            if !is_stale(*value) {
                *value = f(*value);
            }
        }
    }

    /// Applies `f(step, value)` to each float; `None` makes a gap.
    pub(crate) fn filter_map_floats(&mut self, f: impl Fn(usize, f64) -> Option<f64>) {
        for (at, value) in self.floats.iter_mut().enumerate() {
            if !is_stale(*value) {
                *value = f(at, *value).unwrap_or(GAP);
            }
        }
    }

    pub(crate) fn map_histograms(&mut self, f: impl Fn(&Histogram) -> Histogram) {
        for slot in self
            .histograms
            .iter_mut()
            .flat_map(|h| h.iter_mut())
            .flatten()
        {
            *slot = Arc::new(f(slot));
        }
    }

    /// The same value `len` times.
    pub(crate) fn repeated(&self, len: usize) -> Self {
        let mut column = Self::gaps(len);
        if let Some(reading) = (!self.floats.is_empty())
            .then(|| self.get(0).reading())
            .flatten()
        {
            for at in 0..len {
                column.set(at, reading.clone());
            }
        }
        column
    }
}
