//! One test for each fault of `docs/operations/faults.md` that a platform of one fabric can show: what the
//! ledger holds afterwards, and with which code the command ends.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "faults/counts.rs"]
mod counts;
#[path = "faults/hosts.rs"]
mod hosts;
#[path = "faults/observed.rs"]
mod observed;
#[path = "faults/platform.rs"]
mod platform;

use mainstay_siege::SmallDisk;
use platform::{Platform, code, stderr};

const EXIT_ROLLED_BACK: i32 = 1;
const EXIT_ERROR: i32 = 2;

#[test]
fn an_unknown_service_is_refused_and_leaves_nothing_in_the_ledger() {
    let platform = Platform::start();
    let before = platform.entries();
    let said = platform.run(&["rollout", "start", "ghost", "v2"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("there is no service `ghost`"),
        "{}",
        stderr(&said)
    );
    assert_eq!(platform.entries(), before);
}

#[test]
fn a_service_that_users_ask_for_is_neither_deleted_nor_let_go_until_its_requests_are_refused() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    let declared = platform.apply(&platform.service("v1", "careful"));
    assert!(declared.status.success(), "{}", stderr(&declared));
    platform.wait_for("shop", "done");
    let observed = "apiVersion: mainstay/v1\nkind: Service\nmetadata: {name: shop}\nspec: {owner: shop, manage: observe}\n";
    let fabric = "apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {name: pdx}\nspec: {}\n";
    let both = format!("{fabric}---\n{observed}");
    platform.until("letting it go is refused", || {
        platform.ask("/shop/home");
        let said = platform.dry(&both);
        code(&said) == EXIT_ERROR && stderr(&said).contains("shop is asked for")
    });
    let said = stderr(&platform.dry(&both));
    assert!(
        said.contains("dry.yaml:9:29: Service/shop spec.manage: "),
        "{said}"
    );
    let said = platform.run(&["delete", "service", "shop"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("service-serves") && stderr(&said).contains("mainstay shed"),
        "{}",
        stderr(&said)
    );
    assert_eq!(platform.pids().len(), 2, "everything runs on");
    let shed = platform.run(&["shed", "shop", "100%", "--reason", "it is retired"]);
    assert!(shed.status.success(), "{}", stderr(&shed));
    platform.until("it is let go", || {
        platform
            .run(&["delete", "service", "shop"])
            .status
            .success()
    });
    platform.until("its processes are gone", || platform.pids().is_empty());
}

#[test]
fn calls_in_a_circle_and_a_child_that_outlives_its_parent_are_refused_at_apply() {
    let platform = Platform::start();
    let service = |name: &str, calls: &str, timeout: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  owner: o\n  \
             timeout: 1s\n  manage: observe\n  dependencies: [{{service: {calls}, timeout: {timeout}}}]\n---\n"
        )
    };
    let circle = service("a", "b", "500ms") + &service("b", "a", "500ms");
    let said = platform.apply(&circle);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("calls form a cycle: a → b → a"),
        "{}",
        stderr(&said)
    );
    let outlives = service("a", "b", "200ms")
        + &service("b", "c", "500ms")
        + "apiVersion: mainstay/v1\nkind: Service\nmetadata: {name: c}\nspec: {owner: o, manage: observe}\n";
    let said = platform.apply(&outlives);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("the child outlives its parent"),
        "{}",
        stderr(&said)
    );
    assert!(
        platform
            .json(&["get", "services"])
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_missing_artifact_the_same_version_and_an_impossible_policy_are_refused_before_anything_begins()
{
    let platform = Platform::start();
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v1", "careful"))
            .status
            .success()
    );
    platform.wait_for("shop", "done");
    let said = platform.run(&["rollout", "start", "shop", "v9"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("there is no artifact"),
        "{}",
        stderr(&said)
    );
    let said = platform.run(&["rollout", "start", "shop", "v1"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("shop runs v1 already"),
        "{}",
        stderr(&said)
    );
    platform.build("v2", &[]);
    let never = "apiVersion: mainstay/v1\nkind: RolloutPolicy\nmetadata: {name: careful}\nspec: {margin: 0%}\n";
    let said = platform.apply(never);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("input.yaml:4:16: RolloutPolicy/careful spec.margin"),
        "{}",
        stderr(&said)
    );
    let said = platform.run(&["rollout", "start", "shop", "v2", "--batch", "0%"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("can never be satisfied"),
        "{}",
        stderr(&said)
    );
    let bound = "apiVersion: mainstay/v1\nkind: RolloutPolicy\nmetadata: {name: careful}\nspec: {enforce: true}\n";
    assert!(platform.apply(bound).status.success());
    let said = platform.run(&["rollout", "start", "shop", "v2"]);
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("rollback-unbounded"),
        "{}",
        stderr(&said)
    );
    assert_eq!(
        platform
            .json(&["get", "rollouts"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_version_that_cannot_run_is_taken_back_before_a_user_meets_it() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v1", "careful"))
            .status
            .success()
    );
    platform.wait_for("shop", "done");
    platform.broken("v2");
    let said = platform.run(&["rollout", "start", "shop", "v2", "--watch"]);
    assert_eq!(code(&said), EXIT_ROLLED_BACK, "{}", stderr(&said));
    let (_, state, because) = platform.newest();
    assert_eq!(state, "rolled-back");
    assert!(because.contains("cannot start"), "{because}");
    let instances = platform.json(&["get", "instances"]);
    let versions: Vec<&str> = instances
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["spec"]["version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["v1", "v1"]);
    assert!(platform.run(&["ledger", "verify"]).status.success());
}

#[test]
fn a_port_that_is_taken_is_named_with_who_holds_it_and_the_first_release_goes_back() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let yaml = platform
        .service("v1", "careful")
        .replace("run: {", &format!("run: {{port: {port}, "));
    assert!(platform.apply(&yaml).status.success());
    platform.wait_for("shop", "rolled-back");
    let (_, _, because) = platform.newest();
    let wanted = format!("port {port} is taken by process {}", std::process::id());
    assert!(because.contains(&wanted), "{because}");
    let status = platform.status();
    assert!(
        status.contains("shop runs nowhere: its first release, v1, was taken back")
            && status.contains(&wanted)
            && status.contains("mainstay rollout start shop v1"),
        "{status}"
    );
}

#[test]
fn a_first_release_whose_artifact_is_missing_says_so_until_it_is_there() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v2", "careful"))
            .status
            .success()
    );
    platform.until("it is told", || {
        platform.status().contains("there is no artifact")
    });
    let status = platform.status();
    assert!(
        status.contains("the first release of shop, v2")
            && status.contains("to unblock: put the version there"),
        "{status}"
    );
    let said = platform.run(&["describe", "service/shop"]);
    let described = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        described.contains("# the first release of shop, v2: there is no artifact")
            && described.contains("appliedAt: \"20")
            && described.contains("mainstay ledger show --stream resource/Service/shop"),
        "{described}"
    );
    let history = platform.json(&["ledger", "show", "--stream", "resource/Service/shop"]);
    assert_eq!(history.as_array().unwrap().len(), 1);
    platform.build("v2", &[]);
    platform.wait_for("shop", "done");
    assert!(platform.status().starts_with("Nothing is blocked."));
}

