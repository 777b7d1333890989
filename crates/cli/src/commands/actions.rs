//! `restart`, `drain`, `kill`, `shed`, `limit-test`, and `status`: what is typed at three in the morning.
//!
//! Guarantees: an order says which instance or service it was taken to mean; `status` leads with what is
//! blocked and what would unblock it. Never acts by itself: each order is a change that the server
//! judges.

use std::process::ExitCode;

use anyhow::bail;
use mainstay_core::{Name, Time};
use serde_json::{Value, json};

use super::rollout;
use crate::{
    args::{Act, Format, Global, LimitTest, Shed},
    client::Client,
    output::{self, cell},
    ports,
    style::{self, Style},
};

/// Opens a change of `kind` on what the order names.
pub(crate) async fn act(global: &Global, kind: &str, act: &Act) -> anyhow::Result<ExitCode> {
    let client = Client::new(global)?;
    let mut body = subject(&client, act).await?;
    if !act.reason.is_empty() {
        body["reason"] = json!(act.reason);
    }
    if let Some(emergency) = act.emergency.body(&act.reason)? {
        body["emergency"] = emergency;
    }
    let answer: Value = client
        .post(&format!("/api/v1/actions/{kind}"), &body)
        .await?;
    told(global, &client, kind, &body, &answer, act.watch).await
}

/// Refuses a share of a service's requests; no share ends what is refused now.
pub(crate) async fn shed(global: &Global, shed: &Shed) -> anyhow::Result<ExitCode> {
    let client = Client::new(global)?;
    if shed.percent == "0%" {
        return end_sheds(global, &client, shed).await;
    }
    let mut body = json!({ "service": shed.service, "percent": shed.percent });
    if let Some(fabric) = &shed.fabric {
        body["fabric"] = json!(fabric);
    }
    if !shed.reason.is_empty() {
        body["reason"] = json!(shed.reason);
    }
    let answer: Value = client.post("/api/v1/actions/shed", &body).await?;
    told(global, &client, "shed", &body, &answer, false).await
}

/// Measures what an instance of a service carries.
pub(crate) async fn limit_test(global: &Global, test: &LimitTest) -> anyhow::Result<ExitCode> {
    let client = Client::new(global)?;
    let mut body = json!({ "service": test.service });
    if let Some(fabric) = &test.fabric {
        body["fabric"] = json!(fabric);
    }
    if !test.reason.is_empty() {
        body["reason"] = json!(test.reason);
    }
    let answer: Value = client.post("/api/v1/actions/limit-test", &body).await?;
    told(global, &client, "limit-test", &body, &answer, test.watch).await
}

