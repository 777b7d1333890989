//! What a guard is told of a head that is known sample by sample.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::{Span, Time, ports::Grown, ports::Signals};
use mainstay_ekg::Ekg;
use mainstay_tsdb::{Head, HeadLimits, Labels, stale_marker};

const fn ms(millis: i64) -> Time {
    Time::from_millis(millis)
}

fn labels(name: &str, instance: &str) -> Labels {
    let pairs = [("__name__", name), ("job", "shop"), ("instance", instance)];
    Labels::from_pairs(pairs).unwrap()
}

/// `a` runs and restarts at 3 s, `b` is born at 2 s, `c` was taken off the list at 3 s: all counters of errors.
fn head() -> Head {
    let mut head = Head::new(HeadLimits::default());
    for (at, (a, b, c)) in [
        (10.0, None, Some(50.0)),
        (12.0, Some(1.0), Some(51.0)),
        (2.0, Some(1.0), None),
        (5.0, Some(4.0), None),
    ]
    .into_iter()
    .enumerate()
    {
        let at_ms = 1_000 * (at as i64 + 1);
        head.append(&labels("errors_total", "a"), at_ms, a).unwrap();
        head.append(&labels("up", "a"), at_ms, 1.0).unwrap();
        head.append(&labels("up", "b"), at_ms, 1.0).unwrap();
        if let Some(b) = b {
            head.append_born_from_zero(&labels("errors_total", "b"), at_ms, b)
                .unwrap();
        }
        let marker = stale_marker();
        if c.is_some() || at == 2 {
            let (value, up) = c.map_or((marker, marker), |c| (c, 1.0));
            head.append(&labels("errors_total", "c"), at_ms, value)
                .unwrap();
            head.append(&labels("up", "c"), at_ms, up).unwrap();
        }
    }
    head
}

/// As a guard holds it.
fn signals(head: Head) -> Arc<dyn Signals> {
    Arc::new(Ekg::over(head.tsdb()))
}

fn by(series: &[Grown]) -> BTreeMap<&str, u64> {
    let one = |grown: &'_ Grown| grown.labels["instance"].clone();
    assert!(series.is_sorted_by_key(one));
    series
        .iter()
        .map(|grown| (grown.labels["instance"].as_str(), grown.by))
        .collect()
}

#[tokio::test]
async fn growth_counts_resets_births_and_what_is_gone() {
    let ekg = signals(head());
    let seen = ekg.counts("errors_total", ms(1_000), ms(4_000)).await;
    let seen = seen.unwrap();
    let expected = BTreeMap::from([("a", 2 + 2 + 3), ("b", 4), ("c", 1)]);
    assert_eq!(by(&seen.value().series), expected);
    assert!(seen.value().whole);
    assert_eq!(seen.observed_at(), ms(4_000), "what is gone is complete");
    assert_eq!(seen.source(), "ekg/scrape");
    let series = &seen.value().series[0].labels;
    assert_eq!(series["__name__"], "errors_total");
}

#[tokio::test]
async fn growth_from_an_unknown_beginning_is_not_whole() {
    let ekg = signals(head());
    let seen = ekg.counts("errors_total", ms(0), ms(4_000)).await.unwrap();
    assert!(!seen.value().whole);
}

#[tokio::test]
async fn a_dead_scrape_makes_growth_and_values_stale_though_others_answer() {
    let mut head = head();
    head.append(&labels("errors_total", "b"), 5_000, stale_marker())
        .unwrap();
    for at_ms in [5_000, 15_000, 30_000] {
        head.append(&labels("up", "b"), at_ms, 0.0).unwrap();
        head.append(&labels("up", "a"), at_ms, 1.0).unwrap();
        head.append(&labels("errors_total", "a"), at_ms, 9.0)
            .unwrap();
    }
    let ekg = signals(head);
    let now = ms(30_000);
    let seen = ekg.counts("errors_total", ms(20_000), now).await.unwrap();
    assert_eq!(by(&seen.value().series), BTreeMap::from([("a", 0)]));
    assert_eq!(seen.observed_at(), ms(4_000));
    assert!(!seen.is_fresh(now, Span::from_secs(10)));
    let seen = ekg.eval("sum(rate(errors_total[30s]))", now).await;
    assert_eq!(seen.unwrap().observed_at(), ms(4_000));
    let alive = ekg.counts("errors_total{instance=\"a\"}", ms(20_000), now);
    assert_eq!(alive.await.unwrap().observed_at(), now);
}

#[tokio::test]
async fn what_cannot_be_counted_is_silence() {
    let mut head = head();
    head.append(&labels("load", "a"), 1_000, 0.5).unwrap();
    head.append(&labels("load", "a"), 2_000, 0.7).unwrap();
    let ekg = signals(head);
    for silent in ["load", "nothing", "rate(errors_total[1m])", "errors_total{"] {
        let seen = ekg.counts(silent, ms(1_000), ms(4_000)).await;
        assert!(seen.is_none(), "{silent}");
    }
    let before = ekg.counts("errors_total", ms(-5), ms(0)).await;
    assert!(before.is_none());
}
