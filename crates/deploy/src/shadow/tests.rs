use mainstay_core::ports::Grown;

use super::*;

/// Rows of version, status or bound, count.
fn growth(label: &str, rows: &[(&str, &str, u64)]) -> Growth {
    let grown = |(version, value, by): &(&str, &str, u64)| Grown {
        labels: [("version", *version), (label, *value)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        by: *by,
    };
    Growth {
        series: rows.iter().map(grown).collect(),
        whole: true,
    }
}

struct World {
    shadow: Shadow,
    second: i64,
    news: Vec<News>,
}

impl World {
    fn new(memory: Memory) -> Self {
        let labels = Labels {
            ages_known: false,
            ..Labels::default()
        };
        let margin = Percent::new(1.0).unwrap();
        Self {
            shadow: Shadow::new(labels, margin, memory),
            second: 0,
            news: Vec::new(),
        }
    }

    /// So many seconds of versions with requests, failed ones and slow ones.
    fn run(&mut self, seconds: i64, versions: &[(&str, u64, u64, u64)]) {
        for _ in 0..seconds {
            self.second += 1;
            let (mut requests, mut buckets) = (Vec::new(), Vec::new());
            for (version, all, bad, slow) in versions {
                requests.extend([(*version, "200", all - bad), (*version, "500", *bad)]);
                buckets.extend([(*version, "0.1", all - slow), (*version, "+Inf", *all)]);
            }
            let at = Time::from_millis(self.second * 1_000);
            let news = self
                .shadow
                .tick(at, &growth("code", &requests), &growth("le", &buckets))
                .unwrap();
            self.news.extend(news);
        }
    }

    fn ruling(&self) -> Option<Ruling> {
        Some(self.shadow.trial()?.rule().ruling)
    }

    fn words(&self) -> Vec<String> {
        let word = |news: &News| match news {
            News::First { version } => format!("first {version}"),
            News::Beside { from, to } => format!("{to} beside {from}"),
            News::Ruled {
                from, to, ruling, ..
            } => format!("{from} to {to} {ruling:?}"),
        };
        self.news.iter().map(word).collect()
    }
}

#[test]
fn a_version_that_fails_more_is_told_once_and_after_a_restart_not_again() {
    let mut world = World::new(Memory::default());
    world.run(20, &[("v1", 100, 0, 0)]);
    world.run(30, &[("v1", 100, 0, 0), ("v2", 20, 6, 0)]);
    assert_eq!(world.words(), ["first v1", "v2 beside v1", "v1 to v2 Harm"]);
    let mut memory = Memory::default();
    world.news.iter().for_each(|news| memory.fold(news));
    let mut again = World::new(memory);
    // The new version has most of the requests by now: the ledger still knows which one is new.
    again.run(30, &[("v1", 20, 0, 0), ("v2", 100, 30, 0)]);
    assert_eq!(again.ruling(), Some(Ruling::Harm));
    assert_eq!(again.words(), [""; 0]);
}

#[test]
fn a_version_as_good_as_the_old_one_passes_and_is_the_old_one_when_it_serves_alone() {
    let mut world = World::new(Memory::default());
    world.run(10, &[("v1", 300, 0, 1)]);
    world.run(140, &[("v1", 300, 0, 1), ("v2", 60, 0, 0)]);
    assert_eq!(world.words(), ["first v1", "v2 beside v1", "v1 to v2 Pass"]);
    world.run(QUIET.secs_f64() as i64 + 2, &[("v2", 300, 0, 1)]);
    assert_eq!(world.shadow.stable(), Some("v2"));
    assert!(world.shadow.trial().is_none());
    world.run(2, &[("v2", 300, 0, 1), ("v3", 10, 0, 0)]);
    assert_eq!(world.words().last().unwrap(), "v3 beside v2");
}

#[test]
fn slowness_is_harm_only_once_a_new_version_is_warm() {
    let mut world = World::new(Memory::default());
    world.run(10, &[("v1", 300, 0, 1)]);
    world.run(29, &[("v1", 300, 0, 1), ("v2", 60, 0, 30)]);
    assert_eq!(world.ruling(), Some(Ruling::Insufficient));
    world.run(30, &[("v1", 300, 0, 1), ("v2", 60, 0, 30)]);
    assert_eq!(world.ruling(), Some(Ruling::Harm));
}

#[test]
fn without_a_status_or_a_histogram_nothing_passes_and_what_is_missing_is_named() {
    let mut world = World::new(Memory::default());
    for second in 1..200 {
        let rows = [("v1", "GET", 300), ("v2", "GET", 60)];
        let requests = growth("method", &rows);
        world
            .shadow
            .tick(
                Time::from_millis(second * 1_000),
                &requests,
                &Growth::default(),
            )
            .unwrap();
    }
    let ruled = world.shadow.trial().unwrap().rule();
    assert_eq!(ruled.ruling, Ruling::Insufficient);
    let remedies: Vec<&str> = ruled.findings.iter().map(|it| it.remedy.as_str()).collect();
    assert!(remedies.iter().any(|it| it.contains("codeLabel")));
    assert!(remedies.iter().any(|it| it.contains("signals.latency")));
}

#[test]
fn a_label_that_is_not_the_version_is_seen_through_and_writes_nothing() {
    let mut world = World::new(Memory::default());
    let paths: Vec<String> = (0..50).map(|at| format!("/{at}")).collect();
    let rows: Vec<(&str, u64, u64, u64)> = paths.iter().map(|it| (it.as_str(), 9, 0, 0)).collect();
    world.run(20, &rows);
    assert!(world.news.is_empty());
    assert!(world.shadow.because().contains("not that of the version"));
}
