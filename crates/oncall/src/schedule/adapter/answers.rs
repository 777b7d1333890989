//! Answers: who is on call, shifts, gaps, calendars.

use jiff::{SignedDuration, Timestamp};
use mainstay_core::{
    Name,
    oncall::{ContactKind, Role},
    ports::{Declined, No},
};
use serde::Serialize;

use super::{
    AHEAD, CALENDAR_AHEAD, CALENDAR_BACK, CALENDAR_ENDING, Desk, GAPS_AHEAD, Query, Within,
    rows::Known,
};
use crate::schedule::{
    Schedule, Shift, Trouble, Why,
    ical::{Feed, feed},
    plan::stamp,
    reach::contacts,
    shift::Source,
};

/// Who is on call at an instant.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Now {
    /// When.
    pub at: Timestamp,
    /// In each schedule.
    pub schedules: Vec<OnCall>,
}

/// Who is on call in a schedule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCall {
    /// Which.
    pub schedule: Name,
    /// The zone of its clock.
    pub zone: String,
    /// Each role that it fills.
    pub roles: Vec<Held>,
}

/// Who holds a role.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The role.
    pub role: Role,
    /// Who; nobody is a gap.
    pub person: Option<Name>,
    /// As people write them.
    pub name: Option<String>,
    /// Since when.
    pub from: Option<Timestamp>,
    /// Until when; of a gap, when it ends within a month.
    pub until: Option<Timestamp>,
    /// Why.
    pub by: Option<Source>,
    /// How they are reached now, the first one first.
    pub contacts: Vec<Reach>,
    /// Why nobody would answer, if so.
    pub trouble: Option<Why>,
}

/// One way in which somebody is reached.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    name: Name,
    kind: ContactKind,
}

/// Shifts and troubles.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Whose: a schedule, or a person.
    pub of: Name,
    /// The zone of its clock.
    pub zone: String,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Every shift that touches that time, whole.
    pub shifts: Vec<Named<Shift>>,
    /// When nobody would answer.
    pub troubles: Vec<Named<Trouble>>,
}

/// Troubles of schedules.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Troubles {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// When nobody would answer, in the order of time.
    pub troubles: Vec<Named<Trouble>>,
}

/// Something of a schedule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Named<T> {
    /// Of which.
    pub schedule: Name,
    /// The zone of its clock.
    pub zone: String,
    #[serde(flatten)]
    what: T,
}

/// What a name asks for.
pub(crate) struct Wanted {
    name: Name,
    is_calendar: bool,
}

impl Wanted {
    fn read(text: &str) -> Result<Self, Declined> {
        let plain = text.strip_suffix(CALENDAR_ENDING);
        let name = Name::new(plain.unwrap_or(text));
        let name = name
            .map_err(|error| super::invalid("bad-name", error.to_string(), "correct the name"))?;
        let is_calendar = plain.is_some();
        Ok(Self { name, is_calendar })
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Shifts and troubles.
    Shown(Box<Shown>),
    /// The text of a calendar.
    Calendar(String),
}

impl Desk {
    /// Who is on call.
    pub async fn on_call(&self, query: &Query) -> Result<Now, Declined> {
        let at = query.at.map_or_else(|| self.now(), stamp);
        let responders = self.responders().await?;
        let schedules = self.schedules(at, query.schedule.as_ref()).await?;
        let of_schedule = |Known { schedule, .. }: Known| {
            let roles = schedule.roles().into_iter();
            let roles = roles.filter(|role| query.role.is_none_or(|only| only == *role));
            let held = roles.map(|role| {
                let Some(shift) = schedule.on_call(role, at) else {
                    return nobody(&schedule, role, at);
                };
                let spec = responders.get(&shift.person);
                let reached = spec.map(|spec| contacts(spec, query.severity.as_ref(), at));
                let person = shift.person.clone();
                let trouble = match &reached {
                    None => Some(Why::Unknown { person }),
                    Some(reached) if reached.is_empty() => Some(Why::NoContact { person }),
                    Some(_) => None,
                };
                let reach = reached.unwrap_or_default().into_iter().map(|it| Reach {
                    name: it.name.clone(),
                    kind: it.kind,
                });
                Held {
                    role,
                    name: spec.and_then(|spec| spec.name.clone()),
                    person: Some(shift.person),
                    from: Some(shift.from),
                    until: Some(shift.until),
                    by: Some(shift.by),
                    contacts: reach.collect(),
                    trouble,
                }
            });
            OnCall {
                schedule: schedule.name().clone(),
                zone: schedule.zone().name().to_owned(),
                roles: held.collect(),
            }
        };
        let schedules = schedules.into_iter().map(of_schedule).collect();
        Ok(Now { at, schedules })
    }

