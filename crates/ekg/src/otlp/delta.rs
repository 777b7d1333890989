//! From deltas to sums: what PromQL's `rate` needs, as its counters only grow.
//!
//! Guarantees: each delta is added once, in the order of its time: one sent again after a lost answer adds nothing and
//! gives the same sums, an older one is refused. What is kept is bounded by [`BYTES_MAX`]; streams that nobody adds to
//! for [`KEPT`] make room. Never guesses what it did not see: where a stream is new here, because its sender or this
//! server started, or its buckets changed, its sums begin again at what was sent, which PromQL sees as a counter's
//! restart. What was lost on the way stays lost.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use mainstay_core::{Span, Time};
use mainstay_tsdb::{Histogram, Labels};

use super::exponential;

/// Memory for streams: about a hundred thousand histograms.
const BYTES_MAX: usize = 128 << 20;
/// What one stream takes beside its labels and numbers.
const STREAM_BYTES: usize = 256;
/// How long a stream is kept after its last delta.
const KEPT: Span = Span::from_secs(60 * 60);
/// How often those that are over are looked for, at most.
const SWEEP_EVERY: Span = Span::from_secs(60);

/// One point of a stream.
#[derive(Debug)]
pub(super) struct Delta<'p> {
    pub(super) start_ms: Option<i64>,
    pub(super) at_ms: i64,
    /// Where its buckets end; none of a number.
    pub(super) bounds: &'p [f64],
    /// What is to be added.
    pub(super) values: &'p [f64],
}

/// Why a delta was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DeltaError {
    /// Not after the last one.
    #[error("at {at_ms} ms, and the last delta of its stream is at {last_ms} ms")]
    OutOfOrder { at_ms: i64, last_ms: i64 },
    /// One stream too many.
    #[error("too many streams of deltas: send cumulative ones")]
    Full,
    /// It cannot be part of a sum.
    #[error("a delta of a counter is a number from 0")]
    Value,
}

impl DeltaError {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::OutOfOrder { .. } => "out-of-order",
            Self::Full => "delta-limit",
            Self::Value => "delta-value",
        }
    }
}

/// The sum of a stream of histograms.
#[derive(Debug)]
struct Summed {
    sum: Histogram,
    last_ms: i64,
    last: Histogram,
    heard: Time,
}

impl Summed {
    fn bytes(&self) -> usize {
        self.sum.bytes() + self.last.bytes()
    }
}

#[derive(Debug)]
struct Stream {
    bounds: Box<[f64]>,
    sums: Box<[f64]>,
    /// When the last one was taken, and what it was.
    last_ms: i64,
    last: u64,
    heard: Time,
}

/// The sums of all streams.
#[derive(Debug)]
pub(crate) struct Deltas {
    streams: HashMap<Labels, Stream>,
    histograms: HashMap<Labels, Summed>,
    bytes: usize,
    bytes_max: usize,
    swept: Time,
}

impl Default for Deltas {
    fn default() -> Self {
        Self {
            streams: HashMap::new(),
            histograms: HashMap::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
            swept: Time::from_millis(0),
        }
    }
}

impl Deltas {
    /// Adds a delta that arrived at `now`; the sums since the stream is known here.
    pub(super) fn add(
        &mut self,
        stream: &Labels,
        delta: &Delta<'_>,
        now: Time,
    ) -> Result<&[f64], DeltaError> {
        let last = fingerprint(delta);
        // What a histogram saw may add up to less than nothing; a counter alone may not.
        let sinks = matches!(delta.values, [alone] if *alone < 0.0);
        if sinks || !delta.values.iter().all(|value| value.is_finite()) {
            return Err(DeltaError::Value);
        }
        self.make_room(stream, delta, now)?;
        let stream = self
            .streams
            .entry(stream.clone())
            .or_insert_with(|| Stream {
                bounds: Box::default(),
                sums: Box::default(),
                last_ms: i64::MIN,
                last,
                heard: now,
            });
        if delta.at_ms == stream.last_ms && last == stream.last {
            return Ok(&stream.sums);
        }
        if delta.at_ms <= stream.last_ms {
            return Err(DeltaError::OutOfOrder {
                at_ms: delta.at_ms,
                last_ms: stream.last_ms,
            });
        }
        if *stream.bounds == *delta.bounds && stream.sums.len() == delta.values.len() {
            let sums = stream.sums.iter_mut().zip(delta.values);
            sums.for_each(|(sum, value)| *sum += value);
        } else {
            self.bytes += numbers(delta.bounds, delta.values);
            self.bytes -= numbers(&stream.bounds, &stream.sums);
            stream.bounds = delta.bounds.into();
            stream.sums = delta.values.into();
        }
        (stream.last_ms, stream.last, stream.heard) = (delta.at_ms, last, now);
        Ok(&stream.sums)
    }

    /// Adds a delta that is an exponential histogram, as [`Deltas::add`] does numbers.
    pub(super) fn add_histogram(
        &mut self,
        stream: &Labels,
        (at_ms, delta): (i64, Histogram),
        now: Time,
    ) -> Result<Histogram, DeltaError> {
        if !delta.sum.is_finite() {
            return Err(DeltaError::Value);
        }
        let wanted = label_bytes(stream) + 2 * delta.bytes();
        let Some(known) = self.histograms.get_mut(stream) else {
            if self.bytes + wanted > self.bytes_max && now.since(self.swept) >= SWEEP_EVERY {
                self.sweep(now);
            }
            if self.bytes + wanted > self.bytes_max {
                return Err(DeltaError::Full);
            }
            self.bytes += wanted;
            let summed = Summed {
                sum: delta.clone(),
                last_ms: at_ms,
                last: delta.clone(),
                heard: now,
            };
            self.histograms.insert(stream.clone(), summed);
            return Ok(delta);
        };
        if at_ms == known.last_ms && delta == known.last {
            return Ok(known.sum.clone());
        }
        if at_ms <= known.last_ms {
            let last_ms = known.last_ms;
            return Err(DeltaError::OutOfOrder { at_ms, last_ms });
        }
        let before = known.bytes();
        // One that cannot be added is where the sum begins again.
        exponential::add(&mut known.sum, &delta);
        (known.last_ms, known.last, known.heard) = (at_ms, delta, now);
        self.bytes = (self.bytes + known.bytes()).saturating_sub(before);
        Ok(known.sum.clone())
    }

