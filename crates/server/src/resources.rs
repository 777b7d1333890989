//! Declared resources: apply, list, get, delete, and their schemas.

mod checks;
mod leaving;

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use mainstay_change::{
    Machine as _,
    freeze::{self, Freeze},
};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, Hash, Kind,
    Name, NewEntry, Resource, ServiceName,
    catalog::FreezeSpec,
    change::{Plan, change_stream},
    ports::Tables,
    resource::{APPLIED, DELETED},
};
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    App,
    actions::Reason,
    changes::{moved_entry, open_entry},
    extract::{Asked, Sent},
    problem::{Place, Problem, unreadable},
};
use checks::{check_catalog, check_monitors, check_named, check_oncall, check_shape, refused};
use leaving::may_let_go;

/// Rows asked for at once.
const PAGE: usize = 1_000;
/// The code of what a spec or the whole catalog cannot hold.
const INVALID: &str = "invalid-resource";
/// Services named in a blast radius: a whole site is `instances` alone.
const NAMED_SERVICES_MAX: usize = 50;

/// A row of the `resources` table.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    resource: Resource,
    version: u64,
    at: i64,
    actor: Actor,
}

/// Resources to declare together, or not at all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// What to declare.
    pub resources: Vec<Resource>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Check and compare, but write nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// `created`, `configured` or `unchanged`.
    pub outcome: String,
    /// What it was before, in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Resource>,
}

/// What became of all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyResponse {
    /// The change in the ledger; none when nothing changed.
    pub change: Option<ChangeId>,
    /// One line a resource.
    pub results: Vec<Applied>,
}

/// The JSON Schema of a kind's spec.
pub fn schema(kind: Kind) -> Schema {
    use mainstay_core::{
        catalog::{FabricSpec, FreezeSpec, HostSpec, RolloutPolicySpec, ServiceSpec},
        escalation::EscalationPolicySpec,
        monitor::MonitorSpec,
        oncall::{ResponderSpec, ScheduleSpec},
    };
    match kind {
        Kind::Fabric => schemars::schema_for!(FabricSpec),
        Kind::Host => schemars::schema_for!(HostSpec),
        Kind::Service => schemars::schema_for!(ServiceSpec),
        Kind::RolloutPolicy => schemars::schema_for!(RolloutPolicySpec),
        Kind::Guard => schemars::schema_for!(mainstay_core::guard::GuardSpec),
        Kind::Freeze => schemars::schema_for!(FreezeSpec),
        Kind::Monitor => schemars::schema_for!(MonitorSpec),
        Kind::EscalationPolicy => schemars::schema_for!(EscalationPolicySpec),
        Kind::Responder => schemars::schema_for!(ResponderSpec),
        Kind::Schedule => schemars::schema_for!(ScheduleSpec),
    }
}

/// What is declared of a kind, in the order of names; why it cannot be read in a sentence.
pub async fn declared(tables: &dyn Tables, kind: Kind) -> Result<Vec<Resource>, String> {
    let rows = rows(tables, kind).await.map_err(Problem::into_title)?;
    Ok(rows.into_values().map(|row| row.resource).collect())
}

/// `GET /api/v1/schemas/KIND`.
pub(crate) async fn get_schema(Path(kind): Path<String>) -> Result<Json<Schema>, Problem> {
    Ok(Json(schema(parse_kind(&kind)?)))
}

/// `GET /api/v1/resources/KIND`: an array in the order of names.
pub(crate) async fn list(
    State(app): State<App>,
    Asked(Path(kind)): Asked<Path<String>>,
) -> Result<Json<Vec<Value>>, Problem> {
    let rows = rows(&*app.tables, parse_kind(&kind)?).await?;
    Ok(Json(rows.into_values().map(with_status).collect()))
}

