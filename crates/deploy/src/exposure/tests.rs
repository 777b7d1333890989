use super::*;

const RPS: f64 = 40.0;

fn lax() -> FabricName {
    "lax".parse().unwrap()
}

/// `size` instances on ten hosts, and where further ones would stand.
fn fleet(size: usize, demand: f64) -> Fleet {
    let place = |n: usize| -> Place {
        let host = format!("h{}", n % 10).parse().unwrap();
        (format!("voyager-lax-{n}").parse().unwrap(), host)
    };
    Fleet {
        places: (1..=size).map(place).collect(),
        further: (size + 1..=size + further(size)).map(place).collect(),
        demand_upper_rps: Some(demand),
    }
}

fn basis(size: usize, demand: f64) -> Basis {
    Basis {
        fleets: [(lax(), fleet(size, demand))].into(),
        old: "v1".parse().unwrap(),
        old_rps: Some(RPS),
        batch: Percent::new(10.0).unwrap(),
        expose: None,
        pace: Some(Pace {
            replaced_within: Span::from_secs(4),
            between: Span::from_secs(2),
            replacements: 12,
            widest: 3,
            of: "voyager v1".to_owned(),
        }),
        within: Span::from_secs(30),
    }
}

#[test]
fn while_the_old_version_carries_all_that_is_asked_the_routes_alone_take_it_back() {
    // 40 carry 1,600 rps: with 200 rps asked five are enough, and 36 are left after the first batch.
    let found = estimate(&basis(40, 200.0)).unwrap();
    let holds = found.holds.clone().unwrap();
    assert_eq!((found.batches, holds.batch), (10, 10));
    assert_eq!(found.exceeds, None);
    assert_eq!(found.proposal(), None);
    // At the end the control is left: four of the five come back, in one wave.
    assert_eq!((found.worst.moved, found.worst.waves), (40, Some(1)));
    assert_eq!(found.worst.takes, Some(Span::from_secs(8)));
    assert_eq!(
        found.by_stage(),
        "a rollback in place takes 2.0 s from the canary, 2.0 s after batches 1 to 9, 8.0 s after batch 10 and in the \
         bake (an estimate)"
    );
    let said = found.sentence();
    assert!(
        said.starts_with("a rollback in place holds rollbackWithin, 30s: at worst, with 40 of 40 instances moved, 8.0 s"),
        "{said}"
    );
    assert!(
        said.contains("in lax demand of 200 rps takes 5 of v1 at 40.0 rps each, 1 is left"),
        "{said}"
    );
    assert!(
        said.contains("from 12 replacements of voyager v1 measured"),
        "{said}"
    );
}

#[test]
fn where_demand_leaves_little_room_it_says_from_which_batch_on_and_what_would_hold_it() {
    // 40 and the control carry 1,640 rps; a host of 5 is held back. With 1,300 asked 33 are needed, 3 may be out.
    let tight = basis(40, 1_300.0);
    let found = estimate(&tight).unwrap();
    let (holds, exceeds) = (found.holds.clone().unwrap(), found.exceeds.clone().unwrap());
    assert_eq!(exceeds.batch, holds.batch + 1);
    assert!(holds.takes <= Some(tight.within) && exceeds.takes > Some(tight.within));
    assert!(found.worst.takes > exceeds.takes);
    let said = found.sentence();
    let first = format!("exceeds rollbackWithin, 30s, after batch {}", exceeds.batch);
    assert!(said.contains(&first), "{said}");
    let proposal = found.proposal().unwrap();
    assert!(proposal.contains("--strategy blue-green"), "{proposal}");

    // What it proposes holds, and is the most that does.
    let share = |thousandths: u32| Percent::new(f64::from(thousandths) / 10.0);
    let exposed = Basis {
        expose: share(holds.share),
        ..tight.clone()
    };
    let said = format!("--expose {}%", f64::from(holds.share) / 10.0);
    assert!(proposal.contains(&said), "{proposal}");
    let smaller = estimate(&exposed).unwrap();
    assert_eq!((smaller.exceeds, smaller.worst.moved), (None, holds.moved));
    let wider = Basis {
        expose: share(exceeds.share),
        ..tight
    };
    assert!(estimate(&wider).unwrap().exceeds.is_some());
}

#[test]
fn a_slower_pace_a_smaller_capacity_and_more_demand_each_make_it_longer() {
    let usual = estimate(&basis(40, 1_000.0)).unwrap().worst.takes.unwrap();
    let mut slow = basis(40, 1_000.0);
    slow.pace.as_mut().unwrap().replaced_within = Span::from_secs(9);
    let weak = Basis {
        old_rps: Some(RPS - 5.0),
        ..basis(40, 1_000.0)
    };
    for harder in [slow, weak, basis(40, 1_200.0)] {
        let takes = estimate(&harder).unwrap().worst.takes.unwrap();
        assert!(takes > usual, "{takes} after {usual}");
    }
}

#[test]
fn where_no_instance_may_go_room_is_added_first_and_without_room_there_is_no_end() {
    let full = basis(12, 480.0);
    let found = estimate(&full).unwrap();
    assert!(found.worst.waves > Some(1));
    assert!(
        found.worst.arithmetic.contains("3 are added first"),
        "{}",
        found.worst.arithmetic
    );
    let mut cramped = full;
    cramped.fleets.get_mut(&lax()).unwrap().further.clear();
    let found = estimate(&cramped).unwrap();
    assert_eq!(found.worst.takes, None);
    assert!(found.sentence().contains("no end"), "{}", found.sentence());
}

#[test]
fn the_slowest_fabric_counts() {
    let mut both = basis(40, 200.0);
    let alone = estimate(&both).unwrap();
    let iad: FabricName = "iad".parse().unwrap();
    both.fleets.insert(iad, fleet(40, 1_300.0));
    let found = estimate(&both).unwrap();
    assert!(found.worst.takes > alone.worst.takes);
    assert!(
        found.worst.arithmetic.starts_with("in iad"),
        "{}",
        found.worst.arithmetic
    );
}

#[test]
fn what_was_never_measured_gives_no_estimate_and_what_needs_no_replacement_needs_no_pace() {
    let nothing = |change: &dyn Fn(&mut Basis)| {
        let mut basis = basis(40, 1_300.0);
        change(&mut basis);
        estimate(&basis).unwrap_err()
    };
    assert_eq!(nothing(&|it| it.pace = None), NoData::Pace);
    assert_eq!(
        nothing(&|it| it.old_rps = None),
        NoData::Capacity("v1".parse().unwrap())
    );
    let silent = |it: &mut Basis| {
        let fleets = it.fleets.values_mut();
        fleets.for_each(|fleet| fleet.demand_upper_rps = None);
    };
    assert_eq!(nothing(&silent), NoData::Demand(lax()));

    let canary = Basis {
        expose: Percent::new(0.0),
        pace: None,
        ..basis(40, 1_300.0)
    };
    let found = estimate(&canary).unwrap();
    assert_eq!((found.worst.moved, &found.exceeds), (0, &None));
    assert_eq!(
        found.by_stage(),
        "a rollback in place takes 2.0 s from the canary (an estimate)"
    );
}

#[test]
fn a_share_is_counted_in_whole_instances_never_more_than_it_says() {
    let of = |share: f64, size| exposed(Percent::new(share).unwrap(), size);
    assert_eq!((of(20.0, 50), of(20.0, 9), of(0.0, 50)), (10, 1, 0));
    assert_eq!((of(29.0, 100), of(16.7, 6), of(100.0, 7)), (29, 1, 7));
}
