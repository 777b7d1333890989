//! Orders: an override, a swap, taking a shift, a calendar of overrides, and taking any of them back.

use jiff::Timestamp;
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, Name,
    NewEntry, Time,
    change::{self, Moved, Plan},
    oncall::{ResponderSpec, Role, STOOD_IN, WITHDRAWN},
    ports::{Declined, No},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::collections::BTreeMap;

use super::{
    Desk, invalid,
    rows::{Entered, Withdrawn, away},
};
use crate::schedule::{NotTaken, Schedule, What, ical::Calendar, plan::stamp};

/// What may be ordered of a schedule.
pub const VERBS: [&str; 5] = ["override", "swap", "take", "import", "withdraw"];
/// Stand-ins that one change enters, and that stand ahead of one schedule in all.
const ENTERED_MAX: usize = 500;
const AHEAD_MAX: usize = 2_000;
/// Milliseconds of the longest one: as long as the longest turn.
const LONGEST: i64 = 366 * 24 * 3_600_000;
/// Longest reason, in characters.
const REASON_MAX: usize = 1_000;
/// How far ahead a calendar is taken in: a year.
const IMPORT_AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(366 * 24);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Override {
    person: Name,
    #[serde(default)]
    role: Role,
    from: Option<Time>,
    until: Time,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Swap {
    person: Name,
    with: Name,
    role: Option<Role>,
    from: Option<Time>,
    until: Time,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Take {
    person: Option<Name>,
    role: Role,
    at: Option<Time>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Import {
    calendar: String,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Withdraw {
    change: ChangeId,
    #[serde(default)]
    reason: String,
}

/// What an order did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ordered {
    /// The change in the ledger.
    pub change: ChangeId,
    /// What it says in a list.
    pub title: String,
    /// Who stands in now, and from when to when.
    pub entered: Vec<Standing>,
}

/// Somebody stands in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    from: Timestamp,
    until: Timestamp,
    #[serde(flatten)]
    what: What,
}

/// What is to be entered, or taken back.
struct Draft {
    title: String,
    reason: String,
    entered: Vec<(Time, Time, What)>,
    withdrawn: Vec<Withdrawn>,
}

impl Desk {
    /// Does what `verb` orders of a schedule.
    pub async fn order(
        &self,
        name: &Name,
        verb: &str,
        actor: Actor,
        body: &str,
    ) -> Result<Ordered, Declined> {
        let now = self.clock.now();
        let known = self.schedule(name, stamp(now)).await?;
        let responders = self.responders().await?;
        let asked = Asked {
            schedule: &known.schedule,
            responders: &responders,
            now,
        };
        let draft = match verb {
            "override" => asked.held(read(body)?)?,
            "swap" => asked.swap(read(body)?)?,
            "take" => asked.take(read(body)?, &actor)?,
            "import" => asked.import(&read(body)?)?,
            "withdraw" => self.withdraw(name, read(body)?, now).await?,
            other => {
                let what = format!("nobody knows how to `{other}` a schedule");
                let remedy = format!("order one of {}", VERBS.join(", "));
                return Err(Declined::new(No::Unknown, "unknown-order", what, &remedy));
            }
        };
        let ahead = self.entered(name, stamp(now)).await?.len();
        if draft.entered.len() > ENTERED_MAX || ahead + draft.entered.len() > AHEAD_MAX {
            let what = format!(
                "{} at once, with {ahead} ahead already; at most {ENTERED_MAX} at once, {AHEAD_MAX} ahead",
                draft.entered.len()
            );
            return Err(invalid(
                "too-many",
                what,
                "declare a layer for what comes again and again",
            ));
        }
        self.write(name, draft, actor, now).await
    }

    async fn withdraw(&self, name: &Name, order: Withdraw, now: Time) -> Result<Draft, Declined> {
        let ahead = self.entered(name, stamp(now)).await?.into_iter();
        let its: Vec<Withdrawn> = ahead
            .filter(|row| row.entered.change == order.change && row.withdrawn_at.is_none())
            .map(|row| Withdrawn {
                schedule: name.clone(),
                entered_by: order.change.clone(),
                place: row.entered.place,
                until: row.entered.until,
            })
            .collect();
        if its.is_empty() {
            let what = format!("nobody stands in by `{}` from now on", order.change);
            let remedy = "`mainstay schedule show NAME` names the change of each";
            return Err(Declined::new(No::Unknown, "unknown-stand-in", what, remedy));
        }
        Ok(Draft {
            title: format!("withdraw {} from {name}", order.change),
            reason: order.reason,
            entered: Vec::new(),
            withdrawn: its,
        })
    }

    /// Opens the change, writes what it does, and closes it, in one append.
    async fn write(
        &self,
        schedule: &Name,
        draft: Draft,
        actor: Actor,
        now: Time,
    ) -> Result<Ordered, Declined> {
        let id = (self.next_change_id)();
        let plan = json!({ "schedule": schedule, "entered": draft.entered.len(), "withdrawn": draft.withdrawn.len() });
        let opened = Change {
            id: id.clone(),
            kind: ChangeKind::Oncall,
            actor: actor.clone(),
            reason: draft.reason.chars().take(REASON_MAX).collect(),
            title: draft.title.clone(),
            blast_radius: BlastRadius::default(),
            emergency: None,
            opened_at: now,
            deadline: None,
            plan: Plan {
                kind: "oncall.order".to_owned(),
                schema: 1,
                body: plan.to_string(),
            },
        };
        let stream = opened.stream();
        let entry = |kind: &str, body: String| NewEntry {
            stream: stream.clone(),
            kind: kind.to_owned(),
            schema: 1,
            body,
        };
        let mut entries = vec![entry(change::OPENED, json!(opened).to_string())];
        for (place, (from, until, what)) in draft.entered.iter().enumerate() {
            let body = json!(Entered {
                schedule: schedule.clone(),
                change: id.clone(),
                place,
                from: *from,
                until: *until,
                what: what.clone(),
            });
            entries.push(entry(STOOD_IN, body.to_string()));
        }
        let withdrawn = draft.withdrawn.iter();
        entries.extend(withdrawn.map(|it| entry(WITHDRAWN, json!(it).to_string())));
        let moved = Moved {
            state: ChangeState::Done,
            because: "entered in this entry's own transaction".to_owned(),
        };
        entries.push(entry(change::MOVED, json!(moved).to_string()));
        let expected = vec![Expected {
            stream: stream.clone(),
            version: 0,
        }];
        let append = Append {
            actor,
            at: now,
            expected,
            entries,
        };
        self.ledger.append(append).await.map_err(away)?;
        let entered = draft
            .entered
            .into_iter()
            .map(|(from, until, what)| Standing {
                from: stamp(from),
                until: stamp(until),
                what,
            });
        Ok(Ordered {
            change: id,
            title: draft.title,
            entered: entered.collect(),
        })
    }
}

/// What orders are checked against.
struct Asked<'a> {
    schedule: &'a Schedule,
    responders: &'a BTreeMap<Name, ResponderSpec>,
    now: Time,
}

impl Asked<'_> {
    fn held(&self, order: Override) -> Result<Draft, Declined> {
        self.known(&order.person)?;
        let (from, until) = self.window(order.from, order.until)?;
        let (name, person, role) = (self.schedule.name(), order.person, order.role);
        Ok(Draft {
            title: format!("{person} stands in as {role} of {name}"),
            reason: order.reason,
            entered: vec![(from, until, What::Holds { role, person })],
            withdrawn: Vec::new(),
        })
    }

    fn swap(&self, order: Swap) -> Result<Draft, Declined> {
        let Swap {
            person,
            with,
            role,
            reason,
            ..
        } = order;
        self.known(&person)?;
        self.known(&with)?;
        if person == with {
            let what = format!("{person} would swap with themselves");
            return Err(invalid("bad-swap", what, "name two people"));
        }
        let (from, until) = self.window(order.from, order.until)?;
        let shifts = self.schedule.shifts(stamp(from), stamp(until)).into_iter();
        let mut shifts = shifts.filter(|it| role.is_none_or(|role| role == it.role));
        if !shifts.any(|it| [&person, &with].contains(&&it.person)) {
            let what = format!("neither {person} nor {with} is on call from {from} until {until}");
            let remedy =
                "give a time in which they are; `mainstay schedule show NAME` lists shifts";
            return Err(invalid("bad-swap", what, remedy));
        }
        let name = self.schedule.name();
        Ok(Draft {
            title: format!("{person} and {with} swap in {name}"),
            reason,
            entered: vec![(from, until, What::Swap { role, person, with })],
            withdrawn: Vec::new(),
        })
    }

    fn take(&self, order: Take, actor: &Actor) -> Result<Draft, Declined> {
        let person = match order.person {
            Some(person) => person,
            None => Name::new(&actor.id)
                .ok()
                .filter(|it| self.responders.contains_key(it))
                .ok_or_else(|| {
                    let what = format!(
                        "`{}` is no responder, so that it is unclear who takes the shift",
                        actor.id
                    );
                    invalid("who", what, "name them with --person")
                })?,
        };
        self.known(&person)?;
        let at = order.at.unwrap_or(self.now);
        self.not_before_now(at)?;
        let role = order.role;
        let (shift, what) = self.schedule.take(role, stamp(at), &person).map_err(|not| {
            let remedy = match &not {
                NotTaken::Nobody(_) => "enter an override with its own end: `mainstay schedule override NAME --until TIME`",
                NotTaken::Already(..) => "nothing is left to do",
            };
            Declined::new(No::Conflict, "not-taken", not.to_string(), remedy)
        })?;
        let until = time(shift.until);
        let name = self.schedule.name();
        Ok(Draft {
            title: format!(
                "{person} takes the shift of {} as {role} of {name}",
                shift.person
            ),
            reason: order.reason,
            entered: vec![(at, until, what)],
            withdrawn: Vec::new(),
        })
    }

    fn import(&self, order: &Import) -> Result<Draft, Declined> {
        let zone = self.schedule.zone();
        let calendar = Calendar::read(&order.calendar, zone)
            .map_err(|wrong| invalid("bad-calendar", wrong.to_string(), wrong.remedy))?;
        for person in calendar.people() {
            self.known(person)?;
        }
        let now = stamp(self.now);
        let until = now.saturating_add(IMPORT_AHEAD).unwrap_or(Timestamp::MAX);
        let turns = calendar.between(now, until).into_iter();
        let entered: Vec<_> = turns
            .map(|turn| {
                let what = What::Holds {
                    role: order.role,
                    person: turn.person,
                };
                (time(turn.from.max(now)), time(turn.until), what)
            })
            .collect();
        if entered.is_empty() {
            let what = "no event of the calendar lies within the next year";
            return Err(invalid(
                "bad-calendar",
                what,
                "export it anew, with what is to come",
            ));
        }
        let (name, role) = (self.schedule.name(), order.role);
        Ok(Draft {
            title: format!(
                "{} overrides of {name} as {role}, from a calendar",
                entered.len()
            ),
            reason: order.reason.clone(),
            entered,
            withdrawn: Vec::new(),
        })
    }

    fn known(&self, person: &Name) -> Result<(), Declined> {
        match self.responders.get(person) {
            Some(spec) if !spec.contacts.is_empty() => Ok(()),
            Some(_) => {
                let what = format!("responder `{person}` has no contact: nobody could reach them");
                Err(invalid(
                    "no-contact",
                    what,
                    "add a contact to the responder",
                ))
            }
            None => {
                let what = format!("there is no responder `{person}`");
                Err(invalid(
                    "unknown-responder",
                    what,
                    "list them with `mainstay get responders`",
                ))
            }
        }
    }

    fn window(&self, from: Option<Time>, until: Time) -> Result<(Time, Time), Declined> {
        let from = from.unwrap_or(self.now);
        self.not_before_now(from)?;
        if until <= from {
            let what = format!("it would end at {until}, not after it begins at {from}");
            return Err(invalid(
                "bad-window",
                what,
                "give an end after the beginning",
            ));
        }
        if until.millis().saturating_sub(from.millis()) > LONGEST {
            return Err(invalid(
                "bad-window",
                "it would last longer than a year",
                "change the layers instead",
            ));
        }
        Ok((from, until))
    }

    /// Who was on call stays who was on call.
    fn not_before_now(&self, at: Time) -> Result<(), Declined> {
        if at < self.now {
            let what = format!("{at} is over, and who was on call then stays so");
            return Err(invalid(
                "past",
                what,
                "leave the beginning out to begin now",
            ));
        }
        Ok(())
    }
}

fn time(at: Timestamp) -> Time {
    Time::from_millis(at.as_millisecond())
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Declined> {
    let body = if body.trim().is_empty() { "{}" } else { body };
    serde_json::from_str(body).map_err(|error| {
        invalid(
            "bad-order",
            error.to_string(),
            "docs/api.md lists the fields of each order",
        )
    })
}
