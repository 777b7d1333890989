//! What is asked of an apply before anything is written: of each spec by itself, and of the catalog as a whole.
//!
//! Guarantees: every flaw is told at once, each with resource, field, what is wrong and the remedy. A spec that was
//! declared before this version refused its like stands in nobody's way: only what is declared now is asked whether
//! it can ever hold.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use mainstay_core::{
    Kind, Name, Resource, ServiceName, catalog::Spec, graph::Catalog, resource::API_VERSION,
};

use super::{ApplyRequest, INVALID, key, label};
use crate::{
    App, monitors, oncall,
    problem::{Place, Problem, unreadable},
};

/// Most resources in one apply.
const APPLY_MAX: usize = 4_000;

/// Each spec by itself.
pub(super) fn check_shape(app: &App, request: &ApplyRequest) -> Result<(), Problem> {
    if request.resources.is_empty() || request.resources.len() > APPLY_MAX {
        let title = format!(
            "{} resources; an apply takes 1 to {APPLY_MAX}",
            request.resources.len()
        );
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-apply",
            title,
            "split it",
        ));
    }
    let mut places = Vec::new();
    let mut seen = BTreeMap::new();
    for (at, resource) in request.resources.iter().enumerate() {
        if resource.api_version != API_VERSION {
            places.push(Place {
                resource: label(resource),
                field: "apiVersion".to_owned(),
                what: format!("`{}` is not known", resource.api_version),
                remedy: format!("write `{API_VERSION}`"),
            });
        }
        places.extend(spec_flaws(app, resource));
        if seen.insert(key(resource), at).is_some() {
            places.push(Place {
                resource: label(resource),
                field: "metadata.name".to_owned(),
                what: "declared twice in this apply".to_owned(),
                remedy: "keep one of them".to_owned(),
            });
        }
    }
    refuse(places)
}

/// What keeps a spec from being read, or from ever holding.
fn spec_flaws(app: &App, resource: &Resource) -> Vec<Place> {
    let place = |field: String, what: String, remedy: String| Place {
        resource: label(resource),
        field,
        what,
        remedy,
    };
    let spec = match Spec::decode(resource.kind, &resource.spec) {
        Ok(spec) => spec,
        Err(error) => {
            let kind = resource.kind.as_str().to_lowercase();
            let remedy = format!("`mainstay explain {kind}` lists the fields");
            return vec![place("spec".to_owned(), error.to_string(), remedy)];
        }
    };
    let flaws = spec.flaws().into_iter();
    let mut places: Vec<Place> = flaws
        .map(|flaw| place(format!("spec.{}", flaw.field), flaw.what, flaw.remedy))
        .collect();
    if let Spec::Guard(guard) = &spec
        && let Err(wrong) = app.queries.check(&guard.expr)
    {
        let remedy = "try it with `mainstay promql check` or `mainstay query`; a guard needs numbers, such as \
                      `sum(rate(errors_total[1m]))`";
        places.push(place("spec.expr".to_owned(), wrong, remedy.to_owned()));
    }
    if let Spec::EscalationPolicy(policy) = &spec {
        let flaws = app.incidents.flaws(&resource.metadata.name, policy);
        places.extend(
            flaws
                .into_iter()
                .map(|flaw| place(format!("spec.{}", flaw.field), flaw.what, flaw.remedy)),
        );
    }
    places
}

