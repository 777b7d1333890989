//! `rules backtest`: when the alerts of a file would have fired over the server's history.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use mainstay_core::{Span, Time};
use mainstay_promql::{Labels, RangeSeries, Sample};
use mainstay_rules::{Firing, Kind, Rule, Steps, backtest};
use serde_json::{Value, json};

use crate::{
    alerting,
    args::{Backtest, Global},
    client::{Client, parameters},
    output, ports,
};

/// Steps asked for at once: below what one answer may have.
const STEPS_AT_ONCE: u64 = 5_000;
/// Steps of a whole history.
const STEPS_MAX: u64 = 1_000_000;

pub(super) async fn run(global: &Global, asked: &Backtest) -> anyhow::Result<()> {
    let file = alerting::read_file(Path::new(&asked.file))?;
    let client = Client::new(global)?;
    let end = asked.end.unwrap_or_else(ports::now);
    let start = asked.start.unwrap_or(end - asked.since);
    if start >= end {
        bail!("--start has to lie before --end");
    }
    let mut told = Vec::new();
    for group in &file.groups {
        let every = group.interval.unwrap_or(asked.every);
        let steps = Steps { start, end, every };
        for rule in &group.rules {
            let is_wanted = asked.rule.as_deref().is_none_or(|name| name == rule.name());
            if !is_wanted || !matches!(rule.kind, Kind::Alert { .. }) {
                continue;
            }
            let history = history(&client, rule, steps)
                .await
                .with_context(|| format!("{} of group {}", rule.name(), group.name))?;
            let found = backtest(rule, &history, steps);
            told.push((group.name.clone(), rule.name().to_owned(), found));
        }
    }
    if told.is_empty() {
        bail!("no alerting rule of that name in {}", asked.file.display());
    }
    show(global, &told)
}

async fn history(client: &Client, rule: &Rule, steps: Steps) -> anyhow::Result<Vec<RangeSeries>> {
    let every = steps.every.millis().max(1);
    let count = steps.end.since(steps.start).millis() / every;
    if count > STEPS_MAX {
        bail!("{count} steps, at most {STEPS_MAX} are walked: shorten the time or raise --every");
    }
    let mut series: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    let mut from = steps.start;
    while from <= steps.end {
        let last = from + Span::from_millis(every * (STEPS_AT_ONCE - 1));
        let seconds = |at: Time| format!("{:.3}", at.millis() as f64 / 1e3);
        let pairs = [
            ("query", rule.query.text()),
            ("start", &seconds(from)),
            ("end", &seconds(last.min(steps.end))),
            ("step", &format!("{:.3}", every as f64 / 1e3)),
        ];
        let path = format!("/api/v1/query_range{}", parameters(&pairs));
        let answer: Value = client.get(&path).await?;
        let found = answer["data"]["result"].as_array().context("no result")?;
        for one in found {
            let (labels, samples) = read(one).context("a series cannot be read")?;
            series.entry(labels).or_default().extend(samples);
        }
        from = last + steps.every;
    }
    let series = series.into_iter();
    Ok(series
        .map(|(labels, samples)| RangeSeries::floats(labels, samples))
        .collect())
}

fn read(series: &Value) -> Option<(Labels, Vec<Sample>)> {
    let metric = series["metric"].as_object()?;
    let pairs = metric
        .iter()
        .map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let labels = Labels::from_pairs(pairs.collect::<Option<Vec<_>>>()?);
    let samples = series["values"].as_array()?.iter().map(|point| {
        Some(Sample {
            timestamp_ms: (point[0].as_f64()? * 1e3).round() as i64,
            value: point[1].as_str()?.parse().ok()?,
        })
    });
    Some((labels, samples.collect::<Option<_>>()?))
}

fn show(global: &Global, told: &[(String, String, Vec<Firing>)]) -> anyhow::Result<()> {
    let firing = |it: &Firing| {
        let labels: BTreeMap<&str, &str> = it.labels.iter().collect();
        json!({
            "labels": labels,
            "activeAt": it.active_at,
            "firedAt": it.fired_at,
            "resolvedAt": it.resolved_at,
            "value": it.value,
        })
    };
    let all: Vec<Value> = told
        .iter()
        .map(|(group, rule, found)| {
            let fired: Vec<Value> = found.iter().map(firing).collect();
            json!({ "group": group, "alert": rule, "fired": fired })
        })
        .collect();
    if output::value(global.output, &Value::from(all))? {
        return Ok(());
    }
    let mut rows = Vec::new();
    for (_, rule, found) in told {
        for it in found {
            let lasted = it.resolved_at.map_or("still".to_owned(), |at| {
                output::short(at.since(it.fired_at))
            });
            rows.push(vec![
                rule.clone(),
                output::to_second(it.fired_at).to_string(),
                lasted,
                output::figure(it.value),
                it.labels.to_string(),
            ]);
        }
    }
    if !rows.is_empty() {
        output::table(
            &["ALERT", "WOULD HAVE FIRED", "FOR", "VALUE", "LABELS"],
            &rows,
        )?;
    }
    for (_, rule, _) in told.iter().filter(|(_, _, found)| found.is_empty()) {
        output::print(&format!("{rule} would not have fired"))?;
    }
    Ok(())
}
