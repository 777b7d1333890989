//! From what was found to resources in YAML, as a pure function.
//!
//! Guarantees: the same survey gives the same text; a name that no resource may have is changed and said; each
//! guess has a comment with its ground, and what could not be guessed is listed as missing. Labels that only
//! Prometheus adds are never used: whoever scrapes the instances directly does not see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::survey::{Labels, Scraped, Survey, rank};

/// Labels that name a datacenter, the usual ones first.
const FABRIC_LABELS: [&str; 5] = ["datacenter", "dc", "region", "cluster", "fabric"];
/// Labels that hold a status.
const CODE_LABELS: [&str; 6] = [
    "code",
    "status",
    "status_code",
    "http_status",
    "response_code",
    "http_response_status_code",
];
/// Labels that hold a version.
const VERSION_LABELS: [&str; 4] = ["version", "app_version", "service_version", "release"];
/// Jobs under which Mainstay scrapes itself.
const OWN_JOBS: [&str; 3] = [
    crate::targets::SERVER_JOB,
    crate::targets::ROUTER_JOB,
    crate::targets::CALLERS_JOB,
];

/// The counters of a proxy: metric, the label that names a service, and the preset that knows them.
const PROXIES: [(&str, &str, &str); 3] = [
    ("nginx_vts_filter_requests_total", "filter", "nginx"),
    (
        "envoy_cluster_upstream_rq_xx",
        "envoy_cluster_name",
        "envoy",
    ),
    ("haproxy_backend_http_responses_total", "proxy", "haproxy"),
];

/// One service, in a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Drafted {
    pub(super) name: String,
    pub(super) instances: usize,
    pub(super) counted_by: String,
    pub(super) missing: Vec<String>,
}

/// Files with their text, and what they declare.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) files: Vec<(String, String)>,
    pub(super) services: Vec<Drafted>,
}

pub(super) fn draft(survey: &Survey) -> Draft {
    let mut jobs: BTreeMap<&str, Vec<&Scraped>> = BTreeMap::new();
    for target in &survey.targets {
        let is_own = OWN_JOBS.contains(&target.job.as_str());
        if !is_own
            && !PROXIES
                .iter()
                .any(|(metric, ..)| has(survey, metric, &target.job))
        {
            jobs.entry(&target.job).or_default().push(target);
        }
    }
    let mut draft = Draft::default();
    let fabrics: BTreeSet<String> = jobs.values().flatten().map(|it| fabric(it).0).collect();
    for name in fabrics {
        let text = format!(
            "# Drafted from {}.\napiVersion: mainstay/v1\nkind: Fabric\nmetadata: {{name: {name}}}\nspec: {{}}\n",
            survey.from
        );
        draft.files.push((format!("fabric-{name}.yaml"), text));
    }
    let mut taken = BTreeSet::new();
    for (job, targets) in jobs {
        let mut name = tame(job);
        let first = name.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{first}-{number}");
        }
        let (text, drafted) = service(survey, job, name, &targets);
        draft
            .files
            .push((format!("service-{}.yaml", drafted.name), text));
        draft.services.push(drafted);
    }
    draft
}

