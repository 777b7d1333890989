//! From a proxy's metrics, under its own names, to requests told apart by version and status.
//!
//! Guarantees: whatever is not given is filled by the names that the exporter documents; a version that is
//! joined by instance is that of the instance, or none. Never counts a class that sums up the others.

use std::collections::BTreeMap;

use mainstay_core::{
    ServiceName,
    catalog::{BoundUnit, ObserveSpec, SignalsFrom, VersionSpec},
    ports::Growth,
};

use crate::evidence::Labels;

/// The label by which counters and versions are joined.
const INSTANCE: &str = "instance";

/// Which series count the requests of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Who counts, in words.
    pub counted_by: &'static str,
    /// Selector of the counters of requests.
    pub requests: String,
    /// Selector of the buckets of their latency, where there is a histogram.
    pub buckets: Option<String>,
    /// The labels by which they are judged.
    pub labels: Labels,
    /// Selector of what says the version of an instance.
    pub version: Option<VersionSpec>,
    /// The label of the buckets that holds the version.
    bucket_version: String,
    /// What stands before the version in the label.
    prefix: Option<String>,
}

/// The names of one exporter.
struct Preset {
    counted_by: &'static str,
    requests: String,
    version: &'static str,
    code: &'static str,
    buckets: Option<String>,
    unit: BoundUnit,
    prefix: Option<String>,
}

/// The names that each exporter documents: nginx-module-vts (`filter`, `filter_name`, `code`), Envoy's
/// statistics of clusters in Prometheus's format, HAProxy's PROMEX, and Prometheus's own naming guide.
fn preset(from: SignalsFrom, service: &ServiceName) -> Preset {
    let prefix = Some(service.to_string());
    match from {
        SignalsFrom::Prometheus => Preset {
            counted_by: "its own instances",
            requests: format!("http_requests_total{{service=\"{service}\"}}"),
            version: "version",
            code: "code",
            buckets: Some(format!(
                "http_request_duration_seconds_bucket{{service=\"{service}\"}}"
            )),
            unit: BoundUnit::Seconds,
            prefix: None,
        },
        SignalsFrom::Nginx => Preset {
            counted_by: "nginx",
            // Old releases of the module count `total` beside the classes.
            requests: format!(
                "nginx_vts_filter_requests_total{{filter=\"{service}\",code!=\"total\"}}"
            ),
            version: "filter_name",
            code: "code",
            buckets: Some(format!(
                "nginx_vts_filter_request_duration_seconds_bucket{{filter=\"{service}\"}}"
            )),
            unit: BoundUnit::Seconds,
            prefix: None,
        },
        SignalsFrom::Envoy => Preset {
            counted_by: "Envoy",
            requests: format!(
                "envoy_cluster_upstream_rq_xx{{envoy_cluster_name=~\"{service}[-_].+\"}}"
            ),
            version: "envoy_cluster_name",
            code: "envoy_response_code_class",
            buckets: Some(format!(
                "envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name=~\"{service}[-_].+\"}}"
            )),
            unit: BoundUnit::Milliseconds,
            prefix,
        },
        SignalsFrom::Haproxy => Preset {
            counted_by: "HAProxy",
            requests: format!("haproxy_backend_http_responses_total{{proxy=~\"{service}[-_].+\"}}"),
            version: "proxy",
            code: "code",
            buckets: None,
            unit: BoundUnit::Seconds,
            prefix,
        },
    }
}

impl Mapping {
    /// The mapping that `observe` declares for `service`.
    pub fn of(service: &ServiceName, observe: &ObserveSpec) -> Self {
        let signals = &observe.signals;
        let preset = preset(signals.from, service);
        let (requests, latency) = (&signals.requests, &signals.latency);
        let version = requests
            .version_label
            .clone()
            .unwrap_or_else(|| preset.version.to_owned());
        let second = match latency.unit.unwrap_or(preset.unit) {
            BoundUnit::Seconds => 1.0,
            BoundUnit::Milliseconds => 1e3,
        };
        Self {
            counted_by: preset.counted_by,
            requests: requests.selector.clone().unwrap_or(preset.requests),
            buckets: latency.selector.clone().or(preset.buckets),
            bucket_version: latency
                .version_label
                .clone()
                .unwrap_or_else(|| version.clone()),
            labels: Labels {
                version,
                code: requests
                    .code_label
                    .clone()
                    .unwrap_or_else(|| preset.code.to_owned()),
                second,
                ages_known: false,
            },
            version: signals.version.clone(),
            prefix: preset.prefix,
        }
    }

