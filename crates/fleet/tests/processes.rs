//! The agent with real processes: this test binary, copied into a folder of artifacts, is what it runs.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail their test where they stand"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use mainstay_core::{InstanceName, Span};
use mainstay_fleet::{
    agent::{AgentError, Settings, run},
    process::ProcessDriver,
};
use mainstay_sys::{PidFd, Signal, identify};
use mainstay_wire::{
    Generation,
    agent::{DesiredInstance, DesiredSet, FromAgent, InstanceReport, InstanceState, ToAgent},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Set for the managed process only.
const ROLE: &str = "MANAGED_PROCESS";
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// Listens, as an instance does, and never ends by itself.
async fn serve(port: u16, ignore_term: bool) {
    let mut terms = ignore_term.then(|| {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap()
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    loop {
        match &mut terms {
            Some(terms) => tokio::select! {
                _ = listener.accept() => {}
                _ = terms.recv() => println!("SIGTERM ignored"),
            },
            None => drop(listener.accept().await),
        }
    }
}

#[tokio::test]
async fn the_managed_process_listens_on_the_port_it_was_given() {
    let role = std::env::var(ROLE).unwrap_or_default();
    match role.as_str() {
        "" => {}
        "agent" => return be_an_agent().await,
        _ => {
            let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
            let version = std::env::var("VERSION").unwrap();
            let filled = format!("{port}/voyager-lax-1/lax/{version}");
            assert_eq!(std::env::var("TEMPLATE").unwrap(), filled);
            if role == "becomes-v2" {
                become_v2(port);
            }
            return serve(port, role == "ignores-term").await;
        }
    }
    let port = free_port();
    let serving = tokio::spawn(serve(port, false));
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(!serving.is_finished());
        tokio::task::yield_now().await;
    }
    serving.abort();
}

/// Turns into another artifact, as a process that updates itself does, when first connected to.
fn become_v2(port: u16) {
    use std::os::unix::process::CommandExt;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    let mut command = std::process::Command::new("../v2/run");
    let error = command
        .args(std::env::args().skip(1))
        .env(ROLE, "serves")
        .exec();
    panic!("exec: {error}");
}

/// An agent in a process of its own, with the set it is given in a file.
async fn be_an_agent() {
    let data = std::path::PathBuf::from(std::env::var("DATA").unwrap());
    let set = fs::read(data.join("set.json")).unwrap();
    let set: DesiredSet = serde_json::from_slice(&set).unwrap();
    let (orders, ordered) = mpsc::channel(1);
    let (to, _reports) = mpsc::channel(8);
    orders.send(ToAgent::Desired { set }).await.unwrap();
    let settings = Settings::of("h1".parse().unwrap(), &data);
    let driver = ProcessDriver::new(&data);
    run(settings, driver, ordered, to, CancellationToken::new())
        .await
        .unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn put_artifact(artifacts: &Path, version: &str) -> String {
    let folder = artifacts.join(version);
    fs::create_dir_all(&folder).unwrap();
    let run = folder.join("run");
    fs::copy(std::env::current_exe().unwrap(), &run).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&run).unwrap();
    // Bytes after the end of an ELF file change its digest and nothing else.
    file.write_all(version.as_bytes()).unwrap();
    file.sync_all().unwrap();
    mainstay_sys::sha256_file(&run).unwrap()
}

/// An agent, its data and the processes it leaves behind.
struct World {
    folder: tempfile::TempDir,
    orders: mpsc::Sender<ToAgent>,
    reports: mpsc::Receiver<FromAgent>,
    stop: CancellationToken,
    agent: Option<JoinHandle<Result<(), AgentError>>>,
    pids: Vec<u32>,
    unordered: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: tempfile::TempDir) -> Self {
        let (orders, ordered) = mpsc::channel(8);
        let (to, reports) = mpsc::channel(1_024);
        let stop = CancellationToken::new();
        let data = folder.path().join("data");
        let settings = Settings::of("h1".parse().unwrap(), &data);
        let agent = tokio::spawn(run(
            settings,
            ProcessDriver::new(&data),
            ordered,
            to,
            stop.clone(),
        ));
        Self {
            folder,
            orders,
            reports,
            stop,
            agent: Some(agent),
            pids: vec![],
            unordered: vec![],
        }
    }

    /// Ends the agent alone and starts another on its data.
    async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.agent.take().unwrap().await.unwrap().unwrap();
        let empty = tempfile::tempdir().unwrap();
        let mut next = Self::on(std::mem::replace(&mut self.folder, empty));
        next.pids = std::mem::take(&mut self.pids);
        next
    }

    fn order(&self, version: &str, incarnation: u64, role: &str) -> DesiredInstance {
        let args = [
            "--exact",
            "the_managed_process_listens_on_the_port_it_was_given",
            "--nocapture",
        ];
        let template = "{port}/{instance}/{fabric}/{version}";
        let env = [(ROLE, role), ("TEMPLATE", template)];
        DesiredInstance {
            instance: "voyager-lax-1".parse().unwrap(),
            service: "voyager".parse().unwrap(),
            fabric: "lax".parse().unwrap(),
            version: version.parse().unwrap(),
            incarnation,
            artifacts: self.folder.path().join("artifacts").display().to_string(),
            args: args.map(str::to_owned).to_vec(),
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            port: None,
            stop_grace: Span::from_secs(20),
        }
    }

    fn put(&self, version: &str) -> String {
        put_artifact(&self.folder.path().join("artifacts"), version)
    }

    async fn send(&self, counter: u64, instances: Vec<DesiredInstance>) {
        let set = DesiredSet {
            generation: Generation { epoch: 1, counter },
            instances,
            ..DesiredSet::default()
        };
        self.orders.send(ToAgent::Desired { set }).await.unwrap();
    }

    /// Every report's view of the instance, until one is as `wanted`.
    async fn until(
        &mut self,
        wanted: impl Fn(Option<&InstanceReport>, Generation) -> bool,
    ) -> Vec<InstanceReport> {
        let name: InstanceName = "voyager-lax-1".parse().unwrap();
        let mut seen = Vec::new();
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                match self.reports.recv().await.expect("the agent runs") {
                    FromAgent::Report {
                        instances,
                        generation,
                        ..
                    } => {
                        let ours = instances.into_iter().find(|report| report.instance == name);
                        let done = wanted(ours.as_ref(), generation);
                        if let Some(ours) = ours {
                            self.pids
                                .extend(ours.process.as_ref().map(|process| process.pid));
                            seen.push(ours);
                        }
                        if done {
                            return;
                        }
                    }
                    FromAgent::Unordered { what, .. } => self.unordered.push(what),
                    FromAgent::Hello { .. } => {}
                }
            }
        });
        let found = found.await.is_ok();
        assert!(
            found,
            "not seen within {LIMIT:?}; last {:?}; unordered {:?}",
            seen.last(),
            self.unordered
        );
        seen
    }

    async fn until_running(&mut self, version: &str) -> InstanceReport {
        let seen = self.until(|report, _| {
            report.is_some_and(|report| {
                report.version.as_str() == version && report.state == InstanceState::Running
            })
        });
        seen.await.pop().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        for pid in &self.pids {
            // Only what still runs an artifact of this very test: a pid may have passed on.
            if let Ok(identity) = identify(*pid)
                && identity.exe_path.starts_with(self.folder.path())
                && let Ok(process) = PidFd::open_identified(&identity)
            {
                let _gone_already_is_fine = process.send(Signal::Kill);
            }
        }
    }
}

