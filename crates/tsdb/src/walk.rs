//! Everything of a window, one series after another.
//!
//! Guarantees: series ascend by their labels and come once each, with the samples that a selection would show; what
//! cannot be read ends the walk with an error. Memory is bounded by one series' samples, a few pages of each part, and
//! what of the selection is only in memory anyway. Windows that are only kept as summaries are not in it.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
};

use crate::{
    Labels, Matcher, ReadError, Tsdb,
    memtable::Columns,
    part::Contents,
    view::{Found, Gathered, SeriesSlice, slices},
};

/// A part that is read, at the next of its series that a selector names.
struct Source<'a> {
    contents: Contents<'a>,
    next: Option<Labels>,
}

impl Source<'_> {
    fn advance(&mut self, selectors: &[Vec<Matcher>]) -> Result<(), ReadError> {
        loop {
            self.next = self.contents.labels()?;
            match &self.next {
                Some(labels) if !named(labels, selectors) => {}
                Some(_) | None => return Ok(()),
            }
        }
    }
}

fn named(labels: &Labels, selectors: &[Vec<Matcher>]) -> bool {
    let satisfied = |it: &Matcher| it.matches(labels.get(it.name()).unwrap_or(""));
    selectors
        .iter()
        .any(|matchers| matchers.iter().all(satisfied))
}

impl Tsdb {
    /// Shows every series that satisfies all matchers of any selector and has a sample in `start_ms..=end_ms`, until `visit` says that it
    /// is enough; whether it never did.
    pub fn walk(
        &self,
        selectors: &[Vec<Matcher>],
        (start_ms, end_ms): (i64, i64),
        visit: &mut dyn FnMut(SeriesSlice) -> bool,
    ) -> Result<bool, ReadError> {
        let window = (start_ms, end_ms);
        let view = self.view();
        if let Some(error) = self.unserved().into_iter().next() {
            return Err(error);
        }
        let raw = view.parts_within(start_ms, end_ms);
        let mut sources = Vec::new();
        for part in raw.filter(|part| part.resolution().is_none()) {
            let contents = part.contents();
            let mut source = Source {
                contents,
                next: None,
            };
            source.advance(selectors)?;
            sources.push(source);
        }
        let mut fresh = BTreeMap::new();
        for matchers in selectors {
            let mut gathered = Gathered::default();
            view.gather(matchers, window, &mut gathered);
            fresh.extend(gathered.into_found().map(|it| (it.labels.clone(), it)));
        }
        let mut fresh = fresh.into_values().peekable();
        while let Some(labels) = first(&sources, &mut fresh) {
            let mut columns = Columns::default();
            for source in &mut sources {
                if source.next.as_ref() == Some(&labels) {
                    columns.extend(source.contents.samples_within(window)?.1);
                    source.advance(selectors)?;
                }
            }
            if let Some(found) = fresh.next_if(|it| it.labels == labels) {
                columns.extend(found.columns);
            }
            if columns.is_empty() {
                continue;
            }
            let found = Found {
                labels,
                born_ms: None,
                columns,
            };
            if !slices(vec![found]).into_iter().all(&mut *visit) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The first of the series that are next.
fn first(
    sources: &[Source<'_>],
    fresh: &mut Peekable<btree_map::IntoValues<Labels, Found>>,
) -> Option<Labels> {
    let sealed = sources.iter().filter_map(|it| it.next.as_ref());
    let fresh = fresh.peek().map(|it| &it.labels);
    sealed.chain(fresh).min().cloned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use mainstay_wal::MemoryDisk;

    use super::*;
    use crate::{Head, MatchOp, Options, Order, OrderError, open};

    /// What was appended until now stands in a part.
    fn seal(head: &mut Head) {
        let (tell, told) = mpsc::channel();
        let snapshot = Order::Snapshot {
            name: "x".to_owned(),
            with_head: true,
        };
        let tell = Box::new(move |outcome| tell.send(outcome).unwrap());
        head.order(snapshot, 0, tell);
        // This disk has no snapshots; what came before was sealed all the same.
        let outcome: Result<_, OrderError> = told.recv().unwrap();
        assert!(matches!(outcome, Err(OrderError::Disk(_))), "{outcome:?}");
    }

    fn walked(
        tsdb: &Tsdb,
        selectors: &[Vec<Matcher>],
        window: (i64, i64),
    ) -> Vec<(String, Vec<i64>)> {
        let mut found = Vec::new();
        let whole = tsdb.walk(selectors, window, &mut |series| {
            let job = series.labels.get("job").unwrap_or_default().to_owned();
            found.push((job, series.timestamps.to_vec()));
            true
        });
        assert!(whole.unwrap());
        found
    }

    #[test]
    fn a_walk_shows_each_series_once_in_order_with_what_a_selection_shows() {
        let disk = Arc::new(MemoryDisk::default());
        let (mut head, _) = open(disk, Options::default()).unwrap();
        let series = |job: &str| Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
        for (at_ms, jobs) in [(1, ["b", "a"]), (2, ["a", "c"])] {
            for job in jobs {
                head.append(&series(job), at_ms, 1.0).unwrap();
            }
            seal(&mut head);
        }
        head.append(&series("b"), 3, 1.0).unwrap();
        head.append(&series("d"), 4, 1.0).unwrap();
        let tsdb = head.tsdb();
        let all = vec![Vec::new()];
        let of = |job: &str, times: &[i64]| (job.to_owned(), times.to_vec());
        assert_eq!(
            walked(&tsdb, &all, (i64::MIN, i64::MAX)),
            [
                of("a", &[1, 2]),
                of("b", &[1, 3]),
                of("c", &[2]),
                of("d", &[4])
            ]
        );
        assert_eq!(
            walked(&tsdb, &all, (2, 3)),
            [of("a", &[2]), of("b", &[3]), of("c", &[2])]
        );
        let job = |value: &str| vec![Matcher::new("job", MatchOp::Regex, value).unwrap()];
        let both = [job("a|b"), job("b|d")];
        assert_eq!(
            walked(&tsdb, &both, (i64::MIN, i64::MAX)),
            [of("a", &[1, 2]), of("b", &[1, 3]), of("d", &[4])]
        );
        let mut seen = 0;
        let whole = tsdb.walk(&all, (0, 9), &mut |_| {
            seen += 1;
            seen < 2
        });
        assert_eq!((whole, seen), (Ok(false), 2));
        assert_eq!(tsdb.sealed(crate::Tiers::default()).parts().len(), 2);
    }
}
