use super::*;
use crate::RuleFile;
use mainstay_promql::Sample as Point;
use std::sync::Mutex;

/// Gives to a query the values that were put there for its text.
#[derive(Default)]
pub(crate) struct Canned(Mutex<BTreeMap<String, QueryResult>>);

impl Canned {
    /// One series a name, which carries it as the label `name`.
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let canned = Self::default();
        for (name, value) in values {
            canned.put(name, &[(&[("name", name)], value)]);
        }
        canned
    }

    fn put(&self, query: &str, series: &[(&[(&str, &str)], f64)]) {
        let series = series.iter().map(|(labels, value)| {
            let sample = Point {
                timestamp_ms: 0,
                value: *value,
            };
            InstantSeries::float(Labels::from_pairs(labels.iter().copied()), sample)
        });
        let result = QueryResult::Vector(series.collect());
        self.0.lock().unwrap().insert(query.to_owned(), result);
    }
}

impl Source for Canned {
    fn instant(&self, query: &Query, _: i64) -> Result<QueryResult, Error> {
        let known = self.0.lock().unwrap().get(query.text()).cloned();
        Ok(known.unwrap_or(QueryResult::Vector(Vec::new())))
    }
}

fn group(rules: &str) -> GroupRun {
    let file = RuleFile::parse(&format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap();
    let group = file.groups.into_iter().next().unwrap();
    GroupRun::new("f.yml", group, Span::from_secs(15), Span::ZERO)
}

fn evaluated(group: &mut GroupRun, secs: i64, source: &Arc<Canned>) -> Vec<String> {
    let source: Arc<dyn Source> = Arc::clone(source) as Arc<dyn Source>;
    let external = External::default();
    let now = Time::from_millis(secs * 1_000);
    let evaluation = group.evaluate(0, now, &external, &source);
    let value = |value: Option<f64>| value.map_or("ends".to_owned(), |it| it.to_string());
    let mut lines: Vec<String> = evaluation
        .samples
        .iter()
        .map(|it| format!("{} {}", it.labels, value(it.value)))
        .collect();
    lines.extend(evaluation.error.map(|error| format!("error: {error}")));
    lines
}

#[test]
fn a_recording_rule_names_its_series_and_ends_those_that_are_gone() {
    let mut group = group("  - {record: r, expr: up, labels: {team: a, job: ''}}\n");
    let source = Arc::new(Canned::default());
    source.put(
        "up",
        &[(&[("__name__", "up"), ("job", "x"), ("i", "1")], 3.0)],
    );
    let one = r#"{__name__="r", i="1", team="a"}"#;
    assert_eq!(evaluated(&mut group, 1, &source), [format!("{one} 3")]);
    source.put("up", &[]);
    assert_eq!(evaluated(&mut group, 2, &source), [format!("{one} ends")]);
    assert_eq!(evaluated(&mut group, 3, &source), Vec::<String>::new());
}

#[test]
fn an_alert_is_told_as_series_and_its_change_of_state_ends_the_former_one() {
    let mut group =
        group("  - {alert: Down, expr: up == 0, for: 5s, labels: {s: '{{ $value }}'}}\n");
    let source = Arc::new(Canned::default());
    source.put("up == 0", &[(&[("__name__", "up"), ("i", "1")], 0.0)]);
    let line = |state: &str, value: &str| {
        format!(
            r#"{{__name__="ALERTS", alertname="Down", alertstate="{state}", i="1", s="0"}} {value}"#
        )
    };
    let since = r#"{__name__="ALERTS_FOR_STATE", alertname="Down", i="1", s="0"} 1"#;
    let told = evaluated(&mut group, 1, &source);
    assert_eq!(told, [line("pending", "1"), since.to_owned()]);
    let told = evaluated(&mut group, 6, &source);
    let expected = [
        line("firing", "1"),
        since.to_owned(),
        line("pending", "ends"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_rule_that_fails_says_why_and_leaves_its_alerts() {
    let mut group = group("  - {alert: A, expr: up, labels: {i: same}}\n");
    let source = Arc::new(Canned::default());
    source.put("up", &[(&[("i", "1")], 1.0)]);
    evaluated(&mut group, 1, &source);
    source.put("up", &[(&[("i", "1")], 1.0), (&[("i", "2")], 1.0)]);
    let told = evaluated(&mut group, 2, &source);
    assert!(told[0].starts_with("error: two results"), "{told:?}");
    assert_eq!(group.rules[0].alerts.active().count(), 1);
    assert!(group.rules[0].error.is_some());
}

#[test]
fn more_results_than_the_limit_are_an_error() {
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - {record: r, expr: up}\n";
    let file = RuleFile::parse(text).unwrap();
    let first = file.groups.into_iter().next().unwrap();
    let mut group = GroupRun::new("f", first, Span::from_secs(1), Span::ZERO);
    let source = Arc::new(Canned::default());
    source.put("up", &[(&[("i", "1")], 1.0), (&[("i", "2")], 1.0)]);
    let told = evaluated(&mut group, 1, &source);
    assert_eq!(told, ["error: 2 results, the group's limit is 1"]);
}

#[test]
fn an_alert_from_before_a_start_goes_on_waiting_where_it_was() {
    let at = |secs: i64| Time::from_millis(secs * 1_000);
    let hold = Span::from_secs(3_600);
    let waited_enough = resumed(at(0), at(3_600), at(9_000), hold);
    assert_eq!(waited_enough, at(0));
    let almost = resumed(at(0), at(3_500), at(4_000), hold);
    assert_eq!(at(4_000).since(almost), Span::from_secs(3_000));
    let half = resumed(at(0), at(1_800), at(2_000), hold);
    assert_eq!(half, at(200));
}

/// A store of what was written, as far as recalling alerts asks: instant vectors with markers of ends, and ranges.
#[derive(Default)]
struct Written(Mutex<Vec<Sample>>);

impl Written {
    fn of(&self, query: &str, at_ms: i64, back_ms: i64) -> Vec<(Labels, Vec<Point>)> {
        let name = query.split('{').next().unwrap();
        let fires = query.contains("firing");
        let all = self.0.lock().unwrap();
        let mut found: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
        for it in all.iter() {
            let labels = &it.labels;
            let state = labels.get("alertstate");
            if labels.get(METRIC_NAME) != Some(name) || fires && state != Some("firing") {
                continue;
            }
            if it.at_ms > at_ms || it.at_ms <= at_ms - back_ms {
                continue;
            }
            let points = found.entry(labels.clone()).or_default();
            match (it.value, back_ms > 300_000) {
                (Some(value), _) => points.push(Point {
                    timestamp_ms: it.at_ms,
                    value,
                }),
                // A marker hides what was before it from an instant, and is not in a range.
                (None, false) => points.clear(),
                (None, true) => {}
            }
        }
        found.into_iter().filter(|(_, it)| !it.is_empty()).collect()
    }
}

impl Source for Written {
    fn instant(&self, query: &Query, at_ms: i64) -> Result<QueryResult, Error> {
        let text = query.text();
        if text.ends_with(']') {
            let found = self.of(text, at_ms, 3_600_000).into_iter();
            let series = found.map(|(labels, samples)| mainstay_promql::RangeSeries {
                labels,
                samples,
                histograms: Vec::new(),
            });
            return Ok(QueryResult::Matrix(series.collect()));
        }
        let found = self.of(text, at_ms, 300_000).into_iter();
        let newest = |(labels, samples): (Labels, Vec<Point>)| {
            InstantSeries::float(labels, *samples.last().unwrap())
        };
        Ok(QueryResult::Vector(found.map(newest).collect()))
    }
}

#[test]
fn what_fired_when_the_server_stopped_fires_on_and_its_end_is_told() {
    let rule = "  - {alert: Down, expr: up == 0, for: 5s, labels: {team: a}}\n";
    let external = External::default();
    let at = |secs: i64| Time::from_millis(secs * 1_000);
    let down: &[(&[(&str, &str)], f64)] = &[(&[("i", "1")], 0.0), (&[("i", "2")], 0.0)];
    let canned = Arc::new(Canned::default());
    let source: Arc<dyn Source> = canned.clone();
    let written = Arc::new(Written::default());
    let mut before = group(rule);
    for (secs, series) in [(0, down), (15, down), (30, &down[..1])] {
        canned.put("up == 0", series);
        let samples = before.evaluate(0, at(secs), &external, &source).samples;
        written.0.lock().unwrap().extend(samples);
    }
    // Somebody else's alert of the same name.
    written.0.lock().unwrap().push(Sample {
        labels: Labels::from_pairs([
            (METRIC_NAME, "ALERTS"),
            ("alertname", "Down"),
            ("alertstate", "firing"),
            ("team", "b"),
        ]),
        at_ms: 30_000,
        value: Some(1.0),
        histogram: None,
    });

    let stored: Arc<dyn Source> = written;
    let mut after = group(rule);
    after.restore(at(90), &stored).unwrap();
    let run = &mut after.rules[0];
    let known: Vec<_> = run.alerts.all().cloned().collect();
    assert_eq!(
        known.len(),
        1,
        "one had ended before, one is another rule's: {known:?}"
    );
    assert_eq!(known[0].labels.get("i"), Some("1"));
    assert_eq!(
        (known[0].state, known[0].active_at),
        (AlertState::Firing, at(0))
    );
    let resend = Span::from_secs(60);
    let told = run.alerts.to_tell(at(90), resend);
    assert_eq!((told.len(), told[0].1), (1, false), "it is no news");
    canned.put("up == 0", &[]);
    after.evaluate(0, at(105), &external, &source);
    let told = after.rules[0].alerts.to_tell(at(105), resend);
    assert_eq!((told[0].0.state, told[0].1), (AlertState::Resolved, true));
}

struct Dies;

impl Source for Dies {
    fn instant(&self, _: &Query, _: i64) -> Result<QueryResult, Error> {
        panic!("a border was crossed")
    }
}

#[test]
fn a_rule_whose_evaluation_dies_has_an_error_and_keeps_its_alerts() {
    let mut group = group("  - {alert: A, expr: up}\n");
    let canned = Arc::new(Canned::of([("up", 1.0)]));
    evaluated(&mut group, 1, &canned);
    let (external, dies): (_, Arc<dyn Source>) = (External::default(), Arc::new(Dies));
    let evaluation = group.evaluate(0, Time::from_millis(2_000), &external, &dies);
    let error = evaluation.error.unwrap();
    assert!(
        error.to_string().contains("a border was crossed"),
        "{error}"
    );
    assert_eq!(group.rules[0].alerts.active().count(), 1);
    assert_eq!(
        evaluated(&mut group, 3, &canned).len(),
        2,
        "the next one goes well"
    );
}