#[tokio::test]
async fn an_ordered_instance_runs_with_the_digest_of_its_artifact_and_owns_its_port() {
    let mut world = World::new();
    let digest = world.put("v1");
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let report = world.until_running("v1").await;
    let process = report.process.unwrap();
    assert_eq!(process.exe_sha256, digest);
    assert_eq!(report.artifact_sha256, Some(digest));
    assert_eq!(process.listening_port, report.port);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, report.port.unwrap())).is_ok());
    assert!(process.rss_bytes > 0 && process.open_files > 0);
    let log = world.folder.path().join("data/logs/voyager-lax-1.log");
    assert!(fs::read_to_string(log).unwrap().contains("running 1 test"));
    assert_eq!(world.unordered, Vec::<String>::new());
}

#[tokio::test]
async fn a_new_version_starts_after_the_old_one_was_seen_gone() {
    let mut world = World::new();
    let (one, two) = (world.put("v1"), world.put("v2"));
    assert_ne!(one, two);
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let old = world.until_running("v1").await.process.unwrap();
    world.send(2, vec![world.order("v2", 2, "serves")]).await;
    let seen = world
        .until(|report, _| {
            report.is_some_and(|r| r.version.as_str() == "v2" && r.state == InstanceState::Running)
        })
        .await;
    let gone = seen
        .iter()
        .position(|r| r.version.as_str() == "v1" && r.state == InstanceState::Gone);
    let first_new = seen.iter().position(|r| r.version.as_str() == "v2");
    assert!(gone.unwrap() < first_new.unwrap());
    let last = seen.last().unwrap();
    let new = last.process.as_ref().unwrap();
    assert_eq!((&new.exe_sha256, last.killed_last), (&two, false));
    assert!(new.start_ticks > old.start_ticks && new.pid != old.pid);
    assert!(identify(old.pid).is_err());
    assert_eq!(world.unordered, Vec::<String>::new());
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_its_grace_and_that_is_reported() {
    let mut world = World::new();
    world.put("v1");
    let mut order = world.order("v1", 1, "ignores-term");
    order.stop_grace = Span::from_millis(700);
    world.send(1, vec![order]).await;
    let pid = world.until_running("v1").await.process.unwrap().pid;
    world.send(2, vec![]).await;
    let seen = world.until(|report, _| report.is_none()).await;
    let stopping = seen
        .iter()
        .find(|r| r.state == InstanceState::Stopping)
        .unwrap();
    assert!(!stopping.killed_last);
    let gone = seen.last().unwrap();
    assert_eq!(
        (&gone.state, gone.killed_last),
        (&InstanceState::Gone, true)
    );
    assert!(identify(pid).is_err());
}

#[tokio::test]
async fn a_restarted_agent_finds_its_process_again_and_starts_no_second_one() {
    let mut world = World::new();
    world.put("v1");
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let before = world.until_running("v1").await;
    let mut world = world.restart().await;
    // No order is sent: the set is remembered.
    let seen = world
        .until(|report, _| report.is_some_and(|r| r.state == InstanceState::Running))
        .await;
    let after = seen.last().unwrap();
    assert_eq!(after.port, before.port);
    let (before, after) = (before.process.unwrap(), after.process.clone().unwrap());
    assert_eq!(
        (after.pid, after.start_ticks),
        (before.pid, before.start_ticks)
    );
    let run = world.folder.path().join("artifacts/v1/run");
    let running = fs::read_dir("/proc").unwrap().flatten();
    let running =
        running.filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == run));
    assert_eq!(running.count(), 1);
    // Adopted means obeyed, too.
    world.send(2, vec![]).await;
    world.until(|report, _| report.is_none()).await;
    assert!(identify(after.pid).is_err());
    assert_eq!(world.unordered, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_artifact_is_reported_with_its_place_and_starts_once_it_is_there() {
    let mut world = World::new();
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let failed = |report: Option<&InstanceReport>, _| {
        report.is_some_and(|r| matches!(&r.state, InstanceState::Failed { because }
            if because.contains("artifacts/v1/run is missing") && because.contains("put version v1 there")))
    };
    world.until(failed).await;
    world.put("v1");
    assert_eq!(world.until_running("v1").await.unordered_exits, 0);
}

#[tokio::test]
async fn a_file_that_is_not_executable_is_reported_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    world.put("v1");
    let run = world.folder.path().join("artifacts/v1/run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o644)).unwrap();
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let failed = |report: Option<&InstanceReport>, _| {
        report.is_some_and(|r| {
            matches!(&r.state, InstanceState::Failed { because }
            if because.contains("not an executable file") && because.contains("chmod +x"))
        })
    };
    world.until(failed).await;
}

#[tokio::test]
async fn a_taken_fixed_port_names_the_process_that_holds_it() {
    let mut world = World::new();
    world.put("v1");
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut order = world.order("v1", 1, "serves");
    order.port = Some(port);
    world.send(1, vec![order]).await;
    let expected = format!("port {port} is taken by process {}", std::process::id());
    world
        .until(|report, _| {
            report.is_some_and(|r| {
                matches!(&r.state, InstanceState::Failed { because }
            if because.contains(&expected))
            })
        })
        .await;
    drop(holder);
    assert_eq!(world.until_running("v1").await.port, Some(port));
}

#[tokio::test]
async fn an_order_of_an_older_generation_changes_nothing() {
    let mut world = World::new();
    world.put("v1");
    world.send(5, vec![world.order("v1", 1, "serves")]).await;
    let before = world.until_running("v1").await.process.unwrap();
    world.send(4, vec![]).await;
    // Orders are taken in turn, so what comes after the stale one shows that it was looked at.
    world.send(6, vec![world.order("v1", 1, "serves")]).await;
    let seen = world
        .until(|report, generation| {
            generation.counter == 6 && report.is_some_and(|r| r.state == InstanceState::Running)
        })
        .await;
    assert!(
        seen.iter()
            .all(|report| report.state == InstanceState::Running)
    );
    assert_eq!(
        seen.last().unwrap().process.as_ref().unwrap().pid,
        before.pid
    );
}

#[tokio::test]
async fn an_exit_nobody_ordered_is_reported_and_restarted_after_its_back_off() {
    let mut world = World::new();
    world.put("v1");
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let mut old = world.until_running("v1").await.process.unwrap();
    for exits in 1..=2_u32 {
        let identity = identify(old.pid).unwrap();
        PidFd::open_identified(&identity)
            .unwrap()
            .send(Signal::Kill)
            .unwrap();
        let killed_at = std::time::Instant::now();
        let seen = world
            .until(|report, _| {
                report.is_some_and(|r| {
                    r.unordered_exits == exits && r.state == InstanceState::Running
                })
            })
            .await;
        assert!(
            seen.iter()
                .any(|r| matches!(&r.state, InstanceState::Waiting { because }
            if because.contains("without an order")))
        );
        // 0.5 s, then 1 s.
        assert!(killed_at.elapsed() >= Duration::from_millis(500) * exits);
        let new = seen.last().unwrap().process.clone().unwrap();
        assert_ne!(new.pid, old.pid);
        old = new;
        assert_eq!(world.unordered.len() as u32, exits);
        assert!(
            world
                .unordered
                .last()
                .unwrap()
                .contains("exited without an order")
        );
    }
}

#[tokio::test]
async fn a_process_of_ours_that_somebody_starts_by_hand_is_reported() {
    let mut world = World::new();
    world.put("v1");
    let order = world.order("v1", 1, "serves");
    world.send(1, vec![order.clone()]).await;
    world.until_running("v1").await;
    let env: BTreeMap<&str, String> = BTreeMap::from([
        (ROLE, "serves".to_owned()),
        ("PORT", free_port().to_string()),
        ("TEMPLATE", String::new()),
    ]);
    let run = world.folder.path().join("artifacts/v1/run");
    let mut by_hand = std::process::Command::new(run);
    let port = env["PORT"].clone();
    by_hand.args(&order.args).envs(env).env("VERSION", "v1");
    by_hand.env("TEMPLATE", format!("{port}/voyager-lax-1/lax/v1"));
    let mut child = std::os::unix::process::CommandExt::process_group(&mut by_hand, 0)
        .spawn()
        .unwrap();
    let what = format!("process {} runs", child.id());
    let told = tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(FromAgent::Unordered { what: told, .. }) = world.reports.recv().await
                && told.contains(&what)
            {
                return;
            }
        }
    });
    let told = told.await;
    child.kill().unwrap();
    child.wait().unwrap();
    told.expect("the stray is reported");
}

