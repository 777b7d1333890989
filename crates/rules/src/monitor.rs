//! Monitors: an expectation over every entity of the catalog, judged as tests are.
//!
//! Guarantees: every selected entity gets a verdict each time, also one that no series ever named; what is not a
//! number keeps to no limit; a series that names no selected entity is counted, never dropped in silence. Pure:
//! entities and series in, verdicts out. **Never** passes where there is nothing to judge: a monitor that selects
//! no entity is as red as one without data.
//!
//! ```
//! use mainstay_core::{Metadata, Name, Time, monitor::EntityKind};
//! use mainstay_promql::QueryResult;
//! use mainstay_rules::monitor::{Entity, Monitor, MonitorRun, Standing};
//! let spec = serde_json::from_value(serde_json::json!(
//!     {"every": {"kind": "host"}, "expr": "node_load1", "op": "<", "limit": 8}
//! ))?;
//! let metadata = Metadata { name: Name::new("load")?, labels: Default::default() };
//! let mut run = MonitorRun::new(Monitor::new(metadata, spec));
//! let hosts = [Entity::new(EntityKind::Host, "lax-1")];
//! run.observe(Time::from_millis(0), &hosts, |_| Ok(QueryResult::Vector(Vec::new())));
//! assert_eq!(run.standing(), Standing::NoData);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod coverage;
mod run;
#[cfg(test)]
mod tests;
mod track;

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    FabricName, Metadata, Name, ServiceName,
    guard::Bound,
    monitor::{EntityKind, EverySpec, MonitorSpec},
};
use mainstay_promql::{Error, InstantSeries, Query, ast::ValueType};

pub use coverage::{Coverage, coverage};
pub use run::{MonitorError, MonitorRun, Standing, WATCHED_MAX};
pub use track::{FLAPPING_WITHIN, FLAPS_MIN, RED_LONG, Track};

/// One of the things that a catalog holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Of which kind.
    pub kind: EntityKind,
    /// What it is called, in the catalog and in labels.
    pub name: String,
    /// The labels of its metadata; an instance has those of its service.
    pub labels: BTreeMap<String, String>,
    /// The service that an instance belongs to.
    pub service: Option<ServiceName>,
    /// The fabric that an instance or a host stands in.
    pub fabric: Option<FabricName>,
}

impl Entity {
    /// One of which nothing but the name is known.
    pub fn new(kind: EntityKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            labels: BTreeMap::new(),
            service: None,
            fabric: None,
        }
    }

    fn is_selected_by(&self, every: &EverySpec) -> bool {
        let named = |names: &[String]| names.contains(&self.name);
        let service = match self.kind {
            EntityKind::Service => Some(self.name.as_str()),
            EntityKind::Instance | EntityKind::Host | EntityKind::Fabric => {
                self.service.as_ref().map(ServiceName::as_str)
            }
        };
        let fabric = match self.kind {
            EntityKind::Fabric => Some(self.name.as_str()),
            EntityKind::Service | EntityKind::Instance | EntityKind::Host => {
                self.fabric.as_ref().map(FabricName::as_str)
            }
        };
        let mut labels = every.labels.iter();
        self.kind == every.kind
            && (every.names.is_empty() || named(&every.names))
            && !named(&every.except)
            && labels.all(|(name, value)| self.labels.get(name) == Some(value))
            && is_among(service, &every.services)
            && is_among(fabric, &every.fabrics)
    }
}

/// Whether it is one of them, or any will do.
fn is_among<T: AsRef<str>>(one: Option<&str>, all: &[T]) -> bool {
    all.is_empty() || one.is_some_and(|one| all.iter().any(|it| it.as_ref() == one))
}

/// What is found of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All its values keep to the limit.
    Pass,
    /// One does not.
    Fail,
    /// It has no value.
    NoData,
}

impl Verdict {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoData => "no-data",
        }
    }

    /// Whether somebody has to look.
    pub fn is_red(self) -> bool {
        match self {
            Self::Pass => false,
            Self::Fail | Self::NoData => true,
        }
    }
}