/// A name that a resource may have.
fn tame(text: &str) -> String {
    let letters: String = text
        .to_lowercase()
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
        .take(60)
        .collect();
    match letters.trim_matches('-') {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The fabric of a target, and the label that says so.
fn fabric(target: &Scraped) -> (String, Option<&'static str>) {
    let named = FABRIC_LABELS
        .iter()
        .find_map(|label| Some((tame(target.labels.get(*label)?), Some(*label))));
    named.unwrap_or_else(|| ("default".to_owned(), None))
}

fn of_job<'a>(survey: &'a Survey, metric: &str, job: &'a str) -> impl Iterator<Item = &'a Labels> {
    let sets = survey.series.get(metric).into_iter().flatten();
    sets.filter(move |labels| labels.get("job").is_some_and(|it| it == job))
}

fn has(survey: &Survey, metric: &str, job: &str) -> bool {
    of_job(survey, metric, job).next().is_some()
}

fn quoted(text: &str) -> String {
    // A JSON string is a YAML string.
    serde_json::Value::from(text).to_string()
}

fn service(survey: &Survey, job: &str, name: String, targets: &[&Scraped]) -> (String, Drafted) {
    let mut missing = vec!["owner".to_owned()];
    let (urls, path, refused) = places(targets);
    let mut text = format!(
        "# Drafted from job {} of {}. Mainstay only watches this service: `manage: observe`.\n\
         apiVersion: mainstay/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         owner: \"unknown: fill in\"\n  manage: observe\n  metrics: {}\n  \
         health: \"/healthz\"  # a guess: Prometheus does not know it\n  observe:\n",
        quoted(job),
        survey.from,
        quoted(&path)
    );
    let mut line = |text_line: String| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "    {text_line}");
    };
    line(format!("# {}", standing(targets)));
    line("urls:".to_owned() + if urls.is_empty() { " []" } else { "" });
    for url in &urls {
        line(format!("  - {}", quoted(url)));
    }
    for url in refused {
        line(format!(
            "# left out, it is not http or has another path: {url}"
        ));
        missing.push("some instances".to_owned());
    }
    let counted_by = match proxied(survey, &name) {
        Some((from, label, scrape)) => {
            line(format!(
                "# {from} has series whose `{label}` names this service"
            ));
            line("scrape:".to_owned());
            for url in scrape {
                line(format!("  - {}", quoted(url)));
            }
            line(format!("signals: {{from: {from}}}"));
            from.to_owned()
        }
        None => own(survey, job, &name, targets, &mut line, &mut missing),
    };
    missing.dedup();
    let drafted = Drafted {
        instances: urls.len(),
        name,
        counted_by,
        missing,
    };
    (text, drafted)
}

/// Base URLs, the path of metrics that most have, and what has no place in either.
fn places<'a>(targets: &[&'a Scraped]) -> (BTreeSet<String>, String, Vec<&'a str>) {
    let split = |target: &&'a Scraped| {
        let url = target.url.as_str();
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some((format!("http://{host}"), format!("/{path}")))
    };
    let mut paths: BTreeMap<String, usize> = BTreeMap::new();
    for (_, path) in targets.iter().filter_map(split) {
        *paths.entry(path).or_default() += 1;
    }
    let most = paths.into_iter().max_by_key(|(_, count)| *count);
    let path = most.map_or_else(|| "/metrics".to_owned(), |(path, _)| path);
    let mut urls = BTreeSet::new();
    let mut refused = Vec::new();
    for target in targets {
        match split(target) {
            Some((url, its)) if its == path => drop(urls.insert(url)),
            Some(_) | None => refused.push(target.url.as_str()),
        }
    }
    (urls, path, refused)
}

/// Where its targets stand, in words.
fn standing(targets: &[&Scraped]) -> String {
    let mut counts: BTreeMap<(String, Option<&str>), usize> = BTreeMap::new();
    for target in targets {
        *counts.entry(fabric(target)).or_default() += 1;
    }
    let words: Vec<String> = counts
        .into_iter()
        .map(|((fabric, label), count)| match label {
            Some(label) => format!("{count} in fabric {fabric} (label `{label}`)"),
            None => format!("{count} in fabric {fabric} (no label names one)"),
        })
        .collect();
    format!("targets: {}", words.join(", "))
}

