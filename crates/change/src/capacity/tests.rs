use super::*;
use proptest::prelude::*;

fn name(i: usize) -> InstanceName {
    InstanceName::new(format!("i{i}")).unwrap()
}

fn one(i: usize, domain: usize, capacity: f64) -> Serving {
    Serving {
        instance: name(i),
        domain: Name::new(format!("d{domain}")).unwrap(),
        capacity_rps: capacity,
        offered_rps: 1.0,
        goodput_rps: capacity,
    }
}

fn fleet(n: usize, domains: usize, capacity: f64, demand: f64) -> Budget {
    Budget {
        serving: (0..n).map(|i| one(i, i % domains, capacity)).collect(),
        demand_upper_rps: demand,
        leased_rps: 0.0,
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<InstanceName> {
    range.map(name).collect()
}

#[test]
fn half_of_a_hundred_instances_is_refused_with_the_arithmetic() {
    let said = safe_batch(&fleet(100, 20, 70.0, 5_900.0), &names(0..50));
    assert_eq!(
        said.to_string(),
        "50 instances carry 3,500 rps, demand 5,900 rps, margin 210 rps: refused; \
         largest safe batch is 10"
    );
    let finding = said.finding();
    assert_eq!(finding.outcome, Outcome::Fail);
    assert_eq!(finding.signal, CAPACITY);
    assert!(finding.remedy.contains("at most 10"), "{}", finding.remedy);
}

#[test]
fn instances_that_answer_nobody_may_always_be_taken_and_idle_ones_keep_their_capacity() {
    let mut budget = fleet(4, 4, 100.0, 1_000.0);
    for dead in &mut budget.serving[0..2] {
        (dead.offered_rps, dead.goodput_rps) = (100.0, 4.9);
    }
    assert_eq!(safe_batch(&budget, &names(0..4)).safe, 2);
    for idle in &mut budget.serving[0..2] {
        (idle.offered_rps, idle.goodput_rps) = (0.0, 0.0);
    }
    assert_eq!(safe_batch(&budget, &names(0..4)).safe, 0);
}

#[test]
fn an_instance_that_answers_the_few_that_ask_it_keeps_its_capacity() {
    let mut quiet = fleet(4, 4, 100.0, 150.0);
    for one in &mut quiet.serving {
        (one.offered_rps, one.goodput_rps) = (0.7, 0.6);
    }
    let said = safe_batch(&quiet, &names(0..4));
    assert_eq!((said.safe, said.before_rps, said.note), (1, 400.0, None));
    quiet.serving[3].goodput_rps = 0.3;
    assert_eq!(safe_batch(&quiet, &names(0..1)).before_rps, 300.0);
}

#[test]
fn what_was_never_measured_neither_counts_nor_is_free_to_take() {
    let mut budget = fleet(3, 3, 100.0, 150.0);
    budget.serving[0].goodput_rps = f64::NAN;
    let said = safe_batch(&budget, &names(0..1));
    assert_eq!((said.safe, said.unmeasured, said.before_rps), (1, 1, 200.0));
    assert!(said.note.unwrap().contains("missing already"));
    budget.demand_upper_rps = 201.0;
    assert_eq!(safe_batch(&budget, &names(0..1)).safe, 0);
    assert_eq!(safe_batch(&budget, &names(7..8)).safe, 0, "unheard of");
}

#[test]
fn unknown_demand_or_leases_refuse_for_want_of_evidence() {
    for (demand, leased) in [(f64::NAN, 0.0), (10.0, f64::NAN), (-1.0, 0.0)] {
        let mut budget = fleet(20, 5, 100.0, demand);
        budget.leased_rps = leased;
        let said = safe_batch(&budget, &names(0..1));
        assert_eq!(said.safe, 0);
        assert_eq!(said.finding().outcome, Outcome::InsufficientEvidence);
    }
}

#[test]
fn one_failure_domain_means_no_margin_one_at_a_time_and_a_note() {
    let said = safe_batch(&fleet(20, 1, 100.0, 100.0), &names(0..5));
    assert_eq!((said.safe, said.margin_rps), (1, 0.0));
    assert!(said.note.unwrap().contains("one failure domain"));
}

#[test]
fn small_services_and_those_without_headroom_surge() {
    let ten = Percent::new(10.0).unwrap();
    assert_eq!(batch(ten, 9, 9), Batch::Surge);
    assert_eq!(batch(ten, 40, 0), Batch::Surge);
    assert_eq!(batch(ten, 15, 9), Batch::Take(1));
    assert_eq!(batch(ten, 100, 3), Batch::Take(3));
}

prop_compose! {
    fn any_serving()(domain in 0_usize..5, capacity in 0.0_f64..200.0, offered in 0.0_f64..50.0,
        good in 0.0_f64..1.0) -> (usize, f64, f64, f64) {
        (domain, capacity, offered, if good < 0.2 { 0.0 } else { good * capacity })
    }
}

fn random(list: &[(usize, f64, f64, f64)], demand: f64, leased: f64) -> Budget {
    let serving = list
        .iter()
        .enumerate()
        .map(|(i, (domain, capacity, offered, good))| Serving {
            offered_rps: *offered,
            goodput_rps: *good,
            ..one(i, *domain, *capacity)
        });
    Budget {
        serving: serving.collect(),
        demand_upper_rps: demand,
        leased_rps: leased,
    }
}

/// The floor, written down a second time, in floating point over the instances that stay.
fn carried(serving: &[Serving]) -> (f64, f64) {
    let mut domains = BTreeMap::new();
    for one in serving {
        let dead = one.goodput_rps < (0.05 * one.capacity_rps).min(0.5 * one.offered_rps);
        *domains.entry(&one.domain).or_insert(0.0) += if dead { 0.0 } else { one.capacity_rps };
    }
    (
        domains.values().sum(),
        domains.values().copied().fold(0.0, f64::max),
    )
}

proptest! {
    #[test]
    fn the_floor_holds_for_every_fleet(list in prop::collection::vec(any_serving(), 1..40),
        demand in 0.0_f64..4_000.0, leased in 0.0_f64..500.0) {
        let budget = random(&list, demand, leased);
        let said = safe_batch(&budget, &names(0..list.len()));
        let (before, _) = carried(&budget.serving);
        let (after, largest) = carried(&budget.serving[said.safe..]);
        let margin = if said.note.is_some() { 0.0 } else { largest };
        let floor = before.min(demand + leased + margin);
        prop_assert!(after >= floor - 0.05, "{after} < {floor}: {said}");
        let live = |one: &&Serving| Worth::of(one) != Worth::Nothing;
        if said.note.is_some() {
            prop_assert!(budget.serving[..said.safe].iter().filter(live).count() <= 1);
        } else if said.safe < list.len() {
            let (next, largest) = carried(&budget.serving[said.safe + 1..]);
            prop_assert!(next < demand + leased + largest + 0.05, "one more would have been safe");
        }
    }

    #[test]
    fn more_demand_never_allows_a_larger_batch(list in prop::collection::vec(any_serving(), 1..40),
        demand in 0.0_f64..4_000.0, more in 0.0_f64..1_000.0) {
        let all = names(0..list.len());
        let calm = safe_batch(&random(&list, demand, 0.0), &all).safe;
        let busy = safe_batch(&random(&list, demand + more, 0.0), &all).safe;
        prop_assert!(busy <= calm);
    }
}