/// Ends every shed that is open on what the order names.
async fn end_sheds(global: &Global, client: &Client, shed: &Shed) -> anyhow::Result<ExitCode> {
    let all: Vec<Value> = client.get("/api/v1/views/actions").await?;
    let (open, wider) = open_sheds(&all, shed);
    if let Some(wider) = wider {
        bail!(
            "{wider} refuses requests of {service} in more than this fabric, and ends as a whole: \
             mainstay shed {service} 0%",
            service = shed.service
        );
    }
    for change in &open {
        let body = json!({ "reason": shed.reason });
        let path = format!("/api/v1/changes/{change}/resume");
        client.post::<Value>(&path, &body).await?;
    }
    if output::value(global.output, &json!({ "ended": open }))? {
        return Ok(ExitCode::SUCCESS);
    }
    match open.as_slice() {
        [] => output::print(&format!("{}: nothing is refused", shed.service))?,
        open => output::print(&format!("told to end: {}", open.join(", ")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The changes that refuse requests to the service, in the fabric where one is named; and one that does so in others
/// as well.
fn open_sheds<'a>(actions: &'a [Value], shed: &Shed) -> (Vec<&'a str>, Option<&'a str>) {
    let touches = |one: &Value| match (&shed.fabric, one["fabrics"].as_array()) {
        (Some(fabric), Some(fabrics)) => fabrics.contains(&json!(fabric)),
        (None, _) | (_, None) => true,
    };
    let wider = |one: &Value| shed.fabric.is_some() && one["fabrics"] != json!([shed.fabric]);
    // One that has no deadline any more is ending already.
    let is_open = |one: &&Value| !one["until"].is_null() && one["kind"] == "shed";
    let found = actions
        .iter()
        .filter(is_open)
        .filter(|one| one["service"] == json!(shed.service) && touches(one));
    let (wider, open): (Vec<_>, Vec<_>) = found.partition(|one| wider(one));
    let change = |one: &'a Value| one["change"].as_str();
    (
        open.into_iter().filter_map(change).collect(),
        wider.into_iter().find_map(change),
    )
}

async fn told(
    global: &Global,
    client: &Client,
    kind: &str,
    body: &Value,
    answer: &Value,
    watch: bool,
) -> anyhow::Result<ExitCode> {
    let change = answer["change"].as_str();
    if watch && let Some(change) = change {
        return rollout::watch(global, client, change).await;
    }
    if output::value(global.output, answer)? {
        return Ok(ExitCode::SUCCESS);
    }
    let what = match body["instance"].as_str() {
        Some(instance) => format!("instance {instance}"),
        None => format!("service {}", cell(body, "/service")),
    };
    let fabric = body["fabric"]
        .as_str()
        .map_or_else(String::new, |fabric| format!(" in {fabric}"));
    match change {
        Some(change) => {
            let mut lines = vec![format!("{kind} {what}{fabric}")];
            let plan = answer["plan"].as_array();
            let plan = plan.into_iter().flatten().filter_map(Value::as_str);
            lines.extend(plan.map(|line| format!("  {}", style::clean(line))));
            lines.push(format!("change {change}"));
            lines.push(format!("follow it: mainstay rollout watch {change}"));
            // What holds until its time is over can be ended before.
            if matches!(kind, "drain" | "shed") {
                lines.push(format!("end it: mainstay rollout resume {change}"));
            }
            output::print(&lines.join("\n"))?;
        }
        None => output::print(&format!("{kind} {what}{fabric}: nothing to do"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the order is about, as the API wants it.
async fn subject(client: &Client, act: &Act) -> anyhow::Result<Value> {
    let (kind, name) = match act.target.split_once('/') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, act.target.as_str()),
    };
    let name: Name = name.parse()?;
    let is_instance = match kind {
        Some("instance") => true,
        Some("service") => false,
        Some(other) => bail!("`{other}/` is neither `instance/` nor `service/`"),
        None => {
            let all: Vec<Value> = client.get("/api/v1/views/instances").await?;
            meant(&all, &name, act.fabric.is_some())?
        }
    };
    if is_instance {
        if act.fabric.is_some() {
            bail!("an instance stands in one fabric: leave --fabric out, or name a service");
        }
        return Ok(json!({ "instance": name }));
    }
    let mut body = json!({ "service": name });
    if let Some(fabric) = &act.fabric {
        body["fabric"] = json!(fabric);
    }
    Ok(body)
}

/// Whether `name` is an instance rather than a service. What is neither goes to the server as a service: it
/// knows those that have no instances.
fn meant(instances: &[Value], name: &Name, in_fabric: bool) -> anyhow::Result<bool> {
    let any = |pointer: &str| {
        instances
            .iter()
            .any(|one| one.pointer(pointer) == Some(&json!(name)))
    };
    let (instance, service) = (any("/metadata/name"), any("/spec/service"));
    if instance && service && !in_fabric {
        bail!(
            "`{name}` is an instance and a service\n  remedy: write `instance/{name}` or \
             `service/{name}`"
        );
    }
    Ok(instance && !in_fabric)
}

/// `mainstay status`.
pub(crate) async fn status(global: &Global) -> anyhow::Result<()> {
    let status: Value = Client::new(global)?.get("/api/v1/views/status").await?;
    if global.output != Format::Table {
        output::value(global.output, &status)?;
        return Ok(());
    }
    let style = Style::of_stdout();
    let mut lines = report(&status, ports::now(), style);
    // A server of an earlier version has no copies.
    let copies = Client::new(global)?.get("/api/v1/status/copies").await;
    copied(&copies.unwrap_or(Value::Null)["data"], style, &mut lines);
    lines.iter().try_for_each(|line| output::print(line))
}

/// Copies of samples that fail.
fn copied(copies: &Value, style: Style, lines: &mut Vec<String>) {
    for (name, what) in [
        ("copy", "Copies of samples"),
        ("archive", "The archive of samples"),
    ] {
        if let Some(why) = copies[name]["failing"].as_str() {
            lines.push(style.bad(&format!(
                "{what} failing for {} s: {}",
                cell(&copies[name], "/behindSeconds"),
                crate::style::clean(why)
            )));
        }
    }
}

fn list<'a>(status: &'a Value, field: &str) -> &'a [Value] {
    status[field].as_array().map_or(&[], Vec::as_slice)
}

/// The lines of `status`, the most urgent first.
fn report(status: &Value, now: Time, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    blocked(list(status, "blocked"), style, &mut lines);
    in_flight(list(status, "changes"), now, style, &mut lines);
    let watched = list(status, "observed");
    if watched.is_empty() || !list(status, "services").is_empty() {
        services(list(status, "services"), style, &mut lines);
    }
    observed(watched, style, &mut lines);
    connections(status, now, style, &mut lines);
    lines
}

fn blocked(all: &[Value], style: Style, lines: &mut Vec<String>) {
    if all.is_empty() {
        lines.push(style.good("Nothing is blocked."));
        return;
    }
    lines.push(style.bad(&format!("Blocked: {}", all.len())));
    for one in all {
        let change = one["change"]
            .as_str()
            .map_or_else(String::new, |change| format!(" ({change})"));
        lines.push(format!(
            "  {}{}: {}",
            style.bold(&cell(one, "/what")),
            style.dim(&change),
            cell(one, "/because")
        ));
        lines.push(format!("    to unblock: {}", cell(one, "/remedy")));
    }
}

fn in_flight(all: &[Value], now: Time, style: Style, lines: &mut Vec<String>) {
    lines.push(String::new());
    if all.is_empty() {
        lines.push("No change is in flight.".to_owned());
        return;
    }
    lines.push(style.bold("Changes in flight"));
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let versions = match (one["from"].as_str(), one["to"].as_str()) {
                (Some(from), Some(to)) => format!("{from} → {to}"),
                (None, Some(to)) => to.to_owned(),
                (_, None) => cell(one, "/title"),
            };
            let new = match one.pointer("/progress/total") {
                Some(total) => format!("{}/{total}", cell(one, "/progress/new")),
                None => "-".to_owned(),
            };
            vec![
                cell(one, "/change"),
                cell(one, "/service"),
                style::clean(&versions),
                style.word(&cell(one, "/state")),
                cell(one, "/phase"),
                new,
                output::age(one, "/openedAt", now),
                cell(one, "/because"),
            ]
        })
        .collect();
    let header = [
        "CHANGE", "SERVICE", "VERSIONS", "STATE", "PHASE", "NEW", "AGE", "BECAUSE",
    ];
    lines.extend(indented(&header, &rows));
}

fn services(all: &[Value], style: Style, lines: &mut Vec<String>) {
    lines.push(String::new());
    if all.is_empty() {
        lines.push("No service is declared: mainstay apply -f FILE".to_owned());
        return;
    }
    lines.push(style.bold("Services"));
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let serving = format!("{}/{}", cell(one, "/serving"), cell(one, "/instances"));
            let whole = one["serving"] == one["instances"];
            vec![
                cell(one, "/name"),
                cell(one, "/fabric"),
                cell(one, "/version"),
                if whole { serving } else { style.warn(&serving) },
                cell(one, "/inRotation"),
                cell(one, "/demandRps"),
                cell(one, "/capacityRps"),
                per_cent(&one["errorRatio"]),
                unit(&cell(one, "/worstP99Ms"), "ms"),
            ]
        })
        .collect();
    let header = [
        "NAME",
        "FABRIC",
        "VERSION",
        "SERVING",
        "ROTATION",
        "DEMAND",
        "CAPACITY",
        "ERRORS",
        "WORST P99",
    ];
    lines.extend(indented(&header, &rows));
}

