use std::fmt::Write as _;

use super::*;
use crate::text::{TextLimits, scan};
use mainstay_tsdb::is_stale;

fn memory(honor_labels: bool) -> Memory {
    let labels = Labels::from_pairs([("job", "shop")]).unwrap();
    let rules = SampleRules {
        honor_labels,
        ..SampleRules::default()
    };
    Memory::new(labels, rules)
}

fn scrape(memory: &mut Memory, at_ms: i64, body: &str) -> Vec<NewSample> {
    let seen = scan(body.as_bytes(), &TextLimits::default()).unwrap();
    let at = Time::from_millis(at_ms);
    let written = memory.scraped(at, 0.1, Some(&seen), &mut Refusals::default());
    assert_eq!(written.over, None);
    written.samples
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
    assert_eq!(batch.len(), 6);
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
    let written = memory(false).scraped(Time::from_millis(0), 0.1, Some(&seen), &mut refused);
    assert_eq!((written.samples.len(), refused.far_ahead), (5, 1));
}

/// A memory with the rules that `change` makes.
fn ruled(change: impl FnOnce(&mut SampleRules)) -> Memory {
    let mut rules = SampleRules::default();
    change(&mut rules);
    Memory::new(Labels::default(), rules)
}

fn about(batch: &[NewSample], name: &str) -> f64 {
    named(batch, name).value
}

#[test]
fn relabeling_drops_and_renames_and_the_scrape_says_how_much_stayed() {
    let rule = |json: &str| {
        let section: relabel::Section = serde_json::from_str(json).unwrap();
        Rule::try_from(section).unwrap()
    };
    let rules = [
        rule(r#"{"source_labels":["__name__"],"regex":"go_.*","action":"drop"}"#),
        rule(
            r#"{"source_labels":["path"],"regex":"/a/.*","target_label":"path","replacement":"/a"}"#,
        ),
        rule(r#"{"source_labels":["x"],"regex":"y","target_label":"__name__","replacement":""}"#),
    ];
    let mut memory = ruled(|it| it.relabel = Arc::from(rules.to_vec()));
    let mut refused = Refusals::default();
    let seen = b"go_gc 1\nhits{path=\"/a/1\"} 2\nodd{x=\"y\"} 3\n";
    let seen = scan(seen, &TextLimits::default()).unwrap();
    let at = Time::from_millis(1_000);
    let batch = memory.scraped(at, 0.1, Some(&seen), &mut refused).samples;
    assert_eq!(named(&batch, "hits").labels.get("path"), Some("/a"));
    assert_eq!((batch.len(), refused.labels), (6, 1));
    assert_eq!(about(&batch, "scrape_samples_scraped"), 3.0);
    assert_eq!(about(&batch, "scrape_samples_post_metric_relabeling"), 1.0);
}

#[test]
fn a_scrape_over_a_limit_writes_nothing_and_ends_what_lived() {
    let mut memory = ruled(|it| it.limits.samples = Some(2));
    let batch = scrape(&mut memory, 1_000, "a 1\nb 1\n");
    assert_eq!(about(&batch, "scrape_series_added"), 2.0);
    let seen = scan(b"a 1\nb 1\nc 1\n", &TextLimits::default()).unwrap();
    let at = Time::from_millis(2_000);
    let written = memory.scraped(at, 0.1, Some(&seen), &mut Refusals::default());
    let over = written.over.unwrap().to_string();
    assert_eq!(over, "3 samples after relabeling, the sample_limit is 2");
    let batch = written.samples;
    assert!(is_stale(about(&batch, "a")) && is_stale(about(&batch, "b")));
    assert_eq!((about(&batch, "up"), batch.len()), (0.0, 7));
    let batch = scrape(&mut memory, 3_000, "a 1\nb 1\n");
    assert_eq!((about(&batch, "a"), about(&batch, "up")), (1.0, 1.0));

    let long = SampleLimits {
        labels: Some(2),
        name_bytes: Some(8),
        value_bytes: Some(5),
        samples: None,
        buckets: None,
        finest_schema: None,
    };
    for (body, says) in [
        ("a{b=\"1\",c=\"2\"} 1\n", "label_limit"),
        ("a{bbbbbbbbb=\"1\"} 1\n", "label_name_length_limit"),
        ("a{b=\"123456\"} 1\n", "label_value_length_limit"),
    ] {
        let seen = scan(body.as_bytes(), &TextLimits::default()).unwrap();
        let mut memory = ruled(|it| it.limits = long);
        let written = memory.scraped(at, 0.1, Some(&seen), &mut Refusals::default());
        let over = written.over.unwrap().to_string();
        assert!(over.contains(says), "{over}");
    }
}

#[test]
fn a_series_that_only_moved_in_the_body_is_not_added() {
    let mut memory = memory(false);
    scrape(&mut memory, 1_000, "a 1\nb 1\n");
    let batch = scrape(&mut memory, 2_000, "b 1\na 1\nc 1\n");
    assert_eq!(about(&batch, "scrape_series_added"), 1.0);
}

#[test]
fn a_time_that_is_not_honored_is_the_scrapes() {
    let mut memory = ruled(|it| it.honor_timestamps = false);
    let batch = scrape(&mut memory, 1_000, "a 1 5\n");
    assert_eq!(named(&batch, "a").at_ms, 1_000);
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
