//! Seeds of all worlds: every invariant holds, every fault has bitten, every planted bug is found.

use std::collections::BTreeMap;

use mainstay_core::{ChangeState, catalog::Strategy};
use mainstay_sim::{Fault, Invariant, Planted, Report, Sized, World, rollout_of};

/// Seeds of the worlds of rollouts; more are run by `make soak`.
const ROLLOUTS: u64 = 200;
/// Seeds of each other world.
const SEEDS: u64 = 50;
/// Seeds among which a planted bug is found.
const BUG_SEEDS: u64 = 300;
/// How often each fault must have bitten in all seeds of a world.
const BITES_MIN: u32 = 5;

/// What goes wrong with every leader.
const OF_LEADERS: [Fault; 6] = [
    Fault::CrashAfterCommit,
    Fault::LostAcknowledgement,
    Fault::DuplicateInput,
    Fault::LostAnswer,
    Fault::ClockJump,
    Fault::StaleLeader,
];
/// What goes wrong where processes are replaced.
const OF_PROCESSES: [Fault; 2] = [Fault::RefusesToStop, Fault::FailsToStart];
/// What goes wrong on every site.
const OF_SITES: [Fault; 12] = [
    Fault::DuplicateEffect,
    Fault::LostEffect,
    Fault::LateOrder,
    Fault::SilentAgent,
    Fault::LyingAgent,
    Fault::AgentRestart,
    Fault::AgentGone,
    Fault::RouterGone,
    Fault::BlindMonitoring,
    Fault::SharedFailure,
    Fault::HostLoss,
    Fault::RackLoss,
];

fn tail(report: &Report) -> Vec<&str> {
    let mut lines: Vec<&str> = report.trace.lines().rev().take(40).collect();
    lines.reverse();
    lines
}

fn holds(world: World, seeds: u64, faults: &[&[Fault]]) {
    let mut bites: BTreeMap<Fault, u32> = BTreeMap::new();
    for seed in 0..seeds {
        let report = world.run(seed, Planted::Nothing);
        let (violations, tail) = (&report.violations, tail(&report));
        assert!(
            violations.is_empty(),
            "seed {seed}: {violations:?}\n{tail:#?}"
        );
        for (fault, times) in report.bites {
            *bites.entry(fault).or_default() += times;
        }
    }
    for fault in faults.iter().copied().flatten() {
        let times = bites.get(fault).copied().unwrap_or(0);
        let enough = times >= BITES_MIN;
        assert!(enough, "{fault:?} bit {times} times in {seeds} worlds");
    }
}

#[test]
fn every_invariant_holds_in_the_worlds_of_a_freeze_and_every_fault_has_bitten() {
    holds(
        World::Freeze,
        SEEDS,
        &[&OF_LEADERS, &[Fault::DuplicateEffect]],
    );
}

#[test]
fn every_invariant_holds_in_the_worlds_of_a_rollout_and_every_fault_has_bitten() {
    holds(
        World::Rollout,
        ROLLOUTS,
        &[
            &OF_LEADERS,
            &OF_SITES,
            &OF_PROCESSES,
            &[Fault::ForeignLease],
        ],
    );
}

#[test]
fn every_invariant_holds_in_the_worlds_of_actions_and_every_fault_has_bitten() {
    let more = [
        Fault::ForeignLease,
        Fault::Hangs,
        Fault::Frozen,
        Fault::Beside,
    ];
    holds(
        World::Action,
        SEEDS,
        &[&OF_LEADERS, &OF_SITES, &OF_PROCESSES, &more],
    );
}

#[test]
fn every_invariant_holds_in_the_worlds_of_a_limit_test_and_every_fault_has_bitten() {
    let more = [Fault::Frozen, Fault::Beside, Fault::LimitBreaks];
    holds(World::Limit, SEEDS, &[&OF_LEADERS, &OF_SITES, &more]);
}

#[test]
fn every_invariant_holds_in_the_worlds_of_a_scale_and_every_fault_has_bitten() {
    let more = [Fault::Frozen, Fault::Beside];
    holds(World::Scale, SEEDS, &[&OF_LEADERS, &OF_SITES, &more]);
}