/// Services that are only observed: what a rollout of what somebody else rolled out would have come to.
fn observed(all: &[Value], style: Style, lines: &mut Vec<String>) {
    if !all.is_empty() {
        lines.push(String::new());
    }
    for one in all {
        let service = style.bold(&cell(one, "/service"));
        let trial = &one["trial"];
        if trial.is_null() {
            let version = match one["stable"].as_str() {
                Some(version) => format!(" {}", style::clean(version)),
                None => String::new(),
            };
            lines.push(format!(
                "observed: {service}{version}: {}",
                cell(one, "/because")
            ));
            continue;
        }
        let would = cell(trial, "/would");
        let ruling = match trial["ruling"].as_str() {
            Some("harm") => style.bad(&would),
            Some("pass") => style.good(&would),
            _ => style.warn(&would),
        };
        let numbers: Vec<String> = list(trial, "findings")
            .iter()
            .map(|it| cell(it, "/value"))
            .collect();
        lines.push(format!(
            "observed: {service} {} → {} would {ruling}: {}",
            cell(trial, "/from"),
            cell(trial, "/to"),
            numbers.join("; ")
        ));
        for finding in list(trial, "findings") {
            let remedy = cell(finding, "/remedy");
            if trial["ruling"] == json!("insufficient") && !["-", ""].contains(&remedy.as_str()) {
                lines.push(format!("  {}: {remedy}", cell(finding, "/signal")));
            }
        }
    }
}

