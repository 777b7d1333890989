//! Seeds of the world of a rollout.

use std::collections::BTreeMap;

use mainstay_core::{ChangeState, catalog::Strategy};
use mainstay_sim::{Fault, Invariant, Planted, RolloutWorld, Sized};

const SEEDS: u64 = 200;

#[test]
fn every_invariant_holds_in_two_hundred_rollouts_and_every_fault_has_bitten() {
    let mut bites: BTreeMap<Fault, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        let report = RolloutWorld::new(seed, Planted::Nothing).run();
        let tail: Vec<&str> = report.trace.lines().rev().take(40).collect();
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
        Fault::LostEffect,
        Fault::LateOrder,
        Fault::SilentAgent,
        Fault::LyingAgent,
        Fault::AgentRestart,
        Fault::BlindMonitoring,
        Fault::SharedFailure,
        Fault::HostLoss,
        Fault::RackLoss,
        Fault::RefusesToStop,
        Fault::FailsToStart,
        Fault::ForeignLease,
    ] {
        let times = bites.get(&fault).copied().unwrap_or(0);
        assert!(times >= 10, "{fault:?} bit {times} times in {SEEDS} worlds");
    }
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_a_rollout() {
    for seed in 1..4 {
        let whole = RolloutWorld::new(seed, Planted::Nothing)
            .crash_after_commit(0)
            .run();
        assert!(whole.commits >= 5, "{} commits", whole.commits);
        for n in 1..=whole.commits {
            let report = RolloutWorld::new(seed, Planted::Nothing)
                .crash_after_commit(n)
                .run();
            assert_eq!(report.violations, [], "seed {seed}, crash after commit {n}");
            assert_eq!(report.bites.get(&Fault::CrashAfterCommit), Some(&1));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_rollout_and_another_seed_another() {
    let run = |seed| RolloutWorld::new(seed, Planted::Nothing).run();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).trace, run(4).trace);
}

#[test]
fn every_bug_planted_in_a_rollout_is_found_under_the_name_of_what_it_breaks() {
    let mut missed = Vec::new();
    for (planted, invariant) in [
        (Planted::ClaimsTrusted, Invariant::Truth),
        (Planted::StaleVerdicts, Invariant::Guard),
        (Planted::NoLease, Invariant::Ledger),
        (Planted::BatchIgnoresArithmetic, Invariant::Floor),
        (Planted::OldVersionCarriesAll, Invariant::Floor),
        (Planted::DrainedTooSoon, Invariant::Truth),
        (Planted::ForgetsInFlight, Invariant::Truth),
        (Planted::GenerationIgnored, Invariant::Truth),
        (Planted::AgentForgets, Invariant::Fence),
        (Planted::HarmSwallowed, Invariant::Guard),
        (Planted::OldOrdersTaken, Invariant::Fence),
        (Planted::RoutesUnheard, Invariant::Floor),
        (Planted::SettlesUnwritten, Invariant::Ledger),
        (Planted::NoExpectations, Invariant::Fence),
        (Planted::NoRecovery, Invariant::Live),
    ] {
        let found = (0..300).find(|seed| {
            let violations = RolloutWorld::new(*seed, planted).run().violations;
            violations.iter().any(|it| it.invariant == invariant)
        });
        println!("{planted:?}: {invariant:?} at seed {found:?}");
        if found.is_none() {
            missed.push((planted, invariant));
        }
    }
    assert_eq!(missed, []);
}

fn hundred(bad_from: usize) -> RolloutWorld {
    let size = Sized {
        instances: 100,
        hosts: 10,
        start_ms: 2_000,
        bad_from,
        strategy: Strategy::Canary,
    };
    RolloutWorld::sized(1, size)
}

#[test]
fn a_good_version_reaches_all_of_a_hundred_instances() {
    let report = hundred(usize::MAX).run();
    assert_eq!(report.violations, []);
    assert_eq!(report.ended, Some(ChangeState::Done));
    assert_eq!(report.exposed_after_ms, None);
}

#[test]
fn a_version_that_turns_bad_half_way_answers_nothing_thirty_seconds_after_the_verdict() {
    let report = hundred(50).run();
    assert_eq!(report.violations, []);
    assert_eq!(report.ended, Some(ChangeState::RolledBack));
    let after = report.exposed_after_ms.unwrap();
    assert!(after <= 30_000, "{after} ms");
}