#[test]
fn every_invariant_holds_in_the_worlds_of_incidents_and_every_fault_has_bitten() {
    let more = [
        Fault::DuplicateEffect,
        Fault::LostEffect,
        Fault::DeadChannel,
        Fault::SilentChannel,
        Fault::NobodyOnCall,
        Fault::TooManyPages,
    ];
    holds(World::Page, SEEDS, &[&OF_LEADERS, &more]);
}

fn survives(world: World, seeds: &[u64]) {
    for &seed in seeds {
        let whole = world.crash_after_commit(seed, 0);
        assert!(whole.commits >= 3, "seed {seed}: {} commits", whole.commits);
        for n in 1..=whole.commits {
            let report = world.crash_after_commit(seed, n);
            let tail = tail(&report);
            let name = world.name();
            assert_eq!(
                report.violations,
                [],
                "{name} {seed}, crash after {n}\n{tail:#?}"
            );
            assert_eq!(report.bites.get(&Fault::CrashAfterCommit), Some(&1));
        }
    }
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_a_freeze() {
    survives(World::Freeze, &[1]);
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_a_rollout() {
    survives(World::Rollout, &[1, 2, 3]);
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_an_action() {
    // Restart, kill, drain and shed; the last beside a rollout.
    survives(World::Action, &[10, 18, 19, 3]);
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_a_limit_test() {
    survives(World::Limit, &[0, 3, 4]);
}

#[test]
fn a_crash_after_any_single_commit_changes_no_outcome_of_a_scale() {
    survives(World::Scale, &[0, 1, 2, 3]);
}

#[test]
fn a_crash_after_any_single_commit_loses_no_page_and_sends_none_too_late() {
    survives(World::Page, &[1, 2]);
}

/// A kill took the capacity that the canary's next step needed, and the room made for it was all that the step
/// took: the rollout then asked for a lease on nothing, until a person gave it up.
#[test]
fn room_that_is_made_for_a_canary_beside_a_kill_does_not_strand_its_rollout() {
    let report = World::Action.crash_after_commit(8, 6);
    assert_eq!(report.violations, []);
    assert_eq!(report.ended, Some(ChangeState::Done));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for world in World::ALL {
        let run = |seed| world.run(seed, Planted::Nothing);
        assert_eq!(run(3), run(3), "{}", world.name());
        assert_ne!(run(3).trace, run(4).trace, "{}", world.name());
    }
}

/// Looks for each bug from a seed that found it, which saves time, through all of them.
fn finds(world: World, bugs: &[(Planted, Invariant, u64)]) {
    let mut missed = Vec::new();
    for (planted, invariant, first) in bugs.iter().copied() {
        let mut seeds = (first..BUG_SEEDS).chain(0..first);
        let found = seeds.find(|seed| {
            let violations = world.run(*seed, planted).violations;
            violations.iter().any(|it| it.invariant == invariant)
        });
        println!("{planted:?}: {invariant:?} at seed {found:?}");
        if found.is_none() {
            missed.push((planted, invariant));
        }
    }
    assert_eq!(
        missed,
        [],
        "not found in {BUG_SEEDS} {} worlds",
        world.name()
    );
}

#[test]
fn every_bug_planted_under_a_freeze_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Freeze,
        &[
            (Planted::GuardSaysYes, Invariant::Guard, 0),
            (Planted::NoExpectations, Invariant::Fence, 0),
            (Planted::ReceiverTakesTwice, Invariant::Fence, 0),
            (Planted::AcknowledgesUnwritten, Invariant::Ledger, 0),
            (Planted::ClockStandsStill, Invariant::Undo, 0),
            (Planted::NoRecovery, Invariant::Undo, 0),
        ],
    );
}

#[test]
fn every_bug_planted_in_a_rollout_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Rollout,
        &[
            (Planted::ClaimsTrusted, Invariant::Truth, 0),
            (Planted::StaleVerdicts, Invariant::Guard, 110),
            (Planted::NoLease, Invariant::Ledger, 0),
            (Planted::BatchIgnoresArithmetic, Invariant::Floor, 0),
            (Planted::OldVersionCarriesAll, Invariant::Floor, 82),
            (Planted::DrainedTooSoon, Invariant::Truth, 0),
            (Planted::ForgetsInFlight, Invariant::Truth, 0),
            (Planted::GenerationIgnored, Invariant::Truth, 0),
            (Planted::AgentForgets, Invariant::Fence, 0),
            (Planted::HarmSwallowed, Invariant::Guard, 0),
            (Planted::OldOrdersTaken, Invariant::Fence, 0),
            (Planted::RoutesUnheard, Invariant::Floor, 0),
            (Planted::SettlesUnwritten, Invariant::Ledger, 0),
            (Planted::NoExpectations, Invariant::Fence, 0),
            (Planted::NoRecovery, Invariant::Live, 0),
        ],
    );
}

