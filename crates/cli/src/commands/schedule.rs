//! `schedule`: shifts, gaps, who stands in, and calendars.

use std::{io::Read as _, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use mainstay_core::Name;
use serde_json::{Value, json};

use super::oncall::{by, each, local, trouble, zone};
use crate::{
    args::{Global, ScheduleCommand, StandIn, Window},
    client::{Client, parameters},
    output::{self, cell},
    style::Style,
};

/// Largest calendar that is read, in bytes.
const CALENDAR_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) async fn run(global: &Global, command: ScheduleCommand) -> anyhow::Result<ExitCode> {
    let client = Client::new(global)?;
    match command {
        ScheduleCommand::Show { name, window, role } => {
            let query = query(&window, role.as_deref(), None);
            let shown: Value = client
                .get(&format!("/api/v1/oncall/schedules/{name}{query}"))
                .await?;
            if !output::value(global.output, &shown)? {
                show(&shown)?;
            }
        }
        ScheduleCommand::Gaps { name, window } => {
            let query = query(&window, None, name.as_ref());
            let found: Value = client.get(&format!("/api/v1/oncall/gaps{query}")).await?;
            if !output::value(global.output, &found)? {
                gaps(&found)?;
            }
            let is_none = each(&found["troubles"]).next().is_none();
            return Ok(ExitCode::from(u8::from(!is_none)));
        }
        ScheduleCommand::Ical {
            name,
            person,
            window,
            role,
        } => {
            let query = query(&window, role.as_deref(), None);
            let path = match (name, person) {
                (_, Some(person)) => format!("people/{person}"),
                (Some(name), None) => format!("schedules/{name}"),
                (None, None) => bail!("name a schedule, or a --person"),
            };
            let text = client
                .get_text(&format!("/api/v1/oncall/{path}.ics{query}"))
                .await?;
            output::print(text.trim_end())?;
        }
        ScheduleCommand::Override {
            name,
            person,
            role,
            when,
        } => {
            let mut order = when_of(&when);
            order["person"] = json!(person);
            order["role"] = json!(role);
            ordered(global, &client, &name, "override", &order).await?;
        }
        ScheduleCommand::Swap {
            name,
            person,
            with,
            role,
            when,
        } => {
            let mut order = when_of(&when);
            order["person"] = json!(person);
            order["with"] = json!(with);
            order["role"] = json!(role);
            ordered(global, &client, &name, "swap", &order).await?;
        }
        ScheduleCommand::Take {
            name,
            person,
            role,
            at,
            reason,
        } => {
            let order = json!({ "person": person, "role": role, "at": at, "reason": reason });
            ordered(global, &client, &name, "take", &order).await?;
        }
        ScheduleCommand::Import {
            name,
            file,
            role,
            reason,
        } => {
            let order = json!({ "calendar": read(&file)?, "role": role, "reason": reason });
            ordered(global, &client, &name, "import", &order).await?;
        }
        ScheduleCommand::Withdraw {
            name,
            change,
            reason,
        } => {
            let order = json!({ "change": change, "reason": reason });
            ordered(global, &client, &name, "withdraw", &order).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let from: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("cannot read {}", file.display()))?)
    };
    let mut text = String::new();
    from.take(CALENDAR_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", file.display()))?;
    if text.len() as u64 > CALENDAR_BYTES_MAX {
        bail!(
            "{} has more than {CALENDAR_BYTES_MAX} bytes\n  remedy: leave the past out",
            file.display()
        );
    }
    Ok(text)
}

fn query(window: &Window, role: Option<&str>, schedule: Option<&Name>) -> String {
    let from = window.from.map(|at| at.to_string());
    let until = window.to.map(|at| at.to_string());
    let all = [
        ("from", from.as_deref()),
        ("until", until.as_deref()),
        ("role", role),
        ("schedule", schedule.map(AsRef::as_ref)),
    ];
    let given = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    parameters(&given.collect::<Vec<_>>())
}

fn when_of(when: &StandIn) -> Value {
    json!({ "from": when.from, "until": when.until, "reason": when.reason })
}

async fn ordered(
    global: &Global,
    client: &Client,
    name: &Name,
    verb: &str,
    order: &Value,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/oncall/schedules/{name}/{verb}");
    let done: Value = client.post(&path, order).await?;
    if output::value(global.output, &done)? {
        return Ok(());
    }
    output::print(&format!(
        "{}: {}",
        cell(&done, "/change"),
        cell(&done, "/title")
    ))?;
    let mine = TimeZone::system();
    for it in each(&done["entered"]) {
        let (from, until) = (local(&it["from"], &mine), local(&it["until"], &mine));
        let who = match it["with"].as_str() {
            Some(_) => format!("{} and {}", cell(it, "/person"), cell(it, "/with")),
            None => format!("{} {}", cell(it, "/role"), cell(it, "/person")),
        };
        output::print(&format!("  {from} to {until}  {who}"))?;
    }
    Ok(())
}

/// Shifts and the gaps between them, in the order of time within each role.
fn show(shown: &Value) -> anyhow::Result<()> {
    let style = Style::of_stdout();
    let zone = zone(&shown["zone"]);
    let row = |it: &Value, who: String, why: String| {
        let begin = it["from"].as_str().unwrap_or_default().to_owned();
        let cells = vec![
            cell(it, "/role"),
            local(&it["from"], &zone),
            local(&it["until"], &zone),
            who,
            why,
        ];
        (place(&it["role"]), begin, cells)
    };
    let mut rows = Vec::new();
    for it in each(&shown["shifts"]) {
        let swapped = it["insteadOf"]
            .as_str()
            .map(|_| format!(", swapped with {}", cell(it, "/insteadOf")));
        rows.push(row(
            it,
            cell(it, "/person"),
            by(&it["by"]) + &swapped.unwrap_or_default(),
        ));
    }
    for it in each(&shown["troubles"]) {
        let who = if it["why"] == "gap" {
            style.warn("nobody")
        } else {
            style.warn(&cell(it, "/person"))
        };
        rows.push(row(it, who, style.warn(&trouble(it).unwrap_or_default())));
    }
    rows.sort();
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, _, cells)| cells).collect();
    output::table(&["ROLE", "FROM", "UNTIL", "WHO", "BY"], &rows)?;
    output::print(&format!("times are those of {}", cell(shown, "/zone")))
}

/// Roles in the order in which they are told.
fn place(role: &Value) -> usize {
    let all = mainstay_core::oncall::Role::ALL;
    let found = all.iter().position(|it| role == it.as_str());
    found.unwrap_or(all.len())
}

fn gaps(found: &Value) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = each(&found["troubles"])
        .map(|it| {
            let zone = zone(&it["zone"]);
            vec![
                cell(it, "/schedule"),
                cell(it, "/role"),
                local(&it["from"], &zone),
                local(&it["until"], &zone),
                trouble(it).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        let until = local(&found["until"], &TimeZone::system());
        return output::print(&format!("no gap until {until}"));
    }
    output::table(&["SCHEDULE", "ROLE", "FROM", "UNTIL", "WHY"], &rows)
}
