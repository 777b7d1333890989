//! A monitor at work: its verdicts, how each entity stood before, and its alerts.

use std::collections::BTreeMap;

use mainstay_core::{
    Span, Time,
    monitor::{EntityKind, Unit},
};
use mainstay_promql::{Error, Labels, Query, QueryResult};

use super::{Entity, Finding, Monitor, Track, Verdict};
use crate::alert::{Alerts, Holding};

/// Entities that all monitors may watch together; what is kept of each is a few hundred bytes.
pub const WATCHED_MAX: usize = 200_000;
/// Of the entities of a noisy monitor so large a share is red for long.
const NOISY_SHARE: f64 = 0.5;

/// Why a monitor has no verdict.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MonitorError {
    /// Its expression cannot be evaluated.
    #[error(transparent)]
    Query(#[from] Error),
    /// Its expression gives no series with one value each.
    #[error("the expression gives no series with one value each")]
    NotAVector,
    /// There is no room for its entities.
    #[error(
        "all monitors together may watch {limit} entities, and with this one it would be {found}"
    )]
    TooMany {
        /// How many it would be.
        found: usize,
        /// How many may be.
        limit: usize,
    },
}

/// How a monitor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every entity keeps to the limit.
    Pass,
    /// Some do not.
    Fail,
    /// Some have no value, or there is no entity to judge; the others keep to the limit.
    NoData,
    /// It could not be evaluated.
    Error,
}

impl Standing {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoData => "no-data",
            Self::Error => "error",
        }
    }
}

/// A monitor, and what is known of its entities.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorRun {
    /// The monitor.
    pub monitor: Monitor,
    /// Its entities by name.
    pub tracks: BTreeMap<String, Track>,
    /// Series that name none of them.
    pub strangers: usize,
    /// Its alerts.
    pub alerts: Alerts,
    /// Why it was not evaluated last.
    pub error: Option<MonitorError>,
}

impl MonitorRun {
    /// One that has seen nothing.
    pub fn new(monitor: Monitor) -> Self {
        Self {
            monitor,
            tracks: BTreeMap::new(),
            strangers: 0,
            alerts: Alerts::default(),
            error: None,
        }
    }

    /// Goes on as `monitor`. Another expectation knows nothing of the old one's verdicts; the alerts that no longer
    /// hold end.
    pub fn adopt(&mut self, monitor: Monitor) {
        if self.monitor != monitor {
            *self = Self {
                alerts: std::mem::take(&mut self.alerts),
                ..Self::new(monitor)
            };
        }
    }

