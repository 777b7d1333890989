//! Which metrics and labels have the most series.
//!
//! Guarantees: counts series with a sample in the last five minutes; looks at one metric at a time, so that it never
//! holds more than one metric's samples. Labels of more than [`PAIRED_MAX`] values are not counted by pairs: no
//! pair of theirs is among the largest.

use std::collections::BTreeMap;

use mainstay_core::Time;
use mainstay_promql::{METRIC_NAME, MatchOp, Matcher, Storage as _};
use serde_json::{Value, json};

use crate::{Ekg, storage::Reader};

/// How far back a series counts as there, as for a query.
const LOOKBACK_MS: i64 = 5 * 60 * 1_000;
/// Values of a label whose pairs are counted.
const PAIRED_MAX: usize = 10_000;

impl Ekg {
    /// The data of `/api/v1/status/tsdb`, with at most `limit` entries of each list.
    pub fn cardinality(&self, limit: usize, now: Time) -> Value {
        let whole = |name: &str| {
            let answer = self.label_values(name, &[], Time::from_millis(i64::MIN), now);
            texts(&answer)
        };
        let names = self.labels(&[], Time::from_millis(i64::MIN), now);
        let values: BTreeMap<String, Vec<String>> = texts(&names)
            .into_iter()
            .map(|name| (name.clone(), whole(&name)))
            .collect();
        let paired = |name: &str| values.get(name).is_some_and(|it| it.len() <= PAIRED_MAX);
        let reader = Reader::new(&self.tsdb);
        let mut by_metric = BTreeMap::new();
        let mut by_pair: BTreeMap<String, u64> = BTreeMap::new();
        for metric in values.get(METRIC_NAME).into_iter().flatten() {
            // An equality needs no expression that could be wrong; a store that fails has no series.
            let Ok(is) = Matcher::new(METRIC_NAME, MatchOp::Equal, metric.as_str()) else {
                continue;
            };
            let start = now.millis().saturating_sub(LOOKBACK_MS);
            let series = reader
                .select(&[is], start, now.millis())
                .unwrap_or_default();
            for (name, value) in series.iter().flat_map(|it| it.labels.iter()) {
                if paired(name) {
                    *by_pair.entry(format!("{name}={value}")).or_default() += 1;
                }
            }
            by_metric.insert(metric.clone(), series.len() as u64);
        }
        let count = |name: &String, values: &Vec<String>| (name.clone(), values.len() as u64);
        let bytes = |name: &String, values: &Vec<String>| {
            (
                name.clone(),
                values.iter().map(String::len).sum::<usize>() as u64,
            )
        };
        json!({
            "headStats": {
                "numSeries": by_metric.values().sum::<u64>(),
                "numLabelPairs": values.values().map(Vec::len).sum::<usize>(),
            },
            "seriesCountByMetricName": top(by_metric, limit),
            "labelValueCountByLabelName": top(values.iter().map(|(n, v)| count(n, v)), limit),
            "memoryInBytesByLabelName": top(values.iter().map(|(n, v)| bytes(n, v)), limit),
            "seriesCountByLabelValuePair": top(by_pair, limit),
        })
    }
}

fn texts(answer: &Value) -> Vec<String> {
    let list = answer["data"].as_array().into_iter().flatten();
    list.filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

/// The largest first; equal ones by name.
fn top(counts: impl IntoIterator<Item = (String, u64)>, limit: usize) -> Value {
    let mut counts: Vec<(String, u64)> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    let entry = |(name, value): (String, u64)| json!({ "name": name, "value": value });
    counts.into_iter().map(entry).collect()
}