fn per_cent(ratio: &Value) -> String {
    let text = ratio.as_f64().map(|ratio| output::figure(ratio * 100.0));
    unit(text.as_deref().unwrap_or("-"), "%")
}

fn unit(text: &str, unit: &str) -> String {
    match text {
        "-" => "-".to_owned(),
        number => format!("{number} {unit}"),
    }
}

fn indented(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let lines = output::lines(header, rows);
    lines.iter().map(|line| format!("  {line}")).collect()
}

/// Hosts and routers that are not connected, and routers that one service fills.
fn connections(status: &Value, now: Time, style: Style, lines: &mut Vec<String>) {
    let (hosts, routers) = (list(status, "hosts"), list(status, "routers"));
    let mut away = Vec::new();
    for (all, kind, name) in [(hosts, "host", "/name"), (routers, "router", "/fabric")] {
        for one in all {
            if one["connected"] == json!(false) {
                let heard = match output::age(one, "/reportedAt", now).as_str() {
                    "-" => "never heard of".to_owned(),
                    age => format!("last heard of {age} ago"),
                };
                away.push(format!("  {kind} {}  {heard}", cell(one, name)));
            }
        }
    }
    lines.push(String::new());
    if away.is_empty() {
        lines.push(format!(
            "Connected: all {} and all {}.",
            counted(hosts.len(), "host"),
            counted(routers.len(), "router")
        ));
    } else {
        lines.push(style.bad("Not connected"));
        lines.extend(away);
    }
    for router in routers {
        if let Some(hoarder) = router["hoarder"].as_str() {
            lines.push(style.bad(&format!(
                "Router {}: {} holds more than half of its connections.",
                cell(router, "/fabric"),
                style::clean(hoarder)
            )));
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_leads_with_what_is_blocked_and_ends_with_what_is_away() {
        let status = json!({
            "blocked": [{"what": "feed v1 → v2", "because": "error ratio 2 % (limit 0.1 %)",
                "remedy": "roll back", "change": "chg-a"}],
            "changes": [{"change": "chg-a", "service": "feed", "from": "v1", "to": "v2", "state": "paused",
                "phase": "canary", "because": "errors", "openedAt": 0, "progress": {"total": 50, "new": 5}}],
            "services": [{"name": "feed", "fabric": "lax", "instances": 50, "serving": 49, "inRotation": 49,
                "version": "v1", "demandRps": 5200.4, "capacityRps": null, "errorRatio": 0.0002, "worstP99Ms": 87.26}],
            "hosts": [{"name": "h1", "connected": true, "reportedAt": 1}, {"name": "h2", "connected": false,
                "reportedAt": 30_000}],
            "routers": [{"fabric": "lax", "connected": true, "reportedAt": 1, "hoarder": "profile"}],
        });
        let lines = report(&status, Time::from_millis(90_000), Style::PLAIN);
        assert_eq!(
            lines,
            [
                "Blocked: 1",
                "  feed v1 → v2 (chg-a): error ratio 2 % (limit 0.1 %)",
                "    to unblock: roll back",
                "",
                "Changes in flight",
                "  CHANGE  SERVICE  VERSIONS  STATE   PHASE   NEW   AGE  BECAUSE",
                "  chg-a   feed     v1 → v2   paused  canary  5/50  90s  errors",
                "",
                "Services",
                "  NAME  FABRIC  VERSION  SERVING  ROTATION  DEMAND  CAPACITY  ERRORS  WORST P99",
                "  feed  lax     v1       49/50    49        5200    -         0.02 %  87.3 ms",
                "",
                "Not connected",
                "  host h2  last heard of 60s ago",
                "Router lax: profile holds more than half of its connections.",
            ]
        );
    }

    #[test]
    fn no_share_ends_the_sheds_of_that_service_and_fabric_alone() {
        let one = |change: &str, kind: &str, service: &str, until: Value, fabrics: &[&str]| {
            json!({"change": change, "kind": kind, "service": service, "until": until,
                "fabrics": fabrics})
        };
        let all = [
            one("chg-a", "shed", "feed", json!(9), &["lax"]),
            one("chg-b", "shed", "feed", json!(9), &["iad", "lax"]),
            one("chg-c", "shed", "feed", Value::Null, &["lax"]),
            one("chg-d", "drain", "feed", json!(9), &["lax"]),
            one("chg-e", "shed", "graph", json!(9), &["lax"]),
        ];
        let mut shed = Shed {
            service: "feed".parse().unwrap(),
            percent: "0%".to_owned(),
            fabric: None,
            reason: String::new(),
        };
        assert_eq!(open_sheds(&all, &shed), (vec!["chg-a", "chg-b"], None));
        shed.fabric = Some("lax".parse().unwrap());
        assert_eq!(open_sheds(&all, &shed), (vec!["chg-a"], Some("chg-b")));
        shed.fabric = Some("sin".parse().unwrap());
        assert_eq!(open_sheds(&all, &shed), (vec![], None));
    }

    #[test]
    fn status_says_what_a_rollout_of_an_observed_service_would_have_come_to() {
        let finding = |value: &str, remedy: &str| json!({"signal": "errors", "value": value, "remedy": remedy});
        let status = json!({"observed": [
            {"service": "shop", "stable": "v1", "trial": {"from": "v1", "to": "v2", "ruling": "harm",
                "would": "fail", "findings": [finding("20 % of 900", "mend the new version")]}},
            {"service": "cart", "stable": "v1", "trial": {"from": "v1", "to": "v2", "ruling": "insufficient",
                "would": "wait for evidence", "findings": [finding("0 % of 9", "about 500 more")]}},
            {"service": "till", "stable": "v7", "trial": null, "because": "one version serves"},
        ]});
        let lines = report(&status, Time::from_millis(0), Style::PLAIN);
        assert_eq!(
            lines[4..8],
            [
                "observed: shop v1 → v2 would fail: 20 % of 900",
                "observed: cart v1 → v2 would wait for evidence: 0 % of 9",
                "  errors: about 500 more",
                "observed: till v7: one version serves",
            ]
        );
    }

    #[test]
    fn a_name_that_is_instance_and_service_has_to_be_told_apart() {
        let instances = [
            json!({"metadata": {"name": "feed-1"}, "spec": {"service": "feed"}}),
            json!({"metadata": {"name": "profile"}, "spec": {"service": "profile"}}),
        ];
        let meant = |name: &str, fabric| meant(&instances, &name.parse().unwrap(), fabric);
        assert!(meant("feed-1", false).unwrap());
        assert!(!meant("feed", false).unwrap());
        assert!(!meant("unheard-of", false).unwrap());
        let error = meant("profile", false).unwrap_err().to_string();
        assert!(error.contains("instance/profile"), "{error}");
        assert!(
            !meant("profile", true).unwrap(),
            "a fabric is only said of a service"
        );
    }
}
