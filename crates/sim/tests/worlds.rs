//! Seeds of the simulated world.

use std::collections::BTreeMap;

use mainstay_sim::{Fault, Invariant, Planted, World};

const SEEDS: u64 = 200;

#[test]
fn every_invariant_holds_in_two_hundred_worlds_and_every_fault_has_bitten() {
    let mut bites: BTreeMap<Fault, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        let report = World::new(seed, Planted::Nothing).run();
        let tail: Vec<&str> = report.trace.lines().rev().take(30).collect();
        assert!(
            report.violations.is_empty(),
            "seed {seed}: {:?}\n{tail:#?}",
            report.violations
        );
        for (fault, times) in report.bites {
            *bites.entry(fault).or_default() += times;
        }
    }
    for fault in [
        Fault::CrashAfterCommit,
        Fault::LostAcknowledgement,
        Fault::DuplicateInput,
        Fault::ClockJump,
        Fault::StaleLeader,
        Fault::DuplicateEffect,
    ] {
        let times = bites.get(&fault).copied().unwrap_or(0);
        assert!(times >= 20, "{fault:?} bit {times} times in {SEEDS} worlds");
    }
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome() {
    let whole = World::new(1, Planted::Nothing).crash_after_commit(0).run();
    assert!(whole.commits >= 80, "{} commits", whole.commits);
    for n in 1..=whole.commits {
        let report = World::new(1, Planted::Nothing).crash_after_commit(n).run();
        assert_eq!(report.violations, [], "crash after commit {n}");
        assert_eq!(report.bites.get(&Fault::CrashAfterCommit), Some(&1));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| World::new(seed, Planted::Nothing).run();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).trace, run(4).trace);
}

#[test]
fn every_planted_bug_is_found_under_the_name_of_what_it_breaks() {
    for (planted, invariant) in [
        (Planted::GuardSaysYes, Invariant::Guard),
        (Planted::NoExpectations, Invariant::Fence),
        (Planted::ReceiverTakesTwice, Invariant::Fence),
        (Planted::AcknowledgesUnwritten, Invariant::Ledger),
        (Planted::ClockStandsStill, Invariant::Undo),
        (Planted::NoRecovery, Invariant::Undo),
    ] {
        let found = (0..50).any(|seed| {
            let violations = World::new(seed, planted).run().violations;
            violations.iter().any(|it| it.invariant == invariant)
        });
        assert!(found, "{planted:?} was not found as {invariant:?}");
    }
}