/// `GET /api/v1/resources/KIND/NAME`.
pub(crate) async fn get(
    State(app): State<App>,
    Asked(Path((kind, name))): Asked<Path<(String, Name)>>,
) -> Result<Json<Value>, Problem> {
    let kind = parse_kind(&kind)?;
    let row = row(&app, kind, &name)
        .await?
        .ok_or_else(|| unknown(kind, &name))?;
    Ok(Json(with_status(row)))
}

/// `POST /api/v1/resources/KIND/NAME/delete`.
pub(crate) async fn delete(
    State(app): State<App>,
    Asked(Path((kind, name))): Asked<Path<(String, Name)>>,
    Extension(actor): Extension<Actor>,
    Sent(reason): Sent<Option<Json<Reason>>>,
) -> Result<Json<Value>, Problem> {
    let reason = reason.map(|Json(it)| it.reason).unwrap_or_default();
    let kind = parse_kind(&kind)?;
    let row = row(&app, kind, &name)
        .await?
        .ok_or_else(|| unknown(kind, &name))?;
    let mut all = everything(&app).await?;
    let before = all.clone();
    all.remove(&(kind, name.clone()));
    check_catalog(&all)?;
    may_let_go(&app, &before, &all).await?;
    let change = opened(
        &app,
        &actor,
        format!("delete {kind} {name}"),
        reason.clone(),
        std::slice::from_ref(&row.resource),
    );
    let mut entries = vec![entry_of(DELETED, &row.resource)];
    let mut expected = vec![Expected {
        stream: row.resource.stream(),
        version: row.version,
    }];
    if kind == Kind::Freeze {
        let (lifted, seen) = lift(&app, &row, &actor, &reason).await?;
        entries.extend(lifted);
        expected.extend(seen);
    }
    commit(&app, actor, &change, entries, expected).await?;
    Ok(Json(json!({ "change": change.id })))
}

/// `POST /api/v1/apply`.
pub(crate) async fn apply(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Sent(Json(request)): Sent<Json<ApplyRequest>>,
) -> Result<Json<ApplyResponse>, Problem> {
    check_shape(&app, &request)?;
    let current = everything(&app).await?;
    let mut wanted = current.clone();
    for resource in &request.resources {
        wanted.insert(key(resource), resource.clone());
    }
    check_catalog(&wanted)?;
    check_named(&request.resources, &wanted)?;
    check_monitors(&app, &request.resources, &wanted)?;
    check_oncall(&app, &request.resources, &wanted)?;
    may_let_go(&app, &current, &wanted).await?;
    let results: Vec<Applied> = request
        .resources
        .iter()
        .map(|resource| compare(resource, &current, request.dry_run))
        .collect();
    for (resource, result) in request.resources.iter().zip(&results) {
        if resource.kind == Kind::Freeze && result.outcome == "configured" {
            let place = Place {
                resource: label(resource),
                field: "spec".to_owned(),
                what: "a freeze holds as it was declared".to_owned(),
                remedy: "delete it and declare another".to_owned(),
            };
            return Err(refused(StatusCode::CONFLICT, "freeze", vec![place]));
        }
    }
    let changed: Vec<Resource> = request
        .resources
        .iter()
        .zip(&results)
        .filter(|(_, result)| result.outcome != "unchanged")
        .map(|(resource, _)| resource.clone())
        .collect();
    if request.dry_run || changed.is_empty() {
        return Ok(Json(ApplyResponse {
            change: None,
            results,
        }));
    }
    let title = match &changed[..] {
        [only] => format!("apply {} {}", only.kind, only.metadata.name),
        several => format!("apply {} resources", several.len()),
    };
    let change = opened(&app, &actor, title, request.reason, &changed);
    let mut expected = Vec::with_capacity(changed.len());
    for resource in &changed {
        expected.push(Expected {
            stream: resource.stream(),
            version: stream_version(&app, resource).await?,
        });
    }
    let mut entries: Vec<NewEntry> = changed
        .iter()
        .map(|resource| entry_of(APPLIED, resource))
        .collect();
    for (resource, seen) in changed.iter().zip(expected.clone()) {
        if resource.kind == Kind::Freeze {
            let frozen = freeze(resource, seen.version + 1, &change)?;
            expected.push(Expected {
                stream: frozen.stream(),
                version: 0,
            });
            entries.push(open_entry(&frozen));
        }
    }
    commit(&app, actor, &change, entries, expected).await?;
    Ok(Json(ApplyResponse {
        change: Some(change.id),
        results,
    }))
}

