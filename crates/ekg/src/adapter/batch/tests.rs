use std::fmt::Write as _;

use super::*;
use crate::text::{TextLimits, scan};
use mainstay_tsdb::is_stale;

fn memory(honor_labels: bool) -> Memory {
    let labels = Labels::from_pairs([("job", "shop")]).unwrap();
    Memory::new(labels, honor_labels)
}

fn scrape(memory: &mut Memory, at_ms: i64, body: &str) -> Vec<NewSample> {
    let seen = scan(body.as_bytes(), &TextLimits::default()).unwrap();
    let at = Time::from_millis(at_ms);
    memory.scraped(at, 0.1, Some(&seen), &mut Refusals::default())
}

fn named<'a>(batch: &'a [NewSample], name: &str) -> &'a NewSample {
    let found = batch.iter().find(|s| s.labels.metric_name() == Some(name));
    found.unwrap()
}

#[test]
fn a_label_of_the_target_moves_the_samples_own_aside() {
    let body = "a{job=\"x\",exported_job=\"y\"} 1\n";
    let batch = scrape(&mut memory(false), 1_000, body);
    let labels = &named(&batch, "a").labels;
    assert_eq!(labels.get("job"), Some("shop"));
    assert_eq!(labels.get("exported_job"), Some("y"));
    assert_eq!(labels.get("exported_exported_job"), Some("x"));
    let batch = scrape(&mut memory(true), 1_000, body);
    assert_eq!(named(&batch, "a").labels.get("job"), Some("x"));
}

#[test]
fn a_series_that_vanished_is_marked_and_one_with_its_own_time_is_not() {
    let mut memory = memory(false);
    scrape(&mut memory, 1_000, "a 1\nb 1 900\nc 1\n");
    let batch = scrape(&mut memory, 2_000, "c 1\n");
    assert!(is_stale(named(&batch, "a").value));
    assert!(!is_stale(named(&batch, "c").value));
    assert!(!batch.iter().any(|s| s.labels.metric_name() == Some("b")));
}

#[test]
fn a_target_that_goes_leaves_markers_after_its_last_sample() {
    let mut memory = memory(false);
    assert!(memory.gone(Time::from_millis(1)).is_empty());
    scrape(&mut memory, 1_000, "a 1\n");
    let batch = memory.gone(Time::from_millis(1_000));
    assert_eq!(batch.len(), 4);
    assert!(batch.iter().all(|s| is_stale(s.value) && s.at_ms == 1_001));
}

#[test]
fn only_a_counter_that_a_recent_answer_lacked_is_born_from_zero() {
    let mut memory = memory(false);
    let body = "# TYPE c counter\nc 1\ng 1\n";
    assert!(!named(&scrape(&mut memory, 1_000, body), "c").born_from_zero);
    let batch = scrape(&mut memory, 2_000, body);
    assert!(named(&batch, "c").born_from_zero && !named(&batch, "g").born_from_zero);
    assert!(!named(&scrape(&mut memory, 90_000, body), "c").born_from_zero);
    memory.forget_answer();
    assert!(!named(&scrape(&mut memory, 91_000, body), "c").born_from_zero);
}

#[test]
fn a_time_far_ahead_is_refused_and_counted() {
    let mut refused = Refusals::default();
    let seen = scan(b"a 1 99999999999\n", &TextLimits::default()).unwrap();
    let batch = memory(false).scraped(Time::from_millis(0), 0.1, Some(&seen), &mut refused);
    assert_eq!((batch.len(), refused.far_ahead), (3, 1));
}

proptest::proptest! {
    #[test]
    fn markers_are_what_lived_before_and_does_not_live_now(
        bodies in proptest::collection::vec(
            proptest::collection::vec((0_u8..6, proptest::bool::weighted(0.2)), 0..8), 1..8)
    ) {
        let mut memory = memory(false);
        let mut before: BTreeSet<String> = BTreeSet::new();
        for (at, body) in bodies.into_iter().enumerate() {
            let mut text = String::new();
            let (mut live, mut said) = (BTreeSet::new(), Vec::new());
            for (series, dated) in body {
                let name = format!("s{series}");
                writeln!(text, "{name}{{a=\"{series}\"}} 1{}", if dated { " 5" } else { "" }).unwrap();
                said.push(name.clone());
                if !dated {
                    live.insert(name);
                }
            }
            let batch = scrape(&mut memory, 1_000 * (at as i64 + 1), &text);
            let name = |s: &NewSample| s.labels.metric_name().unwrap().to_owned();
            let own = |s: &&NewSample| s.labels.get("a").is_some();
            let (markers, samples): (Vec<_>, Vec<_>) =
                batch.iter().filter(own).partition(|s| is_stale(s.value));
            let markers: Vec<String> = markers.into_iter().map(name).collect();
            let expected: Vec<String> = before.difference(&live).cloned().collect();
            proptest::prop_assert_eq!(markers, expected);
            proptest::prop_assert_eq!(samples.into_iter().map(name).collect::<Vec<_>>(), said);
            before = live;
        }
    }
}
