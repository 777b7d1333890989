//! `io.prometheus.write.v2.Request`: labels are numbers of symbols that stand once in the message.
//!
//! A series whose references point nowhere is handed over as broken: the others of its message are good.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{Broken, Budget, LABELS_MAX, Series, Sink, family, histogram::histogram, sample};
use crate::{
    exemplars::SentExemplar,
    wire::{Reader, WireError},
};

/// Symbols of one message: 16 MB of references to them, whatever the message holds.
const SYMBOLS_MAX: usize = 1_000_000;

pub(super) fn decode(message: &[u8], sink: &mut impl Sink) -> Result<(), WireError> {
    // Symbols may stand after the series that use them.
    let mut symbols = Vec::new();
    let mut request = Reader::new(message);
    while let Some(field) = request.field()? {
        if field.number == 4 {
            symbols.push(field.text()?);
            field.within(symbols.len(), SYMBOLS_MAX, "symbols")?;
        }
    }
    let mut request = Reader::new(message);
    let mut series = Series::default();
    let mut budget = Budget::default();
    while let Some(field) = request.field()? {
        if field.number == 5 {
            let about = read(field.message()?, &symbols, &mut series, &mut budget)?;
            sink.series(&series);
            let name = series.labels.iter().find(|(name, _)| *name == "__name__");
            if let (Some(about), Some((_, name))) = (about, name) {
                let text = |at: u64| symbol(&symbols, at).unwrap_or("");
                let family = family(about.kind, text(about.help), text(about.unit));
                sink.metadata(family.kind.of_series(name), family);
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct About {
    kind: u64,
    help: u64,
    unit: u64,
}

fn symbol<'a>(symbols: &[&'a str], at: u64) -> Option<&'a str> {
    symbols.get(usize::try_from(at).ok()?).copied()
}

fn read<'a>(
    mut reader: Reader<'a>,
    symbols: &[&'a str],
    series: &mut Series<'a>,
    budget: &mut Budget,
) -> Result<Option<About>, WireError> {
    series.clear();
    let mut about = None;
    let mut name: Option<&str> = None;
    while let Some(field) = reader.field()? {
        match field.number {
            1 => field.each_unsigned(|at| {
                let Some(found) = symbol(symbols, at) else {
                    series.broken = Some(Broken::Beyond {
                        reference: at,
                        symbols: symbols.len(),
                    });
                    return Ok(());
                };
                match name.take() {
                    None => name = Some(found),
                    Some(name) => series.labels.push((name, found)),
                }
                field.within(series.labels.len(), LABELS_MAX, "labels of one series")
            })?,
            2 => {
                budget.spend(&field)?;
                series.samples.push(sample(field.message()?)?);
            }
            3 => {
                let sent = histogram(field.message()?)?;
                budget.spend_on(&sent, &field)?;
                series.histograms.push(sent);
            }
            4 => {
                budget.spend(&field)?;
                series.exemplars.push(exemplar(field.message()?, symbols)?);
            }
            5 => about = Some(metadata(field.message()?)?),
            _ => {}
        }
    }
    if name.is_some() {
        series.broken = series.broken.or(Some(Broken::Odd));
    }
    Ok(about)
}

/// One whose references point nowhere is broken, and refused by whoever gets it.
fn exemplar(mut reader: Reader<'_>, symbols: &[&str]) -> Result<SentExemplar, WireError> {
    let mut exemplar = SentExemplar::default();
    let mut name: Option<&str> = None;
    while let Some(field) = reader.field()? {
        match field.number {
            1 => field.each_unsigned(|at| {
                match (name.take(), symbol(symbols, at)) {
                    (_, None) => exemplar.broken = true,
                    (None, found) => name = found,
                    (Some(name), Some(value)) => exemplar.push(name, value),
                }
                Ok(())
            })?,
            2 => exemplar.value = field.double()?,
            3 => exemplar.at_ms = Some(field.signed()?),
            _ => {}
        }
    }
    exemplar.broken |= name.is_some();
    Ok(exemplar)
}

fn metadata(mut reader: Reader<'_>) -> Result<About, WireError> {
    let mut about = About::default();
    while let Some(field) = reader.field()? {
        match field.number {
            1 => about.kind = field.unsigned()?,
            3 => about.help = field.unsigned()?,
            4 => about.unit = field.unsigned()?,
            _ => {}
        }
    }
    Ok(about)
}