/// The change that a newly declared freeze is: the runtime walks it from here on.
fn freeze(resource: &Resource, version: u64, apply: &Change) -> Result<Change, Problem> {
    let name = &resource.metadata.name;
    let spec = FreezeSpec::deserialize(&resource.spec)
        .map_err(|error| unreadable(&label(resource), &error))?;
    let id = freeze::change_id(name, version).map_err(|error| {
        let place = Place {
            resource: label(resource),
            field: "metadata.name".to_owned(),
            what: error.to_string(),
            remedy: "choose a shorter name".to_owned(),
        };
        refused(StatusCode::UNPROCESSABLE_ENTITY, INVALID, vec![place])
    })?;
    Freeze::open(spec.clone(), apply.opened_at).map_err(|refusal| {
        let place = Place {
            resource: label(resource),
            field: format!("spec.{}", refusal.signal),
            what: format!("{} where {} is needed", refusal.value, refusal.limit),
            remedy: refusal.remedy,
        };
        refused(StatusCode::UNPROCESSABLE_ENTITY, INVALID, vec![place])
    })?;
    Ok(Change {
        id,
        kind: ChangeKind::Freeze,
        title: format!("freeze {name}"),
        reason: spec.reason.chars().take(1_000).collect(),
        blast_radius: BlastRadius {
            services: spec
                .services
                .iter()
                .take(NAMED_SERVICES_MAX)
                .cloned()
                .collect(),
            ..BlastRadius::default()
        },
        plan: Plan {
            kind: Freeze::KIND.to_owned(),
            schema: Freeze::SCHEMA,
            body: json!(spec).to_string(),
        },
        ..apply.clone()
    })
}

/// What ends the freeze of `row` in its own stream, and the version of that stream it was read at.
async fn lift(
    app: &App,
    row: &Row,
    actor: &Actor,
    reason: &str,
) -> Result<(Vec<NewEntry>, Option<Expected>), Problem> {
    let Ok(id) = freeze::change_id(&row.resource.metadata.name, row.version) else {
        return Ok((Vec::new(), None));
    };
    let stream = change_stream(&id);
    let entries = app.ledger.stream(&stream).await?;
    let reason = match reason.trim() {
        "" => "its resource was deleted",
        given => given,
    };
    let lifted =
        freeze::lift_entries(&entries, app.clock.now(), actor, reason).map_err(|refusal| {
            Problem::new(
                StatusCode::CONFLICT,
                "freeze",
                refusal.to_string(),
                refusal.remedy,
            )
        })?;
    let seen = Expected {
        stream,
        version: entries.len() as u64,
    };
    Ok((lifted, Some(seen)))
}

fn compare(
    resource: &Resource,
    current: &BTreeMap<(Kind, Name), Resource>,
    dry_run: bool,
) -> Applied {
    let before = current.get(&key(resource));
    let outcome = match before {
        None => "created",
        Some(before) if before == resource => "unchanged",
        Some(_) => "configured",
    };
    Applied {
        kind: resource.kind,
        name: resource.metadata.name.clone(),
        outcome: outcome.to_owned(),
        before: before.filter(|_| dry_run).cloned(),
    }
}

