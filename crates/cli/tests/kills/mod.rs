//! A few of the kills that `cargo xtask crash` plays by the hundred.

use mainstay_siege::crash::{Plan, run};

const SEED: u64 = 20_261_127;

#[test]
fn after_each_kill_under_load_every_acknowledged_sample_is_there_and_the_ledger_holds() {
    let plan = Plan {
        kills: 3,
        ..Plan::new(super::BINARY.into(), SEED)
    };
    let mut rounds = Vec::new();
    let outcome = run(&plan, &mut |round| rounds.push(*round)).unwrap_or_else(|lost| {
        panic!("seed {SEED}: {lost}");
    });
    assert_eq!((outcome.kills, rounds.len()), (3, 3));
    assert!(outcome.samples > 0 && outcome.entries > 0, "{outcome:?}");
}
