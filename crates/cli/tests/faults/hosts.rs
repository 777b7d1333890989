//! Hosts that leave while instances are placed on them.

use super::platform::{Platform, code, stderr};

#[test]
fn a_host_whose_instances_answer_stays_until_its_agent_is_gone_and_nothing_there_answers() {
    let mut platform = Platform::start();
    platform.build("v1", &[]);
    let declared = platform.apply(&platform.service("v1", "careful"));
    assert!(declared.status.success(), "{}", stderr(&declared));
    platform.wait_for("shop", "done");
    let elsewhere = "apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {name: iad}\nspec: {}\n---\n\
        apiVersion: mainstay/v1\nkind: Host\nmetadata: {name: h1}\nspec: {fabric: iad}\n";
    for said in [
        platform.run(&["delete", "host", "h1"]),
        platform.apply(elsewhere),
    ] {
        assert_eq!(code(&said), super::EXIT_ERROR);
        assert!(
            stderr(&said).contains("host-serves") && stderr(&said).contains("shop-lax-1"),
            "{}",
            stderr(&said)
        );
    }
    platform.kill_agent();
    platform.until("its router tells, once the agent is silent", || {
        let said = platform.run(&["delete", "host", "h1"]);
        assert_eq!(code(&said), super::EXIT_ERROR, "they still answer");
        stderr(&said).contains("answering its router")
    });
    platform.kill_orphans();
    platform.until("it may go", || {
        platform.run(&["delete", "host", "h1"]).status.success()
    });
    let hosts = platform.json(&["get", "hosts"]);
    assert!(hosts.as_array().unwrap().is_empty(), "{hosts}");
}
