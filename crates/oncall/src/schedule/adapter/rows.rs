//! What the tables hold: schedules, responders, and who was entered as standing in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_core::{
    Actor, ChangeId, Kind, Name, Resource, Time,
    catalog::Spec,
    oncall::{ResponderSpec, ScheduleSpec},
    ports::{Declined, LedgerError, No},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Desk;
use crate::schedule::{Schedule, StandIn, What, plan::stamp, shift::Source};

/// Rows read at once.
const PAGE: usize = 1_000;
/// Table of who stands in.
const STAND_INS: &str = "standins";

/// Body of the entry by which somebody stands in; its row is found by schedule, end, change and place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entered {
    pub(super) schedule: Name,
    pub(super) change: ChangeId,
    /// Which of those that the change entered.
    pub(super) place: usize,
    pub(super) from: Time,
    pub(super) until: Time,
    pub(super) what: What,
}

/// Body of the entry that takes back what a change entered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Withdrawn {
    pub(super) schedule: Name,
    /// The change that entered it.
    pub(super) entered_by: ChangeId,
    pub(super) place: usize,
    pub(super) until: Time,
}

/// A row of the table, as it is folded.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) entered: Entered,
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) withdrawn_at: Option<Time>,
}

/// How far a schedule was entered into: the last entry about it.
#[derive(Debug, Clone, Default, Deserialize)]
struct Head {
    seq: u64,
    at: Time,
}

/// A declared resource.
#[derive(Debug, Clone, Deserialize)]
struct Declared {
    resource: Resource,
    seq: u64,
    at: Time,
    #[expect(dead_code, reason = "a row without it is none of ours")]
    actor: Actor,
}

/// A schedule with who stands in, and how it was last revised.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) schedule: Schedule,
    pub(super) revision: u64,
    pub(super) revised_at: Timestamp,
}

impl Desk {
    /// Everybody who may be on call.
    pub(super) async fn responders(&self) -> Result<BTreeMap<Name, ResponderSpec>, Declined> {
        let mut all = BTreeMap::new();
        for row in self.declared(Kind::Responder).await? {
            if let Spec::Responder(spec) = decoded(&row.resource)? {
                all.insert(row.resource.metadata.name, spec);
            }
        }
        Ok(all)
    }

    /// The schedules, or the one of that name, as they are from `since` on.
    pub(super) async fn schedules(
        &self,
        since: Timestamp,
        only: Option<&Name>,
    ) -> Result<Vec<Known>, Declined> {
        let rows = match only {
            None => self.declared(Kind::Schedule).await?,
            Some(name) => {
                let key = format!("{}/{name}", Kind::Schedule);
                let body = self.tables.get("resources", &key).await.map_err(away)?;
                let body = body.ok_or_else(|| unknown_schedule(name))?;
                vec![read(&key, &body)?]
            }
        };
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let name = row.resource.metadata.name.clone();
            if let Spec::Schedule(spec) = decoded(&row.resource)? {
                all.push(self.with_entered(name, &spec, &row, since).await?);
            }
        }
        Ok(all)
    }

    /// The one of that name.
    pub(super) async fn schedule(&self, name: &Name, since: Timestamp) -> Result<Known, Declined> {
        let found = self.schedules(since, Some(name)).await?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| unknown_schedule(name))
    }

    async fn with_entered(
        &self,
        name: Name,
        spec: &ScheduleSpec,
        row: &Declared,
        since: Timestamp,
    ) -> Result<Known, Declined> {
        let schedule = Schedule::build(name.clone(), spec).map_err(|flaws| {
            // It held when it was declared: this machine knows other zones.
            let first = flaws.into_iter().next();
            let (field, what) = first.map_or_else(Default::default, |it| (it.field, it.what));
            let what = format!("schedule `{name}` cannot be reckoned here: spec.{field}: {what}");
            Declined::new(
                No::Unavailable,
                "schedule-unreadable",
                what,
                "apply it anew",
            )
        })?;
        let mut entered = self.entered(&name, Schedule::looks_back_to(since)).await?;
        // What was entered last comes first, which is to say over the others.
        entered.sort_by_key(|row| row.seq);
        let head = self
            .tables
            .get(STAND_INS, &format!("head/{name}"))
            .await
            .map_err(away)?;
        let head: Head = head
            .map(|body| read("head", &body))
            .transpose()?
            .unwrap_or_default();
        let stand_ins = entered.into_iter().filter_map(stand_in);
        Ok(Known {
            schedule: schedule.with(stand_ins),
            revision: head.seq.max(row.seq),
            revised_at: stamp(head.at.max(row.at)),
        })
    }

    /// Who was entered as standing in until later than `since`.
    pub(super) async fn entered(
        &self,
        name: &Name,
        since: Timestamp,
    ) -> Result<Vec<Row>, Declined> {
        let prefix = format!("row/{name}/");
        let mut after = format!("{prefix}{:020}", since.as_millisecond().max(0));
        let mut all = Vec::new();
        loop {
            let page = self
                .tables
                .list(STAND_INS, &prefix, &after, PAGE)
                .await
                .map_err(away)?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after.clone_from(last);
            for (key, body) in &page {
                all.push(read(key, body)?);
            }
        }
    }

    async fn declared(&self, kind: Kind) -> Result<Vec<Declared>, Declined> {
        let prefix = format!("{kind}/");
        let (mut after, mut all) = (String::new(), Vec::new());
        loop {
            let page = self
                .tables
                .list("resources", &prefix, &after, PAGE)
                .await
                .map_err(away)?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after.clone_from(last);
            for (key, body) in &page {
                all.push(read(key, body)?);
            }
        }
    }
}

/// Who stands in by a row: what was withdrawn held until then, which nobody can undo.
fn stand_in(row: Row) -> Option<StandIn> {
    let Entered {
        change,
        from,
        until,
        what,
        ..
    } = row.entered;
    let until = row.withdrawn_at.map_or(until, |at| at.min(until));
    (from < until).then(|| StandIn {
        by: Source::Change(change.to_string()),
        from: stamp(from),
        until: stamp(until),
        what,
    })
}

fn decoded(resource: &Resource) -> Result<Spec, Declined> {
    let key = format!("{}/{}", resource.kind, resource.metadata.name);
    Spec::decode(resource.kind, &resource.spec).map_err(|error| unreadable(&key, &error))
}

fn read<T: DeserializeOwned>(key: &str, body: &str) -> Result<T, Declined> {
    serde_json::from_str(body).map_err(|error| unreadable(key, &error))
}

fn unreadable(key: &str, error: &serde_json::Error) -> Declined {
    let what = format!("the row {key} cannot be read: {error}");
    Declined::new(
        No::Unavailable,
        "unreadable-row",
        what,
        "run `mainstay ledger verify`",
    )
}

pub(super) fn away(error: LedgerError) -> Declined {
    let no = match error {
        LedgerError::Conflict { .. } => No::Conflict,
        LedgerError::TooLarge { .. } => No::Invalid,
        LedgerError::Full { .. }
        | LedgerError::Overloaded { .. }
        | LedgerError::Unavailable(_)
        | LedgerError::Broken(_) => No::Unavailable,
    };
    Declined::new(
        no,
        "ledger",
        error.to_string(),
        "try again; if it stays, see the server's log",
    )
}

fn unknown_schedule(name: &Name) -> Declined {
    let what = format!("there is no schedule `{name}`");
    Declined::new(
        No::Unknown,
        "unknown-schedule",
        what,
        "list them with `mainstay get schedules`",
    )
}