    /// The version of each instance, as the declared series say it.
    pub fn versions(&self, growth: &Growth) -> BTreeMap<String, String> {
        let label = self.version.as_ref().map(|it| it.label.as_str());
        let pair = |labels: &BTreeMap<String, String>| {
            Some((labels.get(INSTANCE)?.clone(), labels.get(label?)?.clone()))
        };
        growth
            .series
            .iter()
            .filter_map(|series| pair(&series.labels))
            .collect()
    }

    /// Puts the version of each counter under the label it is judged by.
    pub fn name_requests(&self, growth: &mut Growth, versions: &BTreeMap<String, String>) {
        self.name(growth, &self.labels.version, versions);
    }

    /// Like [`Mapping::name_requests`], for buckets.
    pub fn name_buckets(&self, growth: &mut Growth, versions: &BTreeMap<String, String>) {
        self.name(growth, &self.bucket_version, versions);
    }

    fn name(&self, growth: &mut Growth, label: &str, versions: &BTreeMap<String, String>) {
        for series in &mut growth.series {
            let found = if self.version.is_some() {
                let instance = series.labels.get(INSTANCE);
                instance
                    .and_then(|instance| versions.get(instance))
                    .cloned()
            } else {
                series.labels.remove(label).map(|it| self.bare(it))
            };
            match found.filter(|it| !it.is_empty()) {
                Some(version) => series.labels.insert(self.labels.version.clone(), version),
                None => series.labels.remove(&self.labels.version),
            };
        }
    }

    fn bare(&self, version: String) -> String {
        let bare = self
            .prefix
            .as_ref()
            .and_then(|prefix| version.strip_prefix(prefix.as_str()))
            .and_then(|rest| rest.strip_prefix(['-', '_']))
            .filter(|rest| !rest.is_empty())
            .map(str::to_owned);
        bare.unwrap_or(version)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::ports::Grown;

    use super::*;

    fn mapping(signals: &str) -> Mapping {
        let spec = format!("{{\"signals\":{signals}}}");
        let observe: ObserveSpec = serde_json::from_str(&spec).unwrap();
        Mapping::of(&"shop".parse().unwrap(), &observe)
    }

    fn grown(labels: &[(&str, &str)]) -> Growth {
        let labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        Growth {
            series: vec![Grown { labels, by: 7 }],
            whole: true,
        }
    }

    #[test]
    fn a_preset_fills_what_is_not_given_and_gives_way_to_what_is() {
        let envoy = mapping(r#"{"from":"envoy"}"#);
        assert_eq!(
            envoy.requests,
            "envoy_cluster_upstream_rq_xx{envoy_cluster_name=~\"shop[-_].+\"}"
        );
        assert!((envoy.labels.second - 1e3).abs() < 1e-9);
        let own = mapping(
            r#"{"from":"nginx","requests":{"selector":"nginx_http_requests_total{host=\"shop\"}",
                "versionLabel":"version","codeLabel":"status"}}"#,
        );
        assert_eq!(own.requests, "nginx_http_requests_total{host=\"shop\"}");
        assert_eq!(
            (own.labels.version.as_str(), own.labels.code.as_str()),
            ("version", "status")
        );
        assert_eq!(mapping(r#"{"from":"haproxy"}"#).buckets, None);
    }

    #[test]
    fn the_name_of_a_cluster_without_that_of_the_service_is_the_version() {
        let envoy = mapping(r#"{"from":"envoy"}"#);
        let mut growth = grown(&[("envoy_cluster_name", "shop-v2")]);
        envoy.name_requests(&mut growth, &BTreeMap::new());
        assert_eq!(growth.series[0].labels["envoy_cluster_name"], "v2");
    }

    #[test]
    fn a_version_is_joined_by_instance_and_an_unknown_instance_has_none() {
        let joined = mapping(r#"{"version":{"selector":"shop_build_info"}}"#);
        let info = grown(&[("instance", "h:1"), ("version", "v2")]);
        let versions = joined.versions(&info);
        let mut known = grown(&[("instance", "h:1"), ("code", "200")]);
        joined.name_requests(&mut known, &versions);
        assert_eq!(known.series[0].labels["version"], "v2");
        let mut unknown = grown(&[("instance", "h:9"), ("version", "v1")]);
        joined.name_buckets(&mut unknown, &versions);
        assert_eq!(unknown.series[0].labels.get("version"), None);
    }
}
