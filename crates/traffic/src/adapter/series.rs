//! What is counted of one instance running one version. It outlives incarnations and, for a while, the
//! instance's place in the table: a guard that counts over minutes must not see a counter vanish.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;

use crate::Outcome;

/// Upper bounds of the latency histogram, in microseconds.
pub(crate) const BUCKETS_US: [u64; 16] = [
    1_000, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000, 35_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];
/// Routes that are told apart of one instance; what comes later is counted as `other`, so that a
/// scan for paths does not become memory.
const ROUTES_MAX: usize = 100;
/// Bytes of a route that are kept as its label.
const ROUTE_BYTES_MAX: usize = 80;

/// How long requests took.
#[derive(Default)]
pub(crate) struct Durations {
    pub(crate) buckets: [u64; BUCKETS_US.len()],
    pub(crate) count: u64,
    pub(crate) sum_us: u64,
}

impl Durations {
    fn add(&mut self, took_us: u64) {
        self.count += 1;
        self.sum_us += took_us;
        if let Some(index) = BUCKETS_US.iter().position(|most| took_us <= *most) {
            self.buckets[index] += 1;
        }
    }
}

/// Counters since the router began.
#[derive(Default)]
pub(crate) struct Series {
    pub(crate) routes: BTreeMap<Box<str>, Vec<(u16, u64)>>,
    pub(crate) took: Durations,
    /// Probes of each route: good ones, and bad ones.
    pub(crate) probes: BTreeMap<Box<str>, [u64; 2]>,
    pub(crate) probes_took: Durations,
    pub(crate) good: u64,
    pub(crate) bad: u64,
    pub(crate) lost: u64,
    pub(crate) ejections: u64,
    pub(crate) flips: u64,
}

impl Series {
    /// Counts an answered, failed or abandoned request.
    pub(crate) fn ended(&mut self, path: &str, code: u16, took_us: u64, outcome: Option<Outcome>) {
        self.took.add(took_us);
        match outcome {
            Some(Outcome::Good) => self.good += 1,
            Some(Outcome::Bad) => self.bad += 1,
            Some(Outcome::Lost) => self.lost += 1,
            None => {}
        }
        count(
            &mut self.routes,
            path,
            |codes: &mut Vec<(u16, u64)>| match codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, n)) => *n += 1,
                None => codes.push((code, 1)),
            },
        );
    }

    /// Counts a probe that ended.
    pub(crate) fn probed(&mut self, path: &str, took_us: u64, is_good: bool) {
        self.probes_took.add(took_us);
        count(&mut self.probes, path, |ended: &mut [u64; 2]| {
            ended[usize::from(!is_good)] += 1;
        });
    }
}

/// Counts in what is kept of the route of `path`, or of all others where there is no room for it.
fn count<T: Default>(routes: &mut BTreeMap<Box<str>, T>, path: &str, counted: impl FnOnce(&mut T)) {
    let route = route_of(path);
    if let Some(known) = routes.get_mut(route) {
        return counted(known);
    }
    let has_room = routes.len() < ROUTES_MAX && route.len() <= ROUTE_BYTES_MAX;
    let label = if has_room { route } else { "other" };
    counted(routes.entry(label.into()).or_default());
}

/// The first two segments of a path: what a cohort is told apart by.
pub(crate) fn route_of(path: &str) -> &str {
    let mut slashes = 0;
    let end = path.bytes().position(|byte| {
        slashes += u8::from(byte == b'/');
        byte == b'?' || slashes == 3
    });
    end.map_or(path, |end| &path[..end])
}

/// The path of a request, cheap to keep until it ended.
pub(crate) fn path_of(path: Option<&PathAndQuery>) -> &str {
    path.map_or("/", PathAndQuery::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_the_first_two_segments() {
        for (path, route) in [
            ("/a/x/y?z", "/a/x"),
            ("/a/x?y=/b/c/d", "/a/x"),
            ("/a/", "/a/"),
            ("/?a/b", "/"),
            ("*", "*"),
        ] {
            assert_eq!(route_of(path), route);
        }
    }

    #[test]
    fn a_scan_of_paths_ends_up_as_other() {
        let mut series = Series::default();
        for i in 0..500 {
            series.ended(&format!("/a/{i}"), 404, 10, None);
        }
        series.ended(&format!("/{}", "x".repeat(2_000)), 200, 10, None);
        assert_eq!(series.routes.len(), ROUTES_MAX + 1);
        assert_eq!(series.routes["other"], vec![(404, 400), (200, 1)]);
    }
}
