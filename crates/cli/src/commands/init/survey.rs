//! What a Prometheus knows: its targets, the names of its metrics, and the labels of those that may count
//! requests.
//!
//! Guarantees: only reads; answers are bounded in bytes and number. Where there are no targets to list, as
//! with Mainstay, the series `up` stands in for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::client::parameters;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer read: the series of one metric of a large site.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Metrics whose series are asked for, the likeliest first.
const METRICS_MAX: usize = 60;

pub(super) type Labels = BTreeMap<String, String>;

/// Something that is scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scraped {
    pub(super) job: String,
    /// Where, such as `http://host:port/metrics`.
    pub(super) url: String,
    /// What Prometheus adds to each of its samples.
    pub(super) labels: Labels,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) from: String,
    pub(super) targets: Vec<Scraped>,
    /// Label sets by metric.
    pub(super) series: BTreeMap<String, Vec<Labels>>,
    /// Likely metrics that were left out, beyond the limit.
    pub(super) left_out: usize,
}

/// How likely a metric counts requests, times them, or says a version: lower is likelier; `None` is no.
pub(super) fn rank(name: &str) -> Option<u8> {
    const KNOWN: [&str; 7] = [
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "nginx_vts_filter_requests_total",
        "nginx_vts_filter_request_duration_seconds_bucket",
        "envoy_cluster_upstream_rq_xx",
        "envoy_cluster_upstream_rq_time_bucket",
        "haproxy_backend_http_responses_total",
    ];
    if KNOWN.contains(&name) {
        return Some(0);
    }
    let http = name.contains("http");
    match name {
        // Of those who scrape, not of users.
        _ if name.starts_with("promhttp_") => None,
        _ if name.ends_with("_build_info") => Some(1),
        _ if name.ends_with("_requests_total") => Some(if http { 2 } else { 4 }),
        _ if name.ends_with("_duration_seconds_bucket") => Some(if http { 3 } else { 5 }),
        _ => None,
    }
}

struct Asked {
    http: reqwest::Client,
    base: String,
}

pub(super) async fn survey(base: &str) -> anyhow::Result<Survey> {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build()?;
    let base = base.trim_end_matches('/').to_owned();
    let asked = Asked { http, base };
    let targets = match asked.get("/api/v1/targets?state=active").await? {
        Some(data) => listed(&data),
        None => {
            let up = asked.get("/api/v1/query?query=up").await?;
            stand_ins(&up.unwrap_or_default())
        }
    };
    let names = asked.get("/api/v1/label/__name__/values").await?;
    let names = names.unwrap_or_default();
    let likely: BTreeSet<(u8, &str)> = strings(&names)
        .filter_map(|name| Some((rank(name)?, name)))
        .collect();
    let left_out = likely.len().saturating_sub(METRICS_MAX);
    let mut series = BTreeMap::new();
    for (_, name) in likely.into_iter().take(METRICS_MAX) {
        let path = format!("/api/v1/series{}", parameters(&[("match[]", name)]));
        let data = asked.get(&path).await?.unwrap_or_default();
        let sets = data.as_array().map_or(&[][..], Vec::as_slice);
        series.insert(name.to_owned(), sets.iter().map(labels).collect());
    }
    Ok(Survey {
        from: asked.base,
        targets,
        series,
        left_out,
    })
}

impl Asked {
    /// The `data` of an answer; `None` where there is no such question.
    async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let url = format!("{}{path}", self.base);
        let mut answer = self.http.get(&url).send().await.with_context(|| {
            format!(
                "no Prometheus answers at {}: name it with --prometheus",
                self.base
            )
        })?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                bail!("{url} answers with more than {ANSWER_BYTES_MAX} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&body)
            .with_context(|| format!("{url} answers {status}, and not in Prometheus's JSON"))?;
        if answer["status"] != "success" {
            bail!("{url} answers {status}: {}", answer["error"]);
        }
        Ok(Some(answer["data"].clone()))
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Value::as_str)
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn listed(data: &Value) -> Vec<Scraped> {
    let all = data["activeTargets"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let scraped = |target: &Value| {
        let labels = labels(&target["labels"]);
        Some(Scraped {
            job: labels.get("job")?.clone(),
            url: target["scrapeUrl"].as_str()?.to_owned(),
            labels,
        })
    };
    all.iter().filter_map(scraped).collect()
}

/// Targets as the series `up` tells of them: the path of their metrics is not in it.
fn stand_ins(data: &Value) -> Vec<Scraped> {
    let all = data["result"].as_array().map_or(&[][..], Vec::as_slice);
    let scraped = |result: &Value| {
        let mut labels = labels(&result["metric"]);
        labels.remove("__name__");
        Some(Scraped {
            job: labels.get("job")?.clone(),
            url: format!("http://{}/metrics", labels.get("instance")?),
            labels,
        })
    };
    all.iter().filter_map(scraped).collect()
}