/// The catalog as a whole, which `all` would make it.
pub(super) fn check_catalog(all: &BTreeMap<(Kind, Name), Resource>) -> Result<(), Problem> {
    let mut catalog = Catalog::default();
    for ((kind, name), resource) in all {
        let spec = Spec::decode(*kind, &resource.spec)
            .map_err(|error| unreadable(&label(resource), &error))?;
        match spec {
            Spec::Fabric(_) => catalog.fabrics.push(name.clone()),
            Spec::RolloutPolicy(_) => catalog.policies.push(name.clone()),
            Spec::Host(host) => {
                if let Ok(name) = name.as_str().parse() {
                    catalog.hosts.insert(name, host);
                }
            }
            Spec::Service(service) => {
                if let Ok(name) = name.as_str().parse() {
                    catalog.services.insert(name, *service);
                }
            }
            Spec::Responder(_) => catalog.responders.push(name.clone()),
            Spec::Schedule(schedule) => {
                catalog.schedules.insert(name.clone(), schedule);
            }
            Spec::Guard(_) | Spec::Freeze(_) | Spec::Monitor(_) | Spec::EscalationPolicy(_) => {}
        }
    }
    let places = catalog.flaws().into_iter().map(|flaw| Place {
        resource: format!("{}/{}", flaw.kind, flaw.name),
        field: flaw.field,
        what: flaw.what,
        remedy: flaw.remedy,
    });
    refuse(places.collect())
}

/// A freeze or a guard that is declared names services there are: one for a service that is not would hold nothing.
pub(super) fn check_named(
    declared: &[Resource],
    all: &BTreeMap<(Kind, Name), Resource>,
) -> Result<(), Problem> {
    let mut places = Vec::new();
    for resource in declared {
        let named = match Spec::decode(resource.kind, &resource.spec) {
            Ok(Spec::Freeze(spec)) => {
                let excepted = spec.exceptions.into_iter().flat_map(|it| it.services);
                spec.services.into_iter().chain(excepted).collect()
            }
            Ok(Spec::Guard(spec)) => spec.services,
            // A monitor is looked at by whoever judges it.
            Ok(
                Spec::Fabric(_)
                | Spec::Host(_)
                | Spec::Service(_)
                | Spec::RolloutPolicy(_)
                | Spec::Monitor(_)
                | Spec::Responder(_)
                | Spec::Schedule(_)
                | Spec::EscalationPolicy(_),
            )
            | Err(_) => continue,
        };
        let is_known = |service: &ServiceName| {
            let name = Name::new(service.as_str());
            name.is_ok_and(|name| all.contains_key(&(Kind::Service, name)))
        };
        let unknown = named.into_iter().filter(|it| !is_known(it));
        places.extend(unknown.map(|service| Place {
            resource: label(resource),
            field: "spec.services".to_owned(),
            what: format!("there is no service `{service}`"),
            remedy: "correct the name, or declare the service with it".to_owned(),
        }));
    }
    refuse(places)
}

/// A monitor that is declared can be judged.
pub(super) fn check_monitors(
    app: &App,
    declared: &[Resource],
    all: &BTreeMap<(Kind, Name), Resource>,
) -> Result<(), Problem> {
    let places = declared.iter().flat_map(|resource| {
        let flaws = monitors::flaws(app, resource, all).into_iter();
        flaws.map(|(field, what, remedy)| Place {
            resource: label(resource),
            field,
            what,
            remedy: remedy.to_owned(),
        })
    });
    refuse(places.collect())
}

/// A responder that is declared can be reached, and a schedule reckoned.
pub(super) fn check_oncall(
    app: &App,
    declared: &[Resource],
    all: &BTreeMap<(Kind, Name), Resource>,
) -> Result<(), Problem> {
    let places = declared.iter();
    refuse(places.flat_map(|it| oncall::flaws(app, it, all)).collect())
}

fn refuse(places: Vec<Place>) -> Result<(), Problem> {
    if places.is_empty() {
        return Ok(());
    }
    Err(refused(StatusCode::UNPROCESSABLE_ENTITY, INVALID, places))
}

/// The problem that these places are; its title and remedy are those of the first.
pub(super) fn refused(status: StatusCode, code: &'static str, places: Vec<Place>) -> Problem {
    let (title, remedy) = places.first().map_or_else(Default::default, |first| {
        let title = format!("{} {}: {}", first.resource, first.field, first.what);
        (title, first.remedy.clone())
    });
    Problem::new(status, code, title, remedy).at(places)
}