#[tokio::test]
async fn a_process_that_turns_into_another_program_is_reported_with_its_new_digest() {
    let mut world = World::new();
    world.put("v1");
    let two = world.put("v2");
    world
        .send(1, vec![world.order("v1", 1, "becomes-v2")])
        .await;
    let before = world.until_running("v1").await;
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, before.port.unwrap())).unwrap());
    let seen = world
        .until(|report, _| {
            report
                .and_then(|r| r.process.as_ref())
                .is_some_and(|p| p.exe_sha256 == two)
        })
        .await;
    let after = seen.last().unwrap().process.clone().unwrap();
    assert_eq!(after.pid, before.process.unwrap().pid);
    // The event is sent before the report that follows from it.
    assert_eq!(
        world.unordered,
        [format!("process {} now runs {two}", after.pid)]
    );
}

#[tokio::test]
async fn an_artifact_exchanged_under_a_running_process_is_reported_and_the_process_left_alone() {
    let mut world = World::new();
    let one = world.put("v1");
    let two = world.put("v2");
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    world.until_running("v1").await;
    let artifacts = world.folder.path().join("artifacts");
    fs::rename(artifacts.join("v2/run"), artifacts.join("v1/run")).unwrap();
    let seen = world
        .until(|report, _| report.is_some_and(|r| r.artifact_sha256.as_ref() == Some(&two)))
        .await;
    let last = seen.last().unwrap();
    assert_eq!(last.state, InstanceState::Running);
    assert_eq!(last.process.as_ref().unwrap().exe_sha256, one);
    assert_eq!(
        world.unordered,
        [format!("its artifact on disk is now {two}")]
    );
}

