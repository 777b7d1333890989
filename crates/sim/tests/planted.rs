//! Bugs in the machines themselves, in the runtime and in the arithmetic: each is found, under the name of what it
//! breaks. Built with the feature `planted` only, so that no other test meets a machine that can have one.
#![cfg(feature = "planted")]

use std::collections::BTreeMap;

use mainstay_change::planted::{Bug, plant};
use mainstay_sim::{Invariant, Planted, World};

/// Worlds among which a bug is found.
const BUG_SEEDS: u64 = 400;

/// Looks for a bug from a seed that found it, which saves time, through all worlds.
fn finds(world: World, bug: Bug, invariant: Invariant, first: u64) {
    plant(Some(bug));
    let mut broken: BTreeMap<Invariant, u32> = BTreeMap::new();
    let mut seeds = (first..BUG_SEEDS).chain(0..first);
    let found = seeds.find(|seed| {
        let violations = world.run(*seed, Planted::Nothing).violations;
        for violation in &violations {
            *broken.entry(violation.invariant).or_default() += 1;
        }
        violations.iter().any(|it| it.invariant == invariant)
    });
    plant(None);
    println!("{bug:?}: {invariant:?} at seed {found:?}");
    let name = world.name();
    assert!(
        found.is_some(),
        "{bug:?} breaks no {invariant:?} in {BUG_SEEDS} {name} worlds, only {broken:?}"
    );
}

#[test]
fn a_margin_that_is_forgotten_is_found() {
    finds(World::Rollout, Bug::MarginForgotten, Invariant::Floor, 20);
}

#[test]
fn leases_that_do_not_count_is_found() {
    finds(World::Action, Bug::LeasesUncounted, Invariant::Floor, 31);
}

#[test]
fn a_batch_beyond_its_grant_is_found() {
    finds(World::Rollout, Bug::GrantOverrun, Invariant::Floor, 0);
}

#[test]
fn harm_from_which_nothing_follows_is_found() {
    finds(World::Rollout, Bug::HarmNoted, Invariant::Guard, 206);
}

#[test]
fn missing_evidence_that_passes_is_found() {
    finds(World::Rollout, Bug::MissingPasses, Invariant::Guard, 0);
}

#[test]
fn a_report_about_other_instances_is_found() {
    finds(
        World::Rollout,
        Bug::GenerationIgnored,
        Invariant::Truth,
        118,
    );
}

#[test]
fn an_append_by_one_who_leads_no_more_is_found() {
    finds(
        World::Rollout,
        Bug::LeadershipUnexpected,
        Invariant::Fence,
        0,
    );
}

#[test]
fn a_way_back_that_waits_for_a_person_is_found() {
    finds(World::Rollout, Bug::RestoringPauses, Invariant::Live, 21);
}

#[test]
fn a_freeze_that_outlasts_its_time_is_found() {
    finds(World::Freeze, Bug::FreezeOutlasts, Invariant::Undo, 0);
}

#[test]
fn a_shed_that_stays_is_found() {
    finds(World::Action, Bug::TemporaryStays, Invariant::Undo, 0);
}

#[test]
fn one_instance_that_counts_for_all_is_found() {
    finds(World::Rollout, Bug::OneForAll, Invariant::Truth, 0);
}

#[test]
fn a_table_that_is_believed_is_found() {
    finds(World::Action, Bug::TablesBelieved, Invariant::Truth, 152);
}

#[test]
fn an_acknowledgement_from_which_nothing_follows_is_found() {
    finds(World::Page, Bug::AcknowledgementIgnored, Invariant::Page, 0);
}

#[test]
fn alerts_that_put_the_next_step_off_are_found() {
    finds(World::Page, Bug::AlertsPutOff, Invariant::Page, 0);
}

#[test]
fn a_step_that_is_left_out_is_found() {
    finds(World::Page, Bug::StepSkipped, Invariant::Page, 0);
}

#[test]
fn a_channel_that_fails_and_is_followed_by_none_is_found() {
    finds(World::Page, Bug::NextChannelForgotten, Invariant::Page, 0);
}

#[test]
fn a_page_that_counts_as_taken_before_it_is_sent_is_found() {
    finds(World::Page, Bug::AcceptedUnsent, Invariant::Page, 0);
}

#[test]
fn a_page_that_is_sent_again_while_it_is_under_way_is_found() {
    finds(World::Page, Bug::UnderwayForgotten, Invariant::Page, 0);
}

#[test]
fn a_page_beyond_the_limit_that_is_never_told_is_found() {
    finds(World::Page, Bug::OverLimitDropped, Invariant::Page, 0);
}