    /// Judges its entities among `entities` by what `ask` gives for its expression. Where that is an error, verdicts
    /// and alerts stay as they were.
    pub fn observe(
        &mut self,
        now: Time,
        entities: &[Entity],
        ask: impl FnOnce(&Query) -> Result<QueryResult, Error>,
    ) {
        let watched = self.monitor.watched(entities);
        let asked = match &self.monitor.query {
            Ok(query) => ask(query),
            Err(error) => Err(error.clone()),
        };
        let series = match asked {
            Ok(QueryResult::Vector(series)) => Ok(series),
            Ok(QueryResult::Scalar(_) | QueryResult::String(_) | QueryResult::Matrix(_)) => {
                Err(MonitorError::NotAVector)
            }
            Err(error) => Err(error.into()),
        };
        match series {
            Ok(series) => {
                let (findings, strangers) = self.monitor.judge(watched, &series);
                self.strangers = strangers;
                self.error = None;
                self.keep(findings, now);
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Refuses to watch so many.
    pub fn refuse(&mut self, found: usize) {
        self.tracks.clear();
        self.error = Some(MonitorError::TooMany {
            found,
            limit: WATCHED_MAX,
        });
    }

    /// How many of `entities` it watches.
    pub fn reach(&self, entities: &[Entity]) -> usize {
        self.monitor.selected(entities).count() + self.monitor.missing(entities).len()
    }

    fn keep(&mut self, findings: Vec<Finding>, now: Time) {
        let mut before = std::mem::take(&mut self.tracks);
        self.tracks = findings
            .into_iter()
            .map(|finding| {
                let name = finding.entity.name.clone();
                let track = match before.remove(&name) {
                    Some(mut known) => {
                        known.observe(finding, now);
                        known
                    }
                    None => Track::new(finding, now),
                };
                (name, track)
            })
            .collect();
        let red = self.red().map(|it| self.holding(&it.finding)).collect();
        self.alerts
            .observe(now, red, self.monitor.spec.hold, Span::ZERO);
    }

    /// Ends its alerts: nobody declares it any more.
    pub fn end(&mut self, now: Time) {
        self.tracks.clear();
        self.alerts.observe(now, Vec::new(), Span::ZERO, Span::ZERO);
    }

    /// Those of its entities that are red.
    pub fn red(&self) -> impl Iterator<Item = &Track> {
        self.tracks
            .values()
            .filter(|it| it.finding.verdict.is_red())
    }

    /// How many have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.tracks.values();
        all.filter(|it| it.finding.verdict == verdict).count()
    }

    /// Those of its entities that flap.
    pub fn flapping(&self, now: Time) -> impl Iterator<Item = &Track> {
        self.tracks.values().filter(move |it| it.flaps(now))
    }

    /// How many are red for long.
    pub fn red_long(&self, now: Time) -> usize {
        self.red().filter(|it| it.is_red_long(now)).count()
    }

    /// Whether so many are red for so long that nobody looks at it any more.
    pub fn is_noisy(&self, now: Time) -> bool {
        let long = self.red_long(now);
        long > 0 && long as f64 >= NOISY_SHARE * self.tracks.len() as f64
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        if self.error.is_some() {
            Standing::Error
        } else if self.count(Verdict::Fail) > 0 {
            Standing::Fail
        } else if self.tracks.is_empty() || self.count(Verdict::NoData) > 0 {
            Standing::NoData
        } else {
            Standing::Pass
        }
    }

    fn holding(&self, finding: &Finding) -> Holding {
        let Monitor { metadata, spec, .. } = &self.monitor;
        let entity = &finding.entity;
        let service = entity.service.as_ref().map(AsRef::as_ref);
        let fabric = entity.fabric.as_ref().map(AsRef::as_ref);
        let place = [
            (EntityKind::Service, service),
            (EntityKind::Fabric, fabric),
            (entity.kind, Some(entity.name.as_str())),
        ];
        let place = place
            .into_iter()
            .filter_map(|(kind, name)| Some((kind.as_str(), name?)));
        let name = metadata.name.as_str();
        let declared = metadata.labels.iter();
        let labels: BTreeMap<&str, &str> = declared
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(place)
            .chain([("alertname", name), ("monitor", name)])
            .collect();
        let found = match finding.value {
            Some(value) => format!("is {}", in_unit(value, spec.unit)),
            None => "has no data".to_owned(),
        };
        let summary = format!(
            "{} {} {found}, and should be {} {}",
            entity.kind.as_str(),
            entity.name,
            spec.op.symbol(),
            in_unit(spec.limit, spec.unit)
        );
        let mut annotations = BTreeMap::from([("summary".to_owned(), summary)]);
        if !spec.remedy.is_empty() {
            annotations.insert("remedy".to_owned(), spec.remedy.clone());
        }
        Holding {
            labels: Labels::from_pairs(labels),
            annotations,
            value: finding.value.unwrap_or(f64::NAN),
        }
    }
}

/// A value as people read it.
pub(super) fn in_unit(value: f64, unit: Option<Unit>) -> String {
    match unit {
        Some(Unit::Seconds) if value >= 1.0 && value.is_finite() => {
            Span::from_secs(value as u64).to_string()
        }
        Some(Unit::Seconds) => format!("{value}s"),
        Some(Unit::Ratio) => format!("{:.1} %", value * 100.0),
        None => value.to_string(),
    }
}