    /// The shifts of a schedule, or its calendar where the name ends so.
    pub async fn of_schedule(&self, name: &str, query: &Query) -> Result<Answer, Declined> {
        let wanted = Wanted::read(name)?;
        let within = self.window(&wanted, query)?;
        let known = self.schedule(&wanted.name, within.from).await?;
        if wanted.is_calendar {
            let title = format!("on call: {}", wanted.name);
            return Ok(Answer::Calendar(calendar(
                title,
                &[known],
                within,
                query.role,
                None,
            )));
        }
        let responders = self.responders().await?;
        let schedule = &known.schedule;
        let is_asked = |role: Role| query.role.is_none_or(|only| only == role);
        let shifts = schedule.shifts(within.from, within.until).into_iter();
        let troubles = schedule
            .troubles(&responders, within.from, within.until)
            .into_iter();
        Ok(Answer::Shown(Box::new(Shown {
            of: wanted.name,
            zone: schedule.zone().name().to_owned(),
            from: within.from,
            until: within.until,
            shifts: shifts
                .filter(|it| is_asked(it.role))
                .map(|it| named(schedule, it))
                .collect(),
            troubles: troubles
                .filter(|it| is_asked(it.role))
                .map(|it| named(schedule, it))
                .collect(),
        })))
    }

    /// The shifts of a person in all schedules, or their calendar where the name ends so.
    pub async fn of_person(&self, name: &str, query: &Query) -> Result<Answer, Declined> {
        let wanted = Wanted::read(name)?;
        let within = self.window(&wanted, query)?;
        let responders = self.responders().await?;
        let Some(responder) = responders.get(&wanted.name) else {
            let what = format!("there is no responder `{}`", wanted.name);
            let remedy = "list them with `mainstay get responders`";
            return Err(Declined::new(
                No::Unknown,
                "unknown-responder",
                what,
                remedy,
            ));
        };
        let known = self.schedules(within.from, query.schedule.as_ref()).await?;
        if wanted.is_calendar {
            let title = format!("on call: {}", wanted.name);
            let text = calendar(title, &known, within, query.role, Some(&wanted.name));
            return Ok(Answer::Calendar(text));
        }
        let mut shifts = Vec::new();
        for Known { schedule, .. } in &known {
            let its = schedule.shifts(within.from, within.until).into_iter();
            let its = its.filter(|it| it.person == wanted.name);
            let its = its.filter(|it| query.role.is_none_or(|only| only == it.role));
            shifts.extend(its.map(|it| named(schedule, it)));
        }
        shifts.sort_by_key(|it| it.what.from);
        Ok(Answer::Shown(Box::new(Shown {
            of: wanted.name,
            zone: responder.zone.clone(),
            from: within.from,
            until: within.until,
            shifts,
            troubles: Vec::new(),
        })))
    }

    /// When nobody would answer.
    pub async fn gaps(&self, query: &Query) -> Result<Troubles, Declined> {
        let Within { from, until } = self.within(query, SignedDuration::ZERO, GAPS_AHEAD)?;
        let responders = self.responders().await?;
        let mut troubles = Vec::new();
        for Known { schedule, .. } in self.schedules(from, query.schedule.as_ref()).await? {
            let its = schedule.troubles(&responders, from, until).into_iter();
            let its = its.filter(|it| query.role.is_none_or(|only| only == it.role));
            troubles.extend(its.map(|it| named(&schedule, it)));
        }
        troubles.sort_by_key(|it| it.what.from);
        Ok(Troubles {
            from,
            until,
            troubles,
        })
    }

    fn window(&self, wanted: &Wanted, query: &Query) -> Result<Within, Declined> {
        if wanted.is_calendar {
            self.within(query, CALENDAR_BACK, CALENDAR_AHEAD)
        } else {
            self.within(query, SignedDuration::ZERO, AHEAD)
        }
    }
}

fn named<T>(schedule: &Schedule, what: T) -> Named<T> {
    Named {
        schedule: schedule.name().clone(),
        zone: schedule.zone().name().to_owned(),
        what,
    }
}

fn nobody(schedule: &Schedule, role: Role, at: Timestamp) -> Held {
    let later = at.saturating_add(GAPS_AHEAD).unwrap_or(at);
    let next = schedule.shifts_of(role, at, later).into_iter().next();
    let is_missed = schedule
        .gaps(at, later)
        .into_iter()
        .any(|gap| gap.role == role && gap.from == at);
    Held {
        role,
        person: None,
        name: None,
        from: None,
        until: next.map(|it| it.from),
        by: None,
        contacts: Vec::new(),
        trouble: is_missed.then_some(Why::Gap),
    }
}

fn calendar(
    name: String,
    known: &[Known],
    within: Within,
    role: Option<Role>,
    person: Option<&Name>,
) -> String {
    let is_asked = |it: &Shift| {
        role.is_none_or(|only| only == it.role) && person.is_none_or(|only| *only == it.person)
    };
    let mut shifts = Vec::new();
    for Known { schedule, .. } in known {
        let its = schedule.shifts(within.from, within.until).into_iter();
        shifts.extend(its.filter(is_asked).map(|it| (schedule.name(), it)));
    }
    let about = Feed {
        name,
        revision: known.iter().map(|it| it.revision).max().unwrap_or(0),
        revised_at: known
            .iter()
            .map(|it| it.revised_at)
            .max()
            .unwrap_or(Timestamp::UNIX_EPOCH),
        of_one: person.is_some(),
    };
    feed(&about, shifts.iter().map(|(name, shift)| (*name, shift)))
}
