use super::*;
use mainstay_core::ports::Grown;

fn arms() -> Arms {
    Arms {
        canary: "v2".into(),
        control: "v1".into(),
        young: vec!["s-lax-6".into()],
    }
}

fn growth(rows: &[(&str, &str, &str, &str, u64)]) -> Growth {
    let series = rows
        .iter()
        .map(|(version, instance, name, value, by)| Grown {
            labels: [
                ("version", *version),
                ("instance", *instance),
                (*name, *value),
                ("fabric", "lax"),
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
            by: *by,
        })
        .collect();
    Growth {
        series,
        whole: true,
    }
}

/// One second: requests and bad ones, fast (under 100 ms) and slow ones, of new, old and young old.
fn tick(bench: &mut Bench, new: (u64, u64, u64), old: (u64, u64, u64), young: (u64, u64, u64)) {
    let rows = [
        ("v2", "s-lax-5", new),
        ("v1", "s-lax-1", old),
        ("v1", "s-lax-6", young),
    ];
    let mut requests = Vec::new();
    let mut buckets = Vec::new();
    for (version, instance, (total, bad, slow)) in rows {
        requests.push((version, instance, "code", "200", total - bad));
        requests.push((version, instance, "code", "502", bad));
        buckets.push((version, instance, "le", "0.1", total - slow));
        buckets.push((version, instance, "le", "0.5", total));
        buckets.push((version, instance, "le", "+Inf", total));
    }
    let (requests, buckets) = (growth(&requests), growth(&buckets));
    bench
        .observe(&arms(), Tick::of_users(&requests, &buckets))
        .unwrap();
}

fn bench() -> Bench {
    Bench::new(Percent::new(1.0).unwrap()).unwrap()
}

#[test]
fn nothing_measured_is_insufficient_and_a_version_as_good_as_the_old_one_passes() {
    let mut bench = bench();
    assert_eq!(bench.rule().ruling, Ruling::Insufficient);
    for second in 0..80 {
        let one_slow = u64::from(second % 5 == 0);
        tick(&mut bench, (40, 0, 0), (300, 0, one_slow), (40, 0, 0));
    }
    let ruled = bench.rule();
    assert_eq!(ruled.ruling, Ruling::Pass, "{:#?}", ruled.findings);
}

#[test]
fn without_the_old_version_beside_it_a_verdict_says_uncontrolled_and_never_passes() {
    let mut bench = bench();
    for _ in 0..200 {
        tick(&mut bench, (400, 0, 0), (0, 0, 0), (0, 0, 0));
    }
    let ruled = bench.rule();
    assert_eq!(ruled.ruling, Ruling::Insufficient);
    let said = |it: &Finding| it.value.starts_with("uncontrolled: 80000 requests");
    assert!(ruled.findings.iter().any(said), "{:#?}", ruled.findings);
    tick(&mut bench, (0, 0, 0), (1, 0, 0), (0, 0, 0));
    assert!(!bench.rule().findings.iter().any(said));
}

#[test]
fn a_version_that_fails_one_request_in_five_is_harm_within_seconds_of_little_traffic() {
    let mut bench = bench();
    for _ in 0..10 {
        tick(&mut bench, (0, 0, 0), (100, 0, 0), (10, 0, 0));
    }
    for _ in 0..4 {
        tick(&mut bench, (2, 1, 0), (200, 0, 0), (10, 0, 0));
    }
    assert_eq!(bench.rule().ruling, Ruling::Harm);
}

#[test]
fn as_slow_as_a_young_old_instance_is_not_harm_but_slower_is() {
    let (mut cold, mut slow) = (bench(), bench());
    for _ in 0..5 {
        tick(&mut cold, (40, 0, 0), (300, 0, 1), (40, 0, 0));
        tick(&mut slow, (40, 0, 0), (300, 0, 1), (40, 0, 0));
    }
    for _ in 0..30 {
        tick(&mut cold, (40, 0, 20), (300, 0, 1), (40, 0, 20));
        tick(&mut slow, (40, 0, 20), (300, 0, 1), (40, 0, 0));
    }
    assert_eq!(cold.rule().ruling, Ruling::Insufficient);
    assert_eq!(slow.rule().ruling, Ruling::Harm);
}

#[test]
fn series_of_a_foreign_proxy_are_judged_by_its_own_labels_and_unit() {
    let names = Labels {
        version: "envoy_cluster_name".to_owned(),
        code: "envoy_response_code_class".to_owned(),
        second: 1e3,
        ages_known: false,
    };
    let mut bench = Bench::reading(Percent::new(1.0).unwrap(), names).unwrap();
    let foreign = |rows: &[(&str, &str, &str, u64)]| Growth {
        series: rows
            .iter()
            .map(|(cluster, name, value, by)| Grown {
                labels: [("envoy_cluster_name", *cluster), (*name, *value)]
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
                    .into(),
                by: *by,
            })
            .collect(),
        whole: true,
    };
    let class = "envoy_response_code_class";
    for _ in 0..40 {
        let requests = [("v1", class, "2", 100), ("v2", class, "2", 50)];
        let buckets = [
            ("v1", "le", "100", 100),
            ("v1", "le", "+Inf", 100),
            ("v2", "le", "100", 20),
            ("v2", "le", "+Inf", 50),
        ];
        let (requests, buckets) = (foreign(&requests), foreign(&buckets));
        bench
            .observe(&arms(), Tick::of_users(&requests, &buckets))
            .unwrap();
    }
    let ruled = bench.rule();
    assert_eq!(ruled.ruling, Ruling::Harm, "slow: {:#?}", ruled.findings);
    assert!(ruled.findings[1].value.contains("slower than 100 ms"));
    let requests = foreign(&[("v1", class, "5", 1), ("v2", class, "5", 40)]);
    let buckets = Growth::default();
    bench
        .observe(&arms(), Tick::of_users(&requests, &buckets))
        .unwrap();
    assert_eq!(bench.counts().0.bad, 40);
}

#[test]
fn both_versions_failing_alike_is_a_shared_failure() {
    let mut bench = bench();
    for _ in 0..20 {
        tick(&mut bench, (10, 5, 0), (100, 50, 0), (10, 5, 0));
    }
    assert_eq!(bench.rule().ruling, Ruling::SharedFailure);
}

#[test]
fn a_version_that_breaks_one_client_in_twenty_is_found_while_all_together_look_well() {
    // Of the many one in a hundred fails whoever answers; of the few none, but for the new version.
    let good_and_bad = |rows: &[(&str, &str, u64, u64)]| {
        let mut growth = Growth::default();
        for (version, client, good, bad) in rows {
            for (code, by) in [("2xx", *good), ("5xx", *bad)] {
                let labels = [("version", *version), ("client", *client), ("code", code)];
                let labels = labels.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
                growth.series.push(Grown { labels, by });
            }
        }
        growth
    };
    let mut bench = bench();
    for second in 0..120 {
        let bad = u64::from(second % 2 == 0);
        let by_client = good_and_bad(&[
            ("v2", "8.1", 188, 2),
            ("v2", "8.0", 10 - bad, bad),
            ("v1", "8.1", 1_880, 20),
            ("v1", "8.0", 100, 0),
        ]);
        let mut all = by_client.clone();
        for series in &mut all.series {
            series.labels.remove("client");
        }
        let buckets = Growth::default();
        let tick = Tick {
            clients: Some(&by_client),
            ..Tick::of_users(&all, &buckets)
        };
        bench.observe(&arms(), tick).unwrap();
        if bench.rule().ruling == Ruling::Harm {
            break;
        }
    }
    let ruled = bench.rule();
    assert_eq!(ruled.ruling, Ruling::Harm, "{:#?}", ruled.findings);
    assert_ne!(
        ruled.findings[0].outcome,
        Outcome::Fail,
        "the whole hides it"
    );
    assert_eq!(ruled.findings[1].signal, "errors client=8.0");
}

/// One second of probes: good and unexpected ones of the new version, and of the old.
fn probes(new: (u64, u64), old: (u64, u64)) -> (Growth, Growth) {
    let mut requests = Vec::new();
    let mut buckets = Vec::new();
    for (version, instance, (good, bad)) in [("v2", "s-lax-5", new), ("v1", "s-lax-6", old)] {
        requests.push((version, instance, "outcome", "good", good));
        requests.push((version, instance, "outcome", "bad", bad));
        buckets.push((version, instance, "le", "0.1", good + bad));
        buckets.push((version, instance, "le", "+Inf", good + bad));
    }
    (growth(&requests), growth(&buckets))
}

fn with_probes(bench: &mut Bench, users: &Growth, probes: &(Growth, Growth)) {
    let buckets = Growth::default();
    let tick = Tick {
        probes: Some(Traffic {
            requests: &probes.0,
            buckets: &probes.1,
        }),
        ..Tick::of_users(users, &buckets)
    };
    bench.observe(&arms(), tick).unwrap();
}

#[test]
fn probes_pass_a_version_that_no_user_asks_and_the_sample_says_how_many_they_were() {
    let mut bench = bench();
    let users = growth(&[
        ("v2", "s-lax-5", "code", "200", 1),
        ("v1", "s-lax-1", "code", "200", 1),
    ]);
    for second in 0..100 {
        let users = if second % 10 == 0 {
            users.clone()
        } else {
            Growth::default()
        };
        with_probes(&mut bench, &users, &probes((10, 0), (10, 0)));
    }
    let ruled = bench.rule();
    assert_eq!(ruled.ruling, Ruling::Pass, "{:#?}", ruled.findings);
    let value = &ruled.findings[0].value;
    assert!(
        value.contains("0.00 % of 1010 requests, 1000 of them probes, with the new version"),
        "{value}"
    );
}

#[test]
fn a_version_that_answers_probes_wrongly_is_harm() {
    let mut bench = bench();
    for _ in 0..30 {
        with_probes(&mut bench, &Growth::default(), &probes((8, 2), (10, 0)));
    }
    assert_eq!(bench.rule().ruling, Ruling::Harm);
}

#[test]
fn a_canary_asked_mostly_by_probes_is_not_judged_by_how_probes_differ_from_users() {
    // Users of the old version fail one time in ten, probes of it never: a canary that has next to no users
    // must not look better than it is.
    let users = growth(&[
        ("v1", "s-lax-1", "code", "200", 90),
        ("v1", "s-lax-1", "code", "500", 10),
    ]);
    let mut worse = bench();
    for second in 0..400 {
        let bad = u64::from(second % 10 == 0);
        with_probes(&mut worse, &users, &probes((5 - bad, bad), (5, 0)));
    }
    let ruled = worse.rule();
    assert_ne!(ruled.ruling, Ruling::Pass, "{:#?}", ruled.findings);
    // The other way round: probes that fail alike on both, and users who do not.
    let users = growth(&[("v1", "s-lax-1", "code", "200", 100)]);
    let mut alike = bench();
    for _ in 0..100 {
        with_probes(&mut alike, &users, &probes((4, 1), (4, 1)));
    }
    let ruled = alike.rule();
    assert_ne!(ruled.ruling, Ruling::Harm, "{:#?}", ruled.findings);
}
