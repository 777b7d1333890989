//! What a server says of everything that a sender sent, held against what was acknowledged.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    PATIENCE, READY_WITHIN,
    sender::{AGO, METRIC, Sender},
};
use crate::Connection;

/// Differences that are told word by word.
const TOLD_MAX: usize = 5;
/// How soon one that has not all history yet is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// What is not as it was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) count: u64,
    pub(super) told: Vec<String>,
}

impl Differences {
    fn add(&mut self, count: u64, what: impl FnOnce() -> String) {
        if count > 0 && self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
        self.count += count;
    }
}

#[derive(Deserialize)]
struct Answered {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Asks for every sample of a sender.
pub(super) fn differences(sender: &Sender, address: SocketAddr) -> Result<Differences, String> {
    let found = everything(sender, address)?;
    let mut by_series: BTreeMap<usize, &Series> = BTreeMap::new();
    for series in &found {
        let number = series.metric.get("series").and_then(|it| it.parse().ok());
        let number = number.filter(|it| *it < sender.series);
        let number = number.ok_or_else(|| format!("nobody sent {:?}", series.metric))?;
        by_series.insert(number, series);
    }
    let mut differences = Differences::default();
    for series in 0..sender.series {
        let values = by_series.get(&series).map_or(&[][..], |it| &it.values);
        compare(sender, series, values, &mut differences)?;
    }
    Ok(differences)
}

fn everything(sender: &Sender, address: SocketAddr) -> Result<Vec<Series>, String> {
    let days = AGO.as_secs() / 86_400 + 1;
    let number = sender.number;
    // A selector over a range, `metric{sender="n"}[21d]`.
    let path = format!("/api/v1/query?query={METRIC}%7Bsender%3D%22{number}%22%7D%5B{days}d%5D");
    let began = Instant::now();
    loop {
        let asked = Connection::open(address, PATIENCE).and_then(|mut it| it.get(&path));
        let answer = asked.map_err(|error| format!("a query is not answered: {error}"))?;
        if !answer.is_good() {
            return Err(format!("a query is refused: {}", answer.text()));
        }
        let answered: Answered = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("an answer that is none: {error}"))?;
        if answered.warnings.is_empty() {
            return Ok(answered.data.result);
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!("not all history: {:?}", answered.warnings));
        }
        sleep(AGAIN);
    }
}

/// Every number below what is acknowledged is there; the one under way may be.
fn compare(
    sender: &Sender,
    series: usize,
    values: &[(f64, String)],
    differences: &mut Differences,
) -> Result<(), String> {
    let name = || format!("sender {} series {series}", sender.number);
    let mut values = values.iter().peekable();
    for number in 0..=sender.acknowledged {
        let at_ms = sender.at_ms(number);
        let Some((at, text)) = values.next_if(|(at, _)| millis(*at) == at_ms) else {
            let lost = u64::from(number < sender.acknowledged);
            differences.add(lost, || format!("{} at {at_ms} ms is missing", name()));
            continue;
        };
        let found: f64 = text.parse().map_err(|_| format!("{at}: {text}?"))?;
        let sent = sender.value(series, number);
        let differs = u64::from(found.to_bits() != sent.to_bits());
        differences.add(differs, || {
            format!("{} at {at_ms} ms is {found}, sent was {sent}", name())
        });
    }
    let never = values.count() as u64;
    differences.add(never, || format!("{} has samples never sent", name()));
    Ok(())
}

fn millis(seconds: f64) -> u64 {
    (seconds * 1_000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(change: impl FnOnce(&mut Vec<(f64, String)>)) -> Differences {
        let mut sender = Sender::new(0, 8, AGO * 2);
        sender.acknowledged = 4;
        let value = |number| {
            let at = sender.at_ms(number) as f64 / 1_000.0;
            (at, sender.value(3, number).to_string())
        };
        let mut values: Vec<_> = (0..4).map(value).collect();
        change(&mut values);
        let mut differences = Differences::default();
        compare(&sender, 3, &values, &mut differences).unwrap();
        differences
    }

    #[test]
    fn what_is_missing_or_differs_or_was_never_sent_is_told_and_what_is_right_is_not() {
        assert_eq!(compared(|_| ()).count, 0);
        let missing = compared(|values| {
            values.remove(2);
        });
        assert_eq!(missing.count, 1);
        assert!(missing.told[0].contains("missing"), "{:?}", missing.told);
        let other = compared(|values| values[1].1 = "7".to_owned());
        assert!(other.told[0].contains("is 7"), "{:?}", other.told);
        let more = compared(|values| values.push((1.0e12, "7".to_owned())));
        assert!(more.told[0].contains("never sent"), "{:?}", more.told);
    }
}