    /// Accounts for a stream that is new, if there is or becomes room for it.
    fn make_room(
        &mut self,
        stream: &Labels,
        delta: &Delta<'_>,
        now: Time,
    ) -> Result<(), DeltaError> {
        let wanted = numbers(delta.bounds, delta.values);
        let known = self.streams.get(stream);
        let label_bytes = known.map_or_else(|| label_bytes(stream), |_| 0);
        let held = known.map_or(0, |known| numbers(&known.bounds, &known.sums));
        let bytes = (label_bytes + wanted).saturating_sub(held);
        if self.bytes + bytes > self.bytes_max && now.since(self.swept) >= SWEEP_EVERY {
            self.sweep(now);
        }
        if self.bytes + bytes > self.bytes_max {
            return Err(DeltaError::Full);
        }
        self.bytes += label_bytes;
        Ok(())
    }

    fn sweep(&mut self, now: Time) {
        self.swept = now;
        let bytes = &mut self.bytes;
        self.histograms.retain(|labels, summed| {
            let kept = now.since(summed.heard) <= KEPT;
            if !kept {
                *bytes = bytes.saturating_sub(label_bytes(labels) + summed.bytes());
            }
            kept
        });
        self.streams.retain(|labels, stream| {
            let kept = now.since(stream.heard) <= KEPT;
            if !kept {
                *bytes -= label_bytes(labels) + numbers(&stream.bounds, &stream.sums);
            }
            kept
        });
    }
}

fn label_bytes(labels: &Labels) -> usize {
    STREAM_BYTES + labels.byte_len()
}

fn numbers(bounds: &[f64], values: &[f64]) -> usize {
    size_of_val(bounds) + size_of_val(values)
}

/// Tells a delta that is sent again from another one at the same time.
fn fingerprint(delta: &Delta<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    delta.start_ms.hash(&mut hasher);
    for number in delta.bounds.iter().chain(delta.values) {
        number.to_bits().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    fn at(at_ms: i64, values: &[f64]) -> Delta<'_> {
        Delta {
            start_ms: Some(at_ms - 10),
            at_ms,
            bounds: &[],
            values,
        }
    }

    const NOW: Time = Time::from_millis(1_000_000);

    #[test]
    fn one_sent_again_adds_nothing_and_an_older_one_is_refused() {
        let mut deltas = Deltas::default();
        let a = stream("a");
        assert_eq!(deltas.add(&a, &at(10, &[1.0]), NOW), Ok(&[1.0][..]));
        assert_eq!(deltas.add(&a, &at(20, &[2.0]), NOW), Ok(&[3.0][..]));
        assert_eq!(deltas.add(&a, &at(20, &[2.0]), NOW), Ok(&[3.0][..]));
        assert_eq!(
            deltas.add(&a, &at(30, &[-1.0]), NOW),
            Err(DeltaError::Value)
        );
        for other in [at(20, &[5.0]), at(15, &[2.0])] {
            let refused = deltas.add(&a, &other, NOW).unwrap_err();
            assert_eq!(refused.reason(), "out-of-order");
        }
        assert_eq!(
            deltas.add(&a, &at(30, &[f64::NAN]), NOW),
            Err(DeltaError::Value)
        );
        assert_eq!(deltas.add(&a, &at(30, &[0.5]), NOW), Ok(&[3.5][..]));
        assert_eq!(
            deltas.add(&stream("b"), &at(10, &[7.0]), NOW),
            Ok(&[7.0][..])
        );
    }

    #[test]
    fn sums_begin_again_where_the_buckets_change() {
        let mut deltas = Deltas::default();
        let with = |at_ms, bounds| Delta {
            bounds,
            ..at(at_ms, &[1.0, 2.0])
        };
        let a = stream("a");
        deltas.add(&a, &with(10, &[0.5]), NOW).unwrap();
        assert_eq!(deltas.add(&a, &with(20, &[0.5]), NOW), Ok(&[2.0, 4.0][..]));
        assert_eq!(deltas.add(&a, &with(30, &[0.7]), NOW), Ok(&[1.0, 2.0][..]));
    }

    #[test]
    fn a_stream_too_many_is_refused_until_another_is_over() {
        let mut deltas = Deltas {
            bytes_max: label_bytes(&stream("a")) + 8,
            ..Deltas::default()
        };
        deltas.add(&stream("a"), &at(10, &[1.0]), NOW).unwrap();
        let b = stream("b");
        assert_eq!(
            deltas.add(&stream("a"), &at(20, &[1.0]), NOW),
            Ok(&[2.0][..])
        );
        let full = deltas.add(&b, &at(10, &[1.0]), NOW + KEPT);
        assert_eq!(full, Err(DeltaError::Full));
        let later = NOW + KEPT + SWEEP_EVERY;
        assert_eq!(deltas.add(&b, &at(20, &[4.0]), later), Ok(&[4.0][..]));
        assert_eq!(deltas.streams.len(), 1);
        assert_eq!(deltas.bytes, deltas.bytes_max);
    }
}