fn opened(
    app: &App,
    actor: &Actor,
    title: String,
    reason: String,
    resources: &[Resource],
) -> Change {
    let mut services: Vec<ServiceName> = resources
        .iter()
        .filter(|resource| resource.kind == Kind::Service)
        .filter_map(|resource| resource.metadata.name.as_str().parse().ok())
        .collect();
    services.truncate(NAMED_SERVICES_MAX);
    let digest = Hash::of(&[json!(resources).to_string().as_bytes()]);
    Change {
        id: (app.next_change_id)(),
        kind: ChangeKind::Apply,
        actor: actor.clone(),
        reason: reason.chars().take(1_000).collect(),
        title,
        blast_radius: BlastRadius {
            services,
            ..BlastRadius::default()
        },
        emergency: None,
        opened_at: app.clock.now(),
        deadline: None,
        plan: Plan {
            kind: "server.apply".to_owned(),
            schema: 1,
            body: json!({ "resources": resources.len(), "sha256": digest }).to_string(),
        },
    }
}

/// Opens `change`, writes `entries`, and closes it, in one append: declared or not at all.
async fn commit(
    app: &App,
    actor: Actor,
    change: &Change,
    entries: Vec<NewEntry>,
    mut expected: Vec<Expected>,
) -> Result<(), Problem> {
    let count = entries.len();
    let mut all = vec![open_entry(change)];
    all.extend(entries);
    all.push(moved_entry(
        change,
        ChangeState::Done,
        &format!("{count} declared in this entry's own transaction"),
    ));
    expected.push(Expected {
        stream: change.stream(),
        version: 0,
    });
    app.ledger
        .append(Append {
            actor,
            at: change.opened_at,
            expected,
            entries: all,
        })
        .await?;
    Ok(())
}

fn entry_of(kind: &str, resource: &Resource) -> NewEntry {
    NewEntry {
        stream: resource.stream(),
        kind: kind.to_owned(),
        schema: 1,
        body: json!(resource).to_string(),
    }
}

/// A deleted resource has no row, but its stream goes on.
async fn stream_version(app: &App, resource: &Resource) -> Result<u64, Problem> {
    if let Some(row) = row(app, resource.kind, &resource.metadata.name).await? {
        return Ok(row.version);
    }
    Ok(app
        .ledger
        .stream(&resource.stream())
        .await?
        .last()
        .map_or(0, |entry| entry.version))
}

async fn row(app: &App, kind: Kind, name: &Name) -> Result<Option<Row>, Problem> {
    let key = format!("{kind}/{name}");
    let Some(body) = app.tables.get("resources", &key).await? else {
        return Ok(None);
    };
    serde_json::from_str(&body)
        .map(Some)
        .map_err(|error| unreadable(&key, &error))
}

async fn rows(tables: &dyn Tables, kind: Kind) -> Result<BTreeMap<Name, Row>, Problem> {
    let prefix = format!("{kind}/");
    let mut after = String::new();
    let mut all = BTreeMap::new();
    loop {
        let page = tables.list("resources", &prefix, &after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        after.clone_from(last);
        for (key, body) in &page {
            let row: Row = serde_json::from_str(body).map_err(|error| unreadable(key, &error))?;
            all.insert(row.resource.metadata.name.clone(), row);
        }
    }
}

async fn everything(app: &App) -> Result<BTreeMap<(Kind, Name), Resource>, Problem> {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        for (name, row) in rows(&*app.tables, kind).await? {
            all.insert((kind, name), row.resource);
        }
    }
    Ok(all)
}

fn with_status(row: Row) -> Value {
    let mut value = json!(row.resource);
    value["status"] =
        json!({ "version": row.version, "appliedAt": row.at, "appliedBy": row.actor });
    value
}

fn key(resource: &Resource) -> (Kind, Name) {
    (resource.kind, resource.metadata.name.clone())
}

fn label(resource: &Resource) -> String {
    format!("{}/{}", resource.kind, resource.metadata.name)
}

fn parse_kind(text: &str) -> Result<Kind, Problem> {
    text.parse()
        .map_err(|error: mainstay_core::resource::UnknownKind| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-kind",
                error.to_string(),
                "use one of the known kinds",
            )
        })
}

fn unknown(kind: Kind, name: &Name) -> Problem {
    let title = format!("there is no {kind} `{name}`");
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-resource",
        title,
        format!("list them with `mainstay get {}`", kind.plural()),
    )
}
