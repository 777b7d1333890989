//! Services that declare more or fewer instances than run.

use super::platform::{Platform, code, stderr};

fn declared(platform: &Platform, count: u32, capacity: u32) -> String {
    let service = platform.service("v1", "careful");
    service
        .replace("{lax: 2}", &format!("{{lax: {count}}}"))
        .replace("capacityRps: 100", &format!("capacityRps: {capacity}"))
}

/// Titles and states of the changes of counts, newest first.
fn scales(platform: &Platform) -> Vec<(String, String)> {
    let changes = platform.json(&["changes", "--kind", "scale"]);
    let text =
        |it: &serde_json::Value, path: &str| it.pointer(path).unwrap().as_str().unwrap().to_owned();
    let changes = changes.as_array().unwrap().iter();
    changes
        .map(|it| (text(it, "/change/title"), text(it, "/state")))
        .collect()
}

#[test]
fn more_instances_are_seen_serving_fewer_are_refused_under_load_and_else_seen_gone() {
    let platform = Platform::start();
    platform.build("v1", &[]);
    let said = platform.apply(&declared(&platform, 2, 2));
    assert!(said.status.success(), "{}", stderr(&said));
    platform.wait_for("shop", "done");

    let said = platform.apply(&declared(&platform, 3, 2));
    assert!(said.status.success(), "{}", stderr(&said));
    let done = |title: &str| (title.to_owned(), "done".to_owned());
    platform.until("a third is there", || {
        scales(&platform) == [done("scale shop: lax 2 → 3")]
    });
    assert_eq!(platform.pids().len(), 3);

    platform.until("fewer is refused while users ask for more", || {
        for _ in 0..20 {
            platform.ask("/shop/home");
        }
        let said = platform.dry(&declared(&platform, 1, 2));
        let told = stderr(&said);
        code(&said) == super::EXIT_ERROR
            && told.contains("scale-denied")
            && told.contains("instances carry")
    });
    let said = platform.apply(&declared(&platform, 3, 100));
    assert!(said.status.success(), "{}", stderr(&said));
    platform.until("fewer is allowed where one carries all", || {
        platform
            .apply(&declared(&platform, 1, 100))
            .status
            .success()
    });
    platform.until("two are gone", || {
        scales(&platform).first() == Some(&done("scale shop: lax 3 → 1"))
    });
    let left: Vec<String> = platform.pids().into_keys().collect();
    assert_eq!(left, ["shop-lax-1"]);
}

#[test]
fn an_instance_that_ignores_its_stop_is_killed_and_the_change_says_so() {
    let platform = Platform::start();
    platform.build("v1", &["ignores-stop"]);
    let stubborn = |count: u32| {
        let service = declared(&platform, count, 100);
        service.replace("run: {", "run: {stopGrace: 1s, ")
    };
    let said = platform.apply(&stubborn(2));
    assert!(said.status.success(), "{}", stderr(&said));
    platform.wait_for("shop", "done");
    let said = platform.apply(&stubborn(1));
    assert!(said.status.success(), "{}", stderr(&said));
    platform.until("one is gone", || {
        let state = scales(&platform).pop().map(|(_, state)| state);
        state.as_deref() == Some("done")
    });
    assert_eq!(platform.pids().len(), 1);
    let change = &platform.json(&["changes", "--kind", "scale"])[0];
    let because = change["because"].as_str().unwrap();
    assert!(
        because.contains("had to be killed: shop-lax-2"),
        "{because}"
    );
}
