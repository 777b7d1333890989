use super::*;
use crate::{AppendError, Head, HeadLimits, Labels};

fn labels(metric: &str, team: &str) -> Labels {
    Labels::from_pairs([("__name__", metric), ("team", team)]).unwrap()
}

fn head(usual: TenantLimit, named: &[(&str, TenantLimit)]) -> (Head, Tenants) {
    let limits = HeadLimits {
        generation_ms: 1_000,
        ..HeadLimits::default()
    };
    let mut head = Head::new(limits);
    let named = named
        .iter()
        .map(|(name, limit)| ((*name).to_owned(), *limit));
    let tenants = head.limit_tenants(TenantLimits {
        label: "team".to_owned(),
        usual,
        named: named.collect(),
    });
    (head, tenants)
}

fn excess(appended: Result<(), AppendError>) -> Option<Excess> {
    match appended {
        Ok(()) => None,
        Err(AppendError::Tenant(over)) => Some(over.excess),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn one_that_has_its_series_costs_another_none() {
    let usual = TenantLimit {
        series: Some(2),
        ..TenantLimit::default()
    };
    let more = TenantLimit {
        series: Some(3),
        ..TenantLimit::default()
    };
    let (mut head, tenants) = head(usual, &[("b", more)]);
    for (team, fit) in [("a", 2), ("b", 3)] {
        for number in 0..5 {
            let appended = head.append(&labels(&format!("m{number}"), team), 1_000, 1.0);
            let expected = (number >= fit).then_some(Excess::Series);
            assert_eq!(excess(appended), expected, "{team} {number}");
        }
        // What is there goes on.
        assert_eq!(excess(head.append(&labels("m0", team), 2_000, 1.0)), None);
    }
    let nobodys = Labels::from_pairs([("__name__", "up")]).unwrap();
    head.append(&nobodys, 1_000, 1.0).unwrap();
    let told: Vec<_> = tenants
        .all()
        .iter()
        .map(|it| (it.series, it.samples, it.refused_series))
        .collect();
    assert_eq!(told, [(2, 3, 3), (3, 4, 2)]);
}

#[test]
fn series_that_are_left_behind_make_room() {
    let usual = TenantLimit {
        series: Some(3_000),
        ..TenantLimit::default()
    };
    let (mut head, tenants) = head(usual, &[]);
    head.tend(0);
    for number in 0..3_000 {
        head.append(&labels(&format!("old{number}"), "a"), 10, 1.0)
            .unwrap();
    }
    // A table is left behind once few of it are written to; what it remembers is carried for one more generation.
    for generation in 1..6 {
        let now_ms = generation * 2_000;
        head.tend(now_ms);
        head.append(&labels("old0", "a"), now_ms, 1.0).unwrap();
    }
    assert!(tenants.all()[0].series < 10, "{:?}", tenants.all());
    assert_eq!(excess(head.append(&labels("new", "a"), 20_000, 1.0)), None);
}

#[test]
fn a_minutes_worth_may_come_at_once_and_no_more() {
    let usual = TenantLimit {
        samples_per_second: Some(2),
        ..TenantLimit::default()
    };
    let (mut head, tenants) = head(usual, &[]);
    head.tend(1_000_000);
    let mut at_ms = 0;
    let fit = |head: &mut Head, at_ms: &mut i64| {
        let mut fit = 0;
        loop {
            *at_ms += 1;
            if excess(head.append(&labels("m", "a"), *at_ms, 1.0)).is_some() {
                return fit;
            }
            fit += 1;
        }
    };
    assert_eq!(fit(&mut head, &mut at_ms), 120);
    head.tend(1_005_000);
    assert_eq!(fit(&mut head, &mut at_ms), 10);
    // A repeated sample is none, and costs none.
    assert_eq!(
        excess(head.append(&labels("m", "a"), at_ms - 1, 1.0)),
        Some(Excess::Samples)
    );
    head.tend(1_010_000);
    head.tend(1_020_000);
    head.tend(9_000_000);
    assert_eq!(fit(&mut head, &mut at_ms), 120);
    assert_eq!(tenants.all()[0].samples, 250);
    assert_eq!(tenants.all()[0].refused_samples, 4);
}

#[test]
fn a_series_with_too_many_labels_is_refused_before_it_is_there() {
    let usual = TenantLimit {
        labels: Some(2),
        ..TenantLimit::default()
    };
    let (mut head, tenants) = head(usual, &[]);
    let many = [("__name__", "m"), ("path", "/"), ("team", "a")];
    let many = Labels::from_pairs(many).unwrap();
    assert_eq!(excess(head.append(&many, 1, 1.0)), Some(Excess::Labels));
    assert_eq!(excess(head.append(&labels("m", "a"), 1, 1.0)), None);
    assert_eq!(tenants.all()[0].series, 1);
}

#[test]
fn names_beyond_what_is_told_apart_share_one_tenant() {
    let (mut head, tenants) = head(TenantLimit::default(), &[]);
    for number in 0..TENANTS_MAX + 5 {
        head.append(&labels("m", &format!("t{number}")), 1, 1.0)
            .unwrap();
    }
    let all = tenants.all();
    assert_eq!(all.len(), TENANTS_MAX + 1);
    assert_eq!(
        (&*all[TENANTS_MAX].name, all[TENANTS_MAX].series),
        (OTHERS, 5)
    );
}

#[test]
fn series_from_before_the_limits_count() {
    let mut head = Head::new(HeadLimits::default());
    head.append(&labels("m", "a"), 1, 1.0).unwrap();
    let usual = TenantLimit {
        series: Some(1),
        ..TenantLimit::default()
    };
    let tenants = head.limit_tenants(TenantLimits {
        label: "team".to_owned(),
        usual,
        named: BTreeMap::new(),
    });
    assert_eq!(tenants.all()[0].series, 1);
    assert_eq!(
        excess(head.append(&labels("n", "a"), 1, 1.0)),
        Some(Excess::Series)
    );
    assert_eq!(excess(head.append(&labels("m", "a"), 2, 1.0)), None);
}
