//! A histogram of the protobuf format, native or classic or both at once.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use mainstay_tsdb::{MAX_BUCKETS, ResetHint};

use super::label;
use crate::{
    exemplars::SentExemplar,
    metadata::Kind,
    native::{self, Sent},
    wire::{Field, Reader, WireError},
};

/// Exemplars of one native histogram that are looked at.
const EXEMPLARS_MAX: usize = 1_024;

/// A histogram of a metric, as it is read.
#[derive(Default)]
pub(super) struct Histogram<'a> {
    pub(super) sent: Sent,
    pub(super) is_native: bool,
    /// Upper bound, how many are below, and the exemplar, each with its place.
    pub(super) classic: Vec<(f64, f64, Vec<SentExemplar>, Field<'a>)>,
    pub(super) exemplars: Vec<SentExemplar>,
}

impl<'a> Histogram<'a> {
    pub(super) fn read(mut fields: Reader<'a>, kind: Kind) -> Result<Self, WireError> {
        let mut read = Self::default();
        let (mut real_count, mut real_zero) = (0.0, 0.0);
        while let Some(field) = fields.field()? {
            let sent = &mut read.sent;
            match field.number {
                1 => sent.count = field.unsigned()?,
                2 => sent.sum = field.double()?,
                3 => {
                    let (bound, below, exemplars) = bucket(field.message()?)?;
                    read.classic.push((bound, below, exemplars, field));
                    let buckets = read.classic.len();
                    field.within(buckets, MAX_BUCKETS, "buckets of one histogram")?;
                }
                4 => real_count = field.double()?,
                5 => sent.schema = native::signed(field.unsigned()?) as i32,
                6 => sent.zero_threshold = field.double()?,
                7 => sent.zero = field.unsigned()?,
                8 => real_zero = field.double()?,
                9..=11 => sent.negative.read(&field, 9)?,
                12..=14 => sent.positive.read(&field, 12)?,
                15 => sent.start_ms = timestamp(field.message()?)?,
                16 => {
                    let exemplar = exemplar(field.message()?)?;
                    field.within(
                        read.exemplars.len(),
                        EXEMPLARS_MAX,
                        "exemplars of one histogram",
                    )?;
                    read.exemplars
                        .extend(Some(exemplar).filter(|it| it.at_ms.is_some()));
                }
                _ => {}
            }
        }
        let sent = &mut read.sent;
        // Here a number that is not sent is zero: only one that is not tells that counts need not be whole.
        if real_count > 0.0 || real_zero > 0.0 {
            (sent.real_count, sent.real_zero) = (Some(real_count), Some(real_zero));
        }
        // An empty one has a span without buckets.
        read.is_native = !sent.positive.spans.is_empty()
            || !sent.negative.spans.is_empty()
            || sent.zero_threshold > 0.0
            || sent.zero > 0
            || real_zero > 0.0;
        if kind == Kind::GaugeHistogram {
            sent.hint = ResetHint::Gauge;
        }
        if sent.sum.is_nan() {
            sent.sum = f64::NAN;
        }
        read.exemplars
            .sort_by(|a, b| a.at_ms.cmp(&b.at_ms).then(a.value.total_cmp(&b.value)));
        Ok(read)
    }
}

/// Milliseconds since the epoch.
fn timestamp(mut fields: Reader<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    while let Some(field) = fields.field()? {
        match field.number {
            1 => seconds = field.signed()?,
            2 => nanos = field.signed()?,
            _ => {}
        }
    }
    Ok(seconds
        .saturating_mul(1_000)
        .saturating_add(nanos / 1_000_000))
}

pub(super) fn exemplar(mut fields: Reader<'_>) -> Result<SentExemplar, WireError> {
    let mut read = SentExemplar::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => {
                let (name, value) = label(field.message()?)?;
                read.push(&name, &value);
            }
            2 => read.value = field.double()?,
            3 => read.at_ms = Some(timestamp(field.message()?)?),
            _ => {}
        }
    }
    Ok(read)
}

/// Upper bound, how many are below, and the exemplar.
fn bucket(mut fields: Reader<'_>) -> Result<(f64, f64, Vec<SentExemplar>), WireError> {
    let (mut bound, mut below, mut exemplars) = (0.0, 0.0, Vec::new());
    while let Some(field) = fields.field()? {
        match field.number {
            1 => below = field.unsigned()? as f64,
            2 => bound = field.double()?,
            3 => exemplars = vec![exemplar(field.message()?)?],
            4 => below = field.double()?,
            _ => {}
        }
    }
    Ok((bound, below, exemplars))
}
