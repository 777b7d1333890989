//! Every test signals real processes that it started itself.

use super::*;
use crate::identify;
use crate::testing::{LIMIT, Sleeper};

#[test]
fn a_verified_process_ends_when_asked_to() {
    let sleeper = Sleeper::spawn();
    let identity = identify(sleeper.pid()).unwrap();
    let process = PidFd::open_identified(&identity).unwrap();
    assert!(!process.exited().unwrap());
    process.send(Signal::Term).unwrap();
    assert!(process.wait_exited(LIMIT).unwrap());
    assert!(process.exited().unwrap());
}

#[test]
fn a_stopped_process_is_seen_stopped_and_runs_again_when_told() {
    let sleeper = Sleeper::spawn();
    let process = PidFd::open(sleeper.pid()).unwrap();
    process.send(Signal::Stop).unwrap();
    sleeper.wait_state("T");
    process.send(Signal::Cont).unwrap();
    sleeper.wait_state("SR");
    assert!(!process.exited().unwrap());
}

#[test]
fn an_identity_with_another_start_time_is_refused() {
    let sleeper = Sleeper::spawn();
    let mut identity = identify(sleeper.pid()).unwrap();
    identity.start_time_ticks -= 1;
    let process = PidFd::open(sleeper.pid()).unwrap();
    let refused = process.verify(&identity);
    assert!(matches!(refused, Err(Error::Reused { expected, found, .. }) if found == expected + 1));
    let refused = process.send_to_group(&identity, Signal::Kill);
    assert!(matches!(refused, Err(Error::Reused { .. })));
    assert!(matches!(
        PidFd::open_identified(&identity),
        Err(Error::Reused { .. })
    ));
    assert!(!process.exited().unwrap());
}

#[test]
fn an_identity_of_another_boot_or_another_pid_is_refused() {
    let sleeper = Sleeper::spawn();
    let other = Sleeper::spawn();
    let process = PidFd::open(sleeper.pid()).unwrap();
    let mut identity = identify(sleeper.pid()).unwrap();
    identity.boot_id = "another".to_owned();
    assert!(matches!(
        process.verify(&identity),
        Err(Error::OtherBoot { .. })
    ));
    let identity = identify(other.pid()).unwrap();
    assert!(matches!(
        process.verify(&identity),
        Err(Error::OtherPid { .. })
    ));
}

#[test]
fn a_reaped_process_is_neither_verified_nor_signalled() {
    let mut sleeper = Sleeper::spawn();
    let identity = identify(sleeper.pid()).unwrap();
    let process = PidFd::open(sleeper.pid()).unwrap();
    assert!(!process.reaped().unwrap());
    sleeper.end();
    assert!(process.reaped().unwrap());
    assert!(process.exited().unwrap());
    assert!(process.verify(&identity).is_err());
    assert!(matches!(
        process.send(Signal::Kill),
        Err(Error::NoSuchProcess { .. })
    ));
    let refused = process.send_to_group(&identity, Signal::Kill);
    assert!(refused.is_err());
}

#[test]
fn a_group_signal_ends_the_leader_and_what_it_started() {
    let leader = Sleeper::spawn_leader_with_child();
    let child = PidFd::open(leader.child_pid()).unwrap();
    let identity = identify(leader.pid()).unwrap();
    let process = PidFd::open_identified(&identity).unwrap();
    process.send_to_group(&identity, Signal::Kill).unwrap();
    assert!(process.wait_exited(LIMIT).unwrap());
    assert!(child.wait_exited(LIMIT).unwrap());
}

#[test]
fn a_group_is_signalled_while_its_ended_leader_is_not_reaped() {
    let leader = Sleeper::spawn_leader_with_child();
    let child = PidFd::open(leader.child_pid()).unwrap();
    let identity = identify(leader.pid()).unwrap();
    let process = PidFd::open_identified(&identity).unwrap();
    leader.end_without_reaping();
    assert!(!child.exited().unwrap());
    process.send_to_group(&identity, Signal::Kill).unwrap();
    assert!(child.wait_exited(LIMIT).unwrap());
}

#[test]
fn a_process_that_leads_no_group_is_not_taken_for_a_group() {
    let sleeper = Sleeper::spawn();
    let identity = identify(sleeper.pid()).unwrap();
    let process = PidFd::open_identified(&identity).unwrap();
    // The group is this test's own: a kill that got through would end it here.
    assert!(matches!(
        process.send_to_group(&identity, Signal::Kill),
        Err(Error::NotLeader { .. })
    ));
}

#[test]
fn the_group_of_init_is_never_signalled_since_its_number_means_everybody() {
    assert!(!is_group_to_signal(1, 1));
    assert!(!is_group_to_signal(0, 0));
    assert!(!is_group_to_signal(42, 41));
    assert!(is_group_to_signal(42, 42));
}

#[test]
fn a_wait_gives_up_at_its_limit() {
    let sleeper = Sleeper::spawn();
    let process = PidFd::open(sleeper.pid()).unwrap();
    assert!(!process.wait_exited(Duration::from_millis(20)).unwrap());
}

#[test]
fn a_pid_that_cannot_be_one_is_refused_before_the_kernel_sees_it() {
    for pid in [0, u32::MAX, i32::MAX as u32 + 1] {
        assert!(matches!(PidFd::open(pid), Err(Error::NoSuchProcess { .. })));
    }
}

#[test]
fn a_descriptor_of_a_reaped_process_holds_no_pid() {
    assert!(holds_pid("pos:\t0\nPid:\t41\nNSpid:\t41\n", 41));
    assert!(!holds_pid("pos:\t0\nPid:\t-1\nNSpid:\t-1\n", 41));
    assert!(!holds_pid("pos:\t0\nNSpid:\t41\n", 41));
}
