//! Monitors over HTTP: how each stands now, and whether what is declared can be judged at all.
//!
//! Guarantees: an answer is of a round that began after the question; a monitor whose expression is none, or whose
//! selector can choose nothing, is refused when it is declared.
//!
//! ```text
//! curl http://127.0.0.1:7070/api/v1/monitors
//! ```

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use mainstay_core::{
    Kind, Name, Resource,
    catalog::Spec,
    monitor::{EntityKind, EverySpec, MonitorSpec},
    ports::BoxFuture,
};
use serde_json::Value;

use crate::{App, problem::Problem};

/// What judges monitors.
pub trait Monitors: Send + Sync {
    /// Judges all of them now; why not in a sentence.
    fn report(&self) -> BoxFuture<'_, Result<Value, String>>;
    /// What is wrong with an expression that is to give a value of each entity.
    fn check(&self, expr: &str) -> Result<(), String>;
}

/// `GET /api/v1/monitors`.
pub(crate) async fn report(State(app): State<App>) -> Result<Json<Value>, Problem> {
    app.monitors.report().await.map(Json).map_err(|why| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "monitors-unavailable",
            why,
            "try again in a moment",
        )
    })
}

/// Something wrong with a monitor: the field, what, and what would mend it.
pub(crate) type Flaw = (String, String, &'static str);

/// What keeps a declared monitor from ever being judged.
pub(crate) fn flaws(
    app: &App,
    resource: &Resource,
    all: &BTreeMap<(Kind, Name), Resource>,
) -> Vec<Flaw> {
    let Ok(Spec::Monitor(spec)) = Spec::decode(resource.kind, &resource.spec) else {
        return Vec::new();
    };
    let MonitorSpec { every, expr, .. } = &*spec;
    let mut flaws = Vec::new();
    if let Err(what) = app.monitors.check(expr) {
        let remedy = "give PromQL with one series or more of each entity, labelled with its name";
        flaws.push(("spec.expr".to_owned(), what, remedy));
    }
    for name in resource.metadata.labels.keys() {
        if name.is_empty() || name == "__name__" {
            let what =
                format!("`{name}` is no name for a label, and alerts carry those of their monitor");
            flaws.push(("metadata.labels".to_owned(), what, "give it another name"));
        }
    }
    flaws.extend(misplaced(every));
    flaws.extend(unknown(every, all));
    flaws
}

/// Parts of a selector by which entities of its kind cannot be told apart.
fn misplaced(every: &EverySpec) -> Vec<Flaw> {
    let (has_services, has_fabrics) = match every.kind {
        EntityKind::Service => (true, false),
        EntityKind::Instance => (true, true),
        EntityKind::Host | EntityKind::Fabric => (false, true),
    };
    let parts = [
        ("services", every.services.is_empty() || has_services),
        ("fabrics", every.fabrics.is_empty() || has_fabrics),
    ];
    let wrong = parts.into_iter().filter(|(_, holds)| !holds);
    wrong
        .map(|(part, _)| {
            let what = format!("a {} belongs to none of the {part}", every.kind.as_str());
            (format!("spec.every.{part}"), what, "leave it out")
        })
        .collect()
}

/// Names that are in no catalog: a monitor of them would be red for ever.
fn unknown(every: &EverySpec, all: &BTreeMap<(Kind, Name), Resource>) -> Vec<Flaw> {
    let services = every.services.iter().map(AsRef::as_ref);
    let services = services.map(|it: &str| ("services", Kind::Service, it));
    let fabrics = every.fabrics.iter().map(AsRef::as_ref);
    let fabrics = fabrics.map(|it: &str| ("fabrics", Kind::Fabric, it));
    let names = every.kind.declared_as().into_iter().flat_map(|kind| {
        let names = every.names.iter();
        names.map(move |name| ("names", kind, name.as_str()))
    });
    let is_unknown = |(_, kind, name): &(&str, Kind, &str)| {
        let name = Name::new(name);
        !name.is_ok_and(|name| all.contains_key(&(*kind, name)))
    };
    let unknown = services.chain(fabrics).chain(names).filter(is_unknown);
    unknown
        .map(|(part, kind, name)| {
            let kind = kind.as_str().to_lowercase();
            let what = format!("there is no {kind} `{name}`");
            let remedy = "correct the name, or declare it in the same apply";
            (format!("spec.every.{part}"), what, remedy)
        })
        .collect()
}
