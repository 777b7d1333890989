//! `mainstay agent`.

use std::{collections::BTreeMap, fs, path::Path};

use mainstay_core::{HostName, Span};
use mainstay_fleet::hub::FleetView;
use mainstay_server::Access;
use mainstay_wire::{
    Generation,
    agent::{DesiredInstance, DesiredSet, InstanceState},
};
use tempfile::TempDir;

use crate::{Mainstay, Server};

fn host() -> HostName {
    "h1".parse().unwrap()
}

/// Folders of one host: `artifacts/v1/run` sleeps.
fn ground() -> TempDir {
    let dir = TempDir::new().unwrap();
    let version = dir.path().join("artifacts/v1");
    fs::create_dir_all(&version).unwrap();
    fs::copy("/bin/sleep", version.join("run")).unwrap();
    dir
}

fn start(server: &str, dir: &Path, more: &[&str]) -> Mainstay {
    let data = dir.join("agent");
    let args = ["agent", "--host", "h1", "--server", server, "--data-dir"];
    Mainstay::start(&[&args[..], &[data.to_str().unwrap()], more].concat())
}

fn set(dir: &Path, counter: u64, names: &[&str]) -> DesiredSet {
    let instances = names.iter().map(|name| DesiredInstance {
        instance: name.parse().unwrap(),
        service: "voyager".parse().unwrap(),
        fabric: "lax".parse().unwrap(),
        version: "v1".parse().unwrap(),
        incarnation: 1,
        artifacts: dir.join("artifacts").to_str().unwrap().to_owned(),
        args: vec!["600".into()],
        env: BTreeMap::new(),
        port: None,
        stop_grace: Span::from_secs(5),
    });
    DesiredSet {
        generation: Generation { epoch: 1, counter },
        instances: instances.collect(),
        ..DesiredSet::default()
    }
}

/// Process ids of what runs, by name.
fn pids(view: &FleetView) -> BTreeMap<String, u32> {
    let Some(host) = view.hosts.get(&host()).filter(|host| host.connected) else {
        return BTreeMap::new();
    };
    let running = host.instances.iter().filter_map(|report| {
        let process = report.process.as_ref()?;
        Some((report.instance.to_string(), process.pid))
    });
    running.collect()
}

/// The process ids as soon as there are `count`.
async fn running(server: &Server, count: usize) -> BTreeMap<String, u32> {
    let view = server.fleet_until(|view| pids(view).len() == count).await;
    pids(&view)
}

/// All processes that run the artifact in `dir`, whoever started them.
fn processes(dir: &Path) -> Vec<u32> {
    let run = fs::canonicalize(dir.join("artifacts/v1/run")).unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids: Vec<u32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == run))
        .collect();
    pids.sort_unstable();
    pids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_away_is_met_again_and_nothing_is_started_twice() {
    let dir = ground();
    let server = Server::start().await;
    let agent = start(&server.url(), dir.path(), &["--leash"]);
    server
        .fleet
        .order(&host(), set(dir.path(), 1, &["voyager-lax-1"]));
    let first = running(&server, 1).await;

    let address = server.stop().await;
    agent.says("the last orders stand");
    let server = Server::start_on(address, Access::OpenOnLoopback).await;
    let both = set(dir.path(), 2, &["voyager-lax-1", "voyager-lax-2"]);
    server.fleet.order(&host(), both.clone());
    let then = running(&server, 2).await;
    assert_eq!(then["voyager-lax-1"], first["voyager-lax-1"]);
    assert_eq!(processes(dir.path()).len(), 2);

    agent.signal("-KILL");
    server.fleet_until(|view| pids(view).is_empty()).await;
    assert_eq!(processes(dir.path()).len(), 2, "they outlive their agent");
    drop(agent);
    let agent = start(&server.url(), dir.path(), &["--leash"]);
    let found = running(&server, 2).await;
    assert_eq!(found, then);

    assert!(agent.let_go().await.success());
    assert!(processes(dir.path()).is_empty(), "they went with the leash");
    let view = server.fleet.view();
    let mut told = view.hosts[&host()].instances.iter();
    assert!(
        told.all(|it| it.state == InstanceState::Gone),
        "the server was told: {view:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leash_the_instances_go_on_and_the_next_agent_takes_them_or_ends_them() {
    let dir = ground();
    let server = Server::start().await;
    server
        .fleet
        .order(&host(), set(dir.path(), 1, &["voyager-lax-1"]));
    let mut agent = start(&server.url(), dir.path(), &[]);
    let first = running(&server, 1).await;
    agent.signal("-TERM");
    assert!(agent.ended().await.success());
    assert_eq!(processes(dir.path()), [first["voyager-lax-1"]]);

    // On a leash that is let go of at once, without a server.
    let address = server.stop().await;
    let agent = start(&format!("http://{address}"), dir.path(), &["--leash"]);
    assert!(agent.let_go().await.success());
    assert!(processes(dir.path()).is_empty());

    // What it told itself then does not bind the next one.
    let server = Server::start_on(address, Access::OpenOnLoopback).await;
    server
        .fleet
        .order(&host(), set(dir.path(), 1, &["voyager-lax-1"]));
    let agent = start(&server.url(), dir.path(), &["--leash"]);
    server.fleet_until(|view| pids(view).len() == 1).await;
    assert!(agent.let_go().await.success());
    assert!(processes(dir.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_by_hand_is_told_as_unordered_and_started_again() {
    let dir = ground();
    let mut server = Server::start().await;
    server
        .fleet
        .order(&host(), set(dir.path(), 1, &["voyager-lax-1"]));
    let agent = start(&server.url(), dir.path(), &["--leash"]);
    let first = running(&server, 1).await;
    crate::signal(first["voyager-lax-1"], "-KILL");
    let told = tokio::time::timeout(crate::LIMIT, server.unordered.recv());
    let told = told.await.unwrap().unwrap();
    assert!(told.what.contains("without an order"), "{told:?}");
    assert_eq!(told.instance.unwrap().as_str(), "voyager-lax-1");
    server
        .fleet_until(|view| pids(view).len() == 1 && pids(view) != first)
        .await;
    assert!(agent.let_go().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_asked_for_an_agent_needs_one_with_the_scope_host() {
    let dir = ground();
    let server = Server::start_on(([127, 0, 0, 1], 0).into(), Access::Tokens).await;
    let without = start(&server.url(), dir.path(), &["--leash"]);
    let why = without.says("no server: ");
    assert!(why.contains("401") && why.contains("--token"), "{why}");
    assert!(without.let_go().await.success());
    let with = start(
        &server.url(),
        dir.path(),
        &["--leash", "--token", "host-token"],
    );
    server
        .fleet_until(|view| view.hosts.contains_key(&host()))
        .await;
    assert!(with.let_go().await.success());
}