/// The preset of a proxy that counts for `name`, the label that says so, and the proxies' URLs.
fn proxied<'a>(
    survey: &'a Survey,
    name: &str,
) -> Option<(&'static str, &'static str, BTreeSet<&'a str>)> {
    for (metric, label, from) in PROXIES {
        let names = |value: &String| match from {
            "nginx" => value == name,
            _ => value
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['-', '_'])),
        };
        let sets = survey.series.get(metric).into_iter().flatten();
        let jobs: BTreeSet<&String> = sets
            .filter(|labels| labels.get(label).is_some_and(names))
            .filter_map(|labels| labels.get("job"))
            .collect();
        let of = |it: &&Scraped| jobs.contains(&it.job);
        let urls: BTreeSet<&str> = survey
            .targets
            .iter()
            .filter(of)
            .map(|it| it.url.as_str())
            .collect();
        if !urls.is_empty() {
            return Some((from, label, urls));
        }
    }
    None
}

/// Signals guessed from the instances' own metrics; says who counts.
fn own(
    survey: &Survey,
    job: &str,
    name: &str,
    targets: &[&Scraped],
    line: &mut impl FnMut(String),
    missing: &mut Vec<String>,
) -> String {
    let added: BTreeSet<&str> = targets
        .iter()
        .flat_map(|it| it.labels.keys().map(String::as_str))
        .collect();
    let label = |metric: &str, names: &[&'static str]| -> Option<&'static str> {
        let is_there = |label: &&&'static str| {
            !added.contains(**label)
                && of_job(survey, metric, job).any(|it| it.contains_key(**label))
        };
        names.iter().find(is_there).copied()
    };
    let likeliest = |suffix: &str| -> Option<&str> {
        let names = survey.series.keys().map(String::as_str);
        names
            .filter(|metric| metric.ends_with(suffix) && has(survey, metric, job))
            .min_by_key(|metric| (label(metric, &CODE_LABELS).is_none(), rank(metric)))
    };
    let selector = |metric: &str| quoted(&format!("{metric}{{service=\"{name}\"}}"));
    line("signals:".to_owned());
    let Some(requests) = likeliest("_requests_total") else {
        line(
            "  # no counter named `…_requests_total` was found; name the one that counts requests:"
                .to_owned(),
        );
        line(format!(
            "  # requests: {{selector: {}, versionLabel: version, codeLabel: code}}",
            selector("NAME")
        ));
        line("  from: prometheus".to_owned());
        missing.push("a counter of requests".to_owned());
        return "nobody".to_owned();
    };
    let code = label(requests, &CODE_LABELS);
    let version = label(requests, &VERSION_LABELS);
    line(format!(
        "  # `{requests}` of this job looks like its requests"
    ));
    line("  requests:".to_owned());
    line(format!("    selector: {}", selector(requests)));
    match code {
        Some(code) => line(format!("    codeLabel: {code}")),
        None => {
            line(
                "    # codeLabel: none of its labels looks like a status; nothing passes without"
                    .to_owned(),
            );
            missing.push("the label of the status".to_owned());
        }
    }
    let info = survey
        .series
        .keys()
        .filter(|metric| metric.ends_with("_build_info"))
        .find_map(|metric| Some((metric, label(metric, &VERSION_LABELS)?)));
    match (version, info) {
        (Some(version), _) => line(format!("    versionLabel: {version}")),
        (None, Some((metric, label))) => {
            line(format!(
                "  # no version in the counter; `{metric}` says that of an instance"
            ));
            line(format!(
                "  version: {{selector: {}, label: {label}}}",
                selector(metric)
            ));
        }
        (None, None) => {
            line(
                "    # versionLabel: nothing says a version; two versions cannot be told apart"
                    .to_owned(),
            );
            missing.push("the label of the version".to_owned());
        }
    }
    match likeliest("_duration_seconds_bucket") {
        Some(buckets) => {
            line(format!("  # `{buckets}` looks like how long they took"));
            line(format!("  latency: {{selector: {}}}", selector(buckets)));
        }
        None => {
            line(
                "  # latency: no histogram named `…_duration_seconds`; nothing passes without"
                    .to_owned(),
            );
            missing.push("a histogram of latency".to_owned());
        }
    }
    "its own instances".to_owned()
}