#[tokio::test]
async fn instances_outlive_an_agent_that_is_killed_and_the_next_one_adopts_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(&data).unwrap();
    let first = World::on(tempfile::tempdir().unwrap());
    let mut order = first.order("v1", 1, "serves");
    drop(first);
    let artifacts = folder.path().join("artifacts");
    order.artifacts = artifacts.display().to_string();
    put_artifact(&artifacts, "v1");
    let set = DesiredSet {
        generation: Generation {
            epoch: 1,
            counter: 1,
        },
        instances: vec![order.clone()],
        ..DesiredSet::default()
    };
    fs::write(data.join("set.json"), serde_json::to_vec(&set).unwrap()).unwrap();
    let mut agent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(&order.args)
        .env(ROLE, "agent")
        .env("DATA", &data)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    let pid = loop {
        let state = fs::read(data.join("agent.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
        if let Some(pid) = state.pointer("/instances/voyager-lax-1/process/pid") {
            break pid.as_u64().unwrap();
        }
        assert!(
            began.elapsed() < LIMIT,
            "the agent started nothing: {state}"
        );
        tokio::task::yield_now().await;
    };
    // SIGKILL.
    agent.kill().unwrap();
    agent.wait().unwrap();
    let mut world = World::on(folder);
    world.pids.push(u32::try_from(pid).unwrap());
    let process = world.until_running("v1").await.process.unwrap();
    assert_eq!(u64::from(process.pid), pid);
    assert_eq!(world.unordered, Vec::<String>::new());
}

#[tokio::test]
async fn a_process_whose_start_was_not_written_down_is_found_by_what_it_runs() {
    let mut world = World::new();
    world.put("v1");
    world.send(1, vec![world.order("v1", 1, "serves")]).await;
    let before = world.until_running("v1").await.process.unwrap();
    world.stop.cancel();
    world.agent.take().unwrap().await.unwrap().unwrap();
    // As an agent leaves it that dies between the start and the record.
    let path = world.folder.path().join("data/agent.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let instance = &mut state["instances"]["voyager-lax-1"];
    instance["process"] = serde_json::Value::Null;
    instance["running"]["life"] = serde_json::json!({"life": "launching"});
    fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let folder = std::mem::replace(&mut world.folder, empty);
    let mut next = World::on(folder);
    next.pids.push(before.pid);
    let after = next.until_running("v1").await.process.unwrap();
    assert_eq!(
        (after.pid, after.start_ticks),
        (before.pid, before.start_ticks)
    );
    assert_eq!(next.unordered, Vec::<String>::new());
}