/// The verdict on one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which.
    pub entity: Entity,
    /// Whether it is in the catalog, or only named by the monitor.
    pub is_declared: bool,
    /// What is found.
    pub verdict: Verdict,
    /// The value that decides: of several the worst.
    pub value: Option<f64>,
}

/// A declared monitor, ready to judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// Its name and labels.
    pub metadata: Metadata,
    /// What it expects.
    pub spec: MonitorSpec,
    query: Result<Query, Error>,
}

impl Monitor {
    /// One with this expectation; an expression that is none is told by each evaluation.
    pub fn new(metadata: Metadata, spec: MonitorSpec) -> Self {
        Self {
            query: Query::parse(spec.expr.as_str()),
            metadata,
            spec,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.metadata.name
    }

    /// Whether it watches `entity`.
    pub fn watches(&self, entity: &Entity) -> bool {
        entity.is_selected_by(&self.spec.every)
    }

    /// Those it watches of the catalog.
    fn selected<'a>(&self, entities: &'a [Entity]) -> impl Iterator<Item = &'a Entity> {
        entities.iter().filter(|it| self.watches(it))
    }

    /// Those it names that are not in the catalog.
    fn missing(&self, entities: &[Entity]) -> Vec<Entity> {
        let every = &self.spec.every;
        let known: BTreeSet<&str> = entities
            .iter()
            .filter(|it| it.kind == every.kind)
            .map(|it| it.name.as_str())
            .collect();
        let named = every.names.iter();
        named
            .filter(|name| !known.contains(name.as_str()) && !every.except.contains(name))
            .map(|name| Entity::new(every.kind, name))
            .collect()
    }

    /// All it watches, and whether each is in the catalog.
    fn watched(&self, entities: &[Entity]) -> Vec<(Entity, bool)> {
        let selected = self.selected(entities).map(|it| (it.clone(), true));
        let missing = self.missing(entities).into_iter().map(|it| (it, false));
        selected.chain(missing).collect()
    }

    /// A verdict on each watched entity, in the order of names, and how many series name none of them.
    fn judge(
        &self,
        watched: Vec<(Entity, bool)>,
        series: &[InstantSeries],
    ) -> (Vec<Finding>, usize) {
        let mut values: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        let mut strangers = 0;
        // A histogram is no number to judge.
        for one in series.iter().filter(|it| it.histogram.is_none()) {
            let value = one.sample.value;
            match one.labels.get(self.spec.label()) {
                Some(name) => {
                    let (worst, series) = values.entry(name).or_insert((value, 0));
                    *worst = worse(self.spec.op, *worst, value);
                    *series += 1;
                }
                None => strangers += 1,
            }
        }
        let mut findings: Vec<Finding> = watched
            .into_iter()
            .map(|(entity, is_declared)| {
                let value = values.remove(entity.name.as_str()).map(|(worst, _)| worst);
                let verdict = match value {
                    None => Verdict::NoData,
                    Some(value) if self.spec.op.holds(value, self.spec.limit) => Verdict::Pass,
                    Some(_) => Verdict::Fail,
                };
                Finding {
                    entity,
                    is_declared,
                    verdict,
                    value,
                }
            })
            .collect();
        findings.sort_by(|a, b| a.entity.name.cmp(&b.entity.name));
        strangers += values
            .into_values()
            .map(|(_, series)| series)
            .sum::<usize>();
        (findings, strangers)
    }
}

/// The one of two values that is further from keeping to a limit.
fn worse(op: Bound, one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() {
        return f64::NAN;
    }
    match op {
        Bound::Below | Bound::AtMost => one.max(other),
        Bound::Above | Bound::AtLeast => one.min(other),
    }
}

/// What is wrong with an expression that is to give a value of each entity.
pub fn check(expr: &str) -> Result<(), String> {
    let query = Query::parse(expr).map_err(|error| error.to_string())?;
    match query.expr().value_type() {
        ValueType::Vector => Ok(()),
        ValueType::Scalar | ValueType::String | ValueType::Matrix => {
            Err("it gives no series with one value each".to_owned())
        }
    }
}