#[test]
fn a_freeze_holds_a_rollout_and_names_itself_until_it_is_lifted() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v1", "careful"))
            .status
            .success()
    );
    platform.wait_for("shop", "done");
    platform.build("v2", &[]);
    let freeze = "apiVersion: mainstay/v1\nkind: Freeze\nmetadata: {name: election}\nspec: {reason: the election}\n";
    assert!(platform.apply(freeze).status.success());
    assert!(
        platform
            .run(&["rollout", "start", "shop", "v2"])
            .status
            .success()
    );
    let (id, _, _) = platform.newest();
    platform.until("the freeze is named", || {
        let said = platform.run(&["why", &id]);
        String::from_utf8_lossy(&said.stdout).contains("freeze `election`")
    });
    assert_eq!(platform.newest().1, "running");
    assert!(
        platform
            .run(&["rollout", "abort", &id, "--reason", "not today"])
            .status
            .success()
    );
    platform.wait_for("shop", "rolled-back");
}

#[test]
fn a_server_that_is_killed_finds_its_rollout_again_and_nothing_is_started_twice() {
    let mut platform = Platform::start();
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v1", "careful"))
            .status
            .success()
    );
    platform.wait_for("shop", "done");
    let before = platform.pids();
    platform.build("v2", &[]);
    assert!(
        platform
            .run(&["rollout", "start", "shop", "v2"])
            .status
            .success()
    );
    platform.kill_server();
    platform.start_server();
    platform.until("the canary is placed", || {
        platform.pids().len() == before.len() + 2
    });
    let after = platform.pids();
    for (instance, pid) in &before {
        assert_eq!(after.get(instance), Some(pid), "{instance} was not touched");
    }
    let (id, _, _) = platform.newest();
    assert!(
        platform
            .run(&["rollout", "abort", &id, "--reason", "seen enough"])
            .status
            .success()
    );
    platform.wait_for("shop", "rolled-back");
    platform.until("the canary is gone", || platform.pids() == before);
    assert!(platform.run(&["ledger", "verify"]).status.success());
}

#[test]
fn on_a_full_disk_nothing_begins_and_a_rollout_still_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    // 64 MiB are kept for the way back; a new ledger with its log fits into the rest.
    let Some(disk) = SmallDisk::mount(96, &dir.path().join("server")).unwrap() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let platform = Platform::start_in(dir);
    platform.build("v1", &[]);
    assert!(
        platform
            .apply(&platform.service("v1", "careful"))
            .status
            .success()
    );
    platform.wait_for("shop", "done");
    platform.build("v2", &[]);
    assert!(
        platform
            .run(&["rollout", "start", "shop", "v2"])
            .status
            .success()
    );
    let (id, _, _) = platform.newest();
    platform.until("the canary is placed", || platform.pids().len() == 4);
    platform.until("it is ready", || platform.ready().0 == "200");
    disk.fill(60 << 20).unwrap();
    platform.until("it is ready no longer, and says why", || {
        let (status, body) = platform.ready();
        status == "503" && body.contains("the ledger's disk is full")
    });
    let said =
        platform.apply("apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {name: iad}\nspec: {}\n");
    assert_eq!(code(&said), EXIT_ERROR);
    assert!(
        stderr(&said).contains("the ledger's disk is full"),
        "{}",
        stderr(&said)
    );
    let said = platform.run(&["rollout", "abort", &id, "--reason", "the disk is full"]);
    assert!(said.status.success(), "{}", stderr(&said));
    platform.wait_for("shop", "rolled-back");
    assert!(platform.run(&["ledger", "verify"]).status.success());
    disk.empty().unwrap();
    platform.until("it is ready again", || platform.ready().0 == "200");
    let said =
        platform.apply("apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {name: iad}\nspec: {}\n");
    assert!(said.status.success(), "{}", stderr(&said));
    drop(platform);
}
