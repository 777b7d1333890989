//! Samples from elsewhere, of any age: how they are sent, and how they come together.
//!
//! Guarantees: what is packed is what is unpacked, bit for bit. A text without times is refused sample by sample: when
//! it was true is not known.

use std::collections::BTreeMap;

use mainstay_tsdb::{Backfilled, Labels};

use crate::{
    delivery::Delivery,
    parcel::Parcel,
    text::{Exposition, Natives, TextError, TextLimits, scan, scan_openmetrics},
    write::{Sample, Series, Sink as _},
};

/// What one text may hold: as many samples as fit into the largest body.
const LIMITS: TextLimits = TextLimits {
    line_bytes: 64 << 10,
    labels: 1_024,
    samples: 4 << 20,
    natives: Natives::PassedOver,
};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus's: times in milliseconds.
    Prometheus,
    /// OpenMetrics: times in seconds, `# EOF` at the end.
    OpenMetrics,
}

/// Reads a text.
pub fn read_text(format: TextFormat, body: &[u8]) -> Result<Exposition<'_>, TextError> {
    match format {
        TextFormat::Prometheus => scan(body, &LIMITS),
        TextFormat::OpenMetrics => scan_openmetrics(body, &LIMITS),
    }
}

/// The samples of a text that have a time, by series; and how many have none.
pub fn timed(seen: &Exposition<'_>) -> Result<(Vec<Backfilled>, u64), mainstay_tsdb::LabelError> {
    let mut series: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    let mut timeless = 0;
    for sample in &seen.samples {
        let Some(at_ms) = sample.timestamp_ms else {
            timeless += 1;
            continue;
        };
        let name = (mainstay_tsdb::METRIC_NAME, &*sample.name);
        let others = sample.labels.iter().map(|(n, v)| (&**n, &**v));
        let labels = Labels::from_pairs(others.chain([name]))?;
        series
            .entry(labels)
            .or_default()
            .push((at_ms, sample.value));
    }
    let series = series.into_iter();
    let series = series.map(|(labels, samples)| Backfilled { labels, samples });
    Ok((series.collect(), timeless))
}

/// What was delivered, by series.
pub(crate) fn by_series(parcels: &[Parcel]) -> Vec<Backfilled> {
    let mut series: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    for item in parcels.iter().flat_map(Parcel::items) {
        let known = series.entry(item.key.labels()).or_default();
        known.extend(item.points);
    }
    let series = series.into_iter();
    let series = series.map(|(labels, samples)| Backfilled { labels, samples });
    series.collect()
}

/// A text becomes a delivery; refused are samples without a time.
pub(crate) fn deliver(seen: &Exposition<'_>, delivery: &mut Delivery) {
    for sample in &seen.samples {
        let Some(at_ms) = sample.timestamp_ms else {
            let told = || format!("{sample}: it says no time");
            delivery.refused.add("no-time", 1, told);
            continue;
        };
        let name = (mainstay_tsdb::METRIC_NAME, &*sample.name);
        let others = sample.labels.iter().map(|(n, v)| (&**n, &**v));
        let one = Sample {
            value: sample.value,
            at_ms,
            start_ms: None,
        };
        delivery.series(&Series {
            labels: others.chain([name]).collect(),
            samples: vec![one],
            ..Series::default()
        });
    }
}

/// A request of remote write 1.0, as it is sent.
pub fn packed(batch: &[Backfilled]) -> Result<Vec<u8>, snap::Error> {
    let mut message = Vec::new();
    let (mut series, mut part) = (Vec::new(), Vec::new());
    for one in batch {
        series.clear();
        for (name, value) in &one.labels {
            part.clear();
            put_bytes(&mut part, 1, name.as_bytes());
            put_bytes(&mut part, 2, value.as_bytes());
            put_bytes(&mut series, 1, &part);
        }
        for (at_ms, value) in &one.samples {
            part.clear();
            part.push(1 << 3 | 1);
            part.extend_from_slice(&value.to_le_bytes());
            part.push(2 << 3);
            put_varint(&mut part, *at_ms as u64);
            put_bytes(&mut series, 2, &part);
        }
        put_bytes(&mut message, 1, &series);
    }
    snap::raw::Encoder::new().compress_vec(&message)
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use mainstay_core::Time;

    use super::*;
    use crate::{
        metadata::Metadata,
        write::{Protocol, decode, unpacked},
    };

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Backfilled {
        Backfilled {
            labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn what_is_packed_is_what_is_delivered() {
        let batch = vec![
            series(&[("__name__", "a")], &[(-5, 1.5), (300, f64::NEG_INFINITY)]),
            series(&[("__name__", "b"), ("x", "é")], &[(1, -0.0)]),
        ];
        let mut delivery = Delivery::new(Time::from_millis(1_000), Metadata::default());
        let body = packed(&batch).unwrap();
        unpacked(&body, |message| {
            decode(Protocol::V1, message, &mut delivery)
        })
        .unwrap();
        assert_eq!(delivery.refused.total(), 0);
        assert_eq!(by_series(&delivery.samples.finish()), batch);
    }

    #[test]
    fn a_sample_without_a_time_is_not_imported() {
        let text = "a{x=\"1\"} 1 5000\na{x=\"1\"} 2 6000\nb 3\n";
        let seen = read_text(TextFormat::Prometheus, text.as_bytes()).unwrap();
        let (found, timeless) = timed(&seen).unwrap();
        let wanted = series(
            &[("__name__", "a"), ("x", "1")],
            &[(5_000, 1.0), (6_000, 2.0)],
        );
        assert_eq!((found, timeless), (vec![wanted], 1));
    }
}