#[test]
fn every_bug_planted_in_an_action_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Action,
        &[
            (Planted::StartIgnored, Invariant::Truth, 35),
            (Planted::KillsUnsaid, Invariant::Truth, 0),
            (Planted::DrainedTooSoon, Invariant::Truth, 0),
            (Planted::NoLease, Invariant::Ledger, 0),
            (Planted::LeasesKept, Invariant::Ledger, 0),
            (Planted::SettlesUnwritten, Invariant::Ledger, 0),
            (Planted::LeasesUncounted, Invariant::Floor, 31),
            (Planted::BatchIgnoresArithmetic, Invariant::Floor, 0),
            (Planted::GuardSaysYes, Invariant::Guard, 0),
            (Planted::ConfirmsUnapplied, Invariant::Truth, 37),
            (Planted::AgentForgets, Invariant::Fence, 0),
            (Planted::ClockStandsStill, Invariant::Undo, 0),
            (Planted::NoRecovery, Invariant::Undo, 0),
        ],
    );
}

#[test]
fn every_bug_planted_in_a_scale_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Scale,
        &[
            (Planted::StopBelieved, Invariant::Truth, 0),
            (Planted::StartIgnored, Invariant::Truth, 0),
            (Planted::DrainedTooSoon, Invariant::Truth, 0),
            (Planted::BatchIgnoresArithmetic, Invariant::Floor, 0),
            (Planted::NoLease, Invariant::Ledger, 0),
            (Planted::SettlesUnwritten, Invariant::Ledger, 0),
            (Planted::GuardSaysYes, Invariant::Guard, 0),
            (Planted::NoExpectations, Invariant::Fence, 0),
        ],
    );
}

#[test]
fn every_bug_planted_in_a_limit_test_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Limit,
        &[
            (Planted::OfferedIsHeld, Invariant::Truth, 0),
            (Planted::ConfirmsUnapplied, Invariant::Truth, 37),
            (Planted::DisturbanceIgnored, Invariant::Guard, 0),
            (Planted::GuardSaysYes, Invariant::Guard, 0),
            (Planted::LimitUnsent, Invariant::Floor, 0),
            (Planted::ShareKept, Invariant::Undo, 0),
            (Planted::ClockStandsStill, Invariant::Undo, 0),
            (Planted::NoRecovery, Invariant::Undo, 0),
        ],
    );
}

#[test]
fn every_bug_planted_under_incidents_is_found_under_the_name_of_what_it_breaks() {
    finds(
        World::Page,
        &[
            (Planted::NoExpectations, Invariant::Fence, 0),
            (Planted::ClockStandsStill, Invariant::Page, 0),
            (Planted::NoRecovery, Invariant::Page, 0),
        ],
    );
}

fn hundred(bad_from: usize) -> Report {
    let size = Sized {
        instances: 100,
        hosts: 10,
        start_ms: 2_000,
        bad_from,
        strategy: Strategy::Canary,
    };
    rollout_of(1, size)
}

#[test]
fn a_good_version_reaches_all_of_a_hundred_instances() {
    let report = hundred(usize::MAX);
    assert_eq!(report.violations, []);
    assert_eq!(report.ended, Some(ChangeState::Done));
    assert_eq!(report.exposed_after_ms, None);
}

#[test]
fn a_version_that_turns_bad_half_way_answers_nothing_thirty_seconds_after_the_verdict() {
    let report = hundred(50);
    assert_eq!(report.violations, []);
    assert_eq!(report.ended, Some(ChangeState::RolledBack));
    let after = report.exposed_after_ms.unwrap();
    assert!(after <= 30_000, "{after} ms");
}
