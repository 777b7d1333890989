//! Who is on call, over HTTP: now, by schedule, by person, as a calendar, and where nobody is.
//!
//! Guarantees: a responder whom nobody could reach and a schedule that cannot be reckoned are refused when they are
//! declared; an order is a change in the ledger before it is answered. Never reckons itself: whoever knows schedules
//! does.
//!
//! ```text
//! curl 'http://127.0.0.1:7070/api/v1/oncall?schedule=feed'
//! curl http://127.0.0.1:7070/api/v1/oncall/schedules/feed.ics
//! ```

use std::collections::BTreeMap;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstay_core::{
    Actor, Kind, Name, Resource, Time,
    catalog::Spec,
    flaw::SpecFlaw,
    oncall::Role,
    ports::{BoxFuture, Declined},
};
use serde::Deserialize;

use crate::{
    App,
    extract::{Asked, Queried},
    problem::{Place, Problem},
};

/// Largest order, in bytes: a calendar is one.
const ORDER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How a name ends that asks for a calendar.
const CALENDAR_ENDING: &str = ".ics";

/// What is asked besides the thing itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OncallAsked {
    /// At which instant; now where unset.
    pub at: Option<Instant>,
    /// From when.
    pub from: Option<Instant>,
    /// Until when.
    pub until: Option<Instant>,
    /// Only of this schedule.
    pub schedule: Option<Name>,
    /// Only of this role.
    pub role: Option<Role>,
    /// Of how severe an incident, such as `p0`.
    pub severity: Option<Name>,
}

/// An instant as a query writes it: RFC 3339, or milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Instant(pub Time);

impl TryFrom<String> for Instant {
    type Error = mainstay_core::TimeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let millis = text.parse().map(Time::from_millis);
        millis.or_else(|_| text.parse()).map(Self)
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum OncallOf {
    /// Who is on call, in every schedule or in one.
    Now,
    /// When nobody would answer.
    Gaps,
    /// The shifts of a schedule; its calendar where the name ends in `.ics`.
    Schedule(String),
    /// The shifts of a person; their calendar where the name ends in `.ics`.
    Person(String),
}

/// An answer about who is on call.
#[derive(Debug, Clone)]
pub enum OncallAnswer {
    /// JSON.
    Json(String),
    /// The text of a calendar.
    Calendar(String),
}

/// Knows who is on call.
pub trait Oncall: Send + Sync {
    /// What is wrong with a responder or a schedule, each with its field below `spec`; `responders` are those there are.
    fn flaws(&self, name: &Name, spec: &Spec, responders: &[Name]) -> Vec<SpecFlaw>;
    /// Answers a question.
    fn ask(
        &self,
        of: OncallOf,
        asked: OncallAsked,
    ) -> BoxFuture<'_, Result<OncallAnswer, Declined>>;
    /// Does what `verb` orders of a schedule; the order and the answer are JSON.
    fn order(
        &self,
        schedule: Name,
        verb: String,
        actor: Actor,
        order: String,
    ) -> BoxFuture<'_, Result<String, Declined>>;
}

/// `GET /api/v1/oncall`.
pub(crate) async fn now(
    State(app): State<App>,
    Queried(asked): Queried<OncallAsked>,
) -> Result<Response, Problem> {
    answered(app.oncall.ask(OncallOf::Now, asked).await)
}

/// `GET /api/v1/oncall/gaps`.
pub(crate) async fn gaps(
    State(app): State<App>,
    Queried(asked): Queried<OncallAsked>,
) -> Result<Response, Problem> {
    answered(app.oncall.ask(OncallOf::Gaps, asked).await)
}

/// `GET /api/v1/oncall/schedules/NAME`, and `NAME.ics`.
pub(crate) async fn of_schedule(
    State(app): State<App>,
    Asked(Path(name)): Asked<Path<String>>,
    Queried(asked): Queried<OncallAsked>,
) -> Result<Response, Problem> {
    answered(app.oncall.ask(OncallOf::Schedule(name), asked).await)
}

/// `GET /api/v1/oncall/people/NAME`, and `NAME.ics`.
pub(crate) async fn of_person(
    State(app): State<App>,
    Asked(Path(name)): Asked<Path<String>>,
    Queried(asked): Queried<OncallAsked>,
) -> Result<Response, Problem> {
    answered(app.oncall.ask(OncallOf::Person(name), asked).await)
}

/// `POST /api/v1/oncall/schedules/NAME/VERB`.
pub(crate) async fn order(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Asked(Path((name, verb))): Asked<Path<(Name, String)>>,
    body: Bytes,
) -> Result<Response, Problem> {
    let order = std::str::from_utf8(&body).ok();
    let order = order.filter(|text| text.len() <= ORDER_BYTES_MAX);
    let Some(order) = order else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-order",
            format!("an order is UTF-8 JSON of at most {ORDER_BYTES_MAX} bytes"),
            "see docs/api.md",
        ));
    };
    let done = app
        .oncall
        .order(name, verb, actor, order.to_owned())
        .await?;
    Ok(json(done))
}

fn answered(answer: Result<OncallAnswer, Declined>) -> Result<Response, Problem> {
    Ok(match answer? {
        OncallAnswer::Json(body) => json(body),
        OncallAnswer::Calendar(text) => {
            let head = [
                (header::CONTENT_TYPE, "text/calendar; charset=utf-8"),
                (header::CACHE_CONTROL, "private, max-age=60"),
            ];
            (head, text).into_response()
        }
    })
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What keeps a declared responder or schedule from ever being of use.
pub(crate) fn flaws(
    app: &App,
    resource: &Resource,
    all: &BTreeMap<(Kind, Name), Resource>,
) -> Vec<Place> {
    let (Kind::Responder | Kind::Schedule, Ok(spec)) =
        (resource.kind, Spec::decode(resource.kind, &resource.spec))
    else {
        return Vec::new();
    };
    let name = &resource.metadata.name;
    let place = |field: String, what: String, remedy: String| Place {
        resource: format!("{}/{name}", resource.kind),
        field,
        what,
        remedy,
    };
    let responders = all.keys().filter(|(kind, _)| *kind == Kind::Responder);
    let responders: Vec<Name> = responders.map(|(_, name)| name.clone()).collect();
    let flaws = app.oncall.flaws(name, &spec, &responders).into_iter();
    let mut places: Vec<Place> = flaws
        .map(|flaw| place(format!("spec.{}", flaw.field), flaw.what, flaw.remedy))
        .collect();
    if name.as_str().ends_with(CALENDAR_ENDING) {
        let what = format!("calendars are asked for as NAME{CALENDAR_ENDING}");
        let remedy = "give it a name that ends otherwise";
        places.push(place("metadata.name".to_owned(), what, remedy.to_owned()));
    }
    places
}
