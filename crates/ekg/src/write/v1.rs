//! `prometheus.WriteRequest`: every series spells its labels out.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{Budget, LABELS_MAX, Series, Sink, family, histogram::histogram, sample};
use crate::{
    exemplars::SentExemplar,
    wire::{Reader, WireError},
};

pub(super) fn decode(message: &[u8], sink: &mut impl Sink) -> Result<(), WireError> {
    let mut request = Reader::new(message);
    let mut series = Series::default();
    let mut budget = Budget::default();
    while let Some(field) = request.field()? {
        match field.number {
            1 => {
                let bytes = field.bytes()?;
                if let Some(samples) = sink.bytes(bytes, budget.left()) {
                    budget.0 += samples;
                    continue;
                }
                read(field.message()?, &mut series, &mut budget)?;
                sink.series(&series);
            }
            3 => metadata(field.message()?, sink)?,
            _ => {}
        }
    }
    Ok(())
}

fn read<'a>(
    mut reader: Reader<'a>,
    series: &mut Series<'a>,
    budget: &mut Budget,
) -> Result<(), WireError> {
    series.clear();
    while let Some(field) = reader.field()? {
        match field.number {
            1 => {
                series.labels.push(label(field.message()?)?);
                field.within(series.labels.len(), LABELS_MAX, "labels of one series")?;
            }
            2 => {
                budget.spend(&field)?;
                series.samples.push(sample(field.message()?)?);
            }
            3 => {
                budget.spend(&field)?;
                series.exemplars.push(exemplar(field.message()?)?);
            }
            4 => {
                let sent = histogram(field.message()?)?;
                budget.spend_on(&sent, &field)?;
                series.histograms.push(sent);
            }
            _ => {}
        }
    }
    Ok(())
}

fn exemplar(mut reader: Reader<'_>) -> Result<SentExemplar, WireError> {
    let mut exemplar = SentExemplar::default();
    while let Some(field) = reader.field()? {
        match field.number {
            1 => {
                let (name, value) = label(field.message()?)?;
                exemplar.push(name, value);
            }
            2 => exemplar.value = field.double()?,
            3 => exemplar.at_ms = Some(field.signed()?),
            _ => {}
        }
    }
    Ok(exemplar)
}

fn label(mut reader: Reader<'_>) -> Result<(&str, &str), WireError> {
    let mut label = ("", "");
    while let Some(field) = reader.field()? {
        match field.number {
            1 => label.0 = field.text()?,
            2 => label.1 = field.text()?,
            _ => {}
        }
    }
    Ok(label)
}

fn metadata(mut reader: Reader<'_>, sink: &mut impl Sink) -> Result<(), WireError> {
    let (mut kind, mut name, mut help, mut unit) = (0, "", "", "");
    while let Some(field) = reader.field()? {
        match field.number {
            1 => kind = field.unsigned()?,
            2 => name = field.text()?,
            4 => help = field.text()?,
            5 => unit = field.text()?,
            _ => {}
        }
    }
    sink.metadata(name, family(kind, help, unit));
    Ok(())
}
