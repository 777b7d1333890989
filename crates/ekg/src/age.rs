//! How old an answer is.
//!
//! Guarantees: an answer is as old as the newest sample of its stalest series that should still run. A series
//! whose target was taken off the list is complete, not stale; one whose target is on the list and does not
//! answer (`up` is 0) is stale from its last sample on, for as long as that lasts. So a dead scrape ages what
//! was counted of it instead of leaving the others to speak for it. It never dates what no sample entered.

use mainstay_tsdb::{Labels, METRIC_NAME, MatchOp, Matcher, Newest, ReadError, Tsdb};

/// How long a series that fell silent without a marker is still expected: as long as the engine takes its
/// last sample for current.
const EXPECTED_MS: i64 = 5 * 60 * 1_000;

/// The age of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age {
    /// Oldest of the newest samples of the series that should run.
    running_ms: Option<i64>,
    /// The same of the series that ended.
    ended_ms: Option<i64>,
    /// Whether any sample was read.
    read: bool,
}

impl Age {
    /// Of the series that satisfy `matchers`, read in `start_ms..=end_ms`.
    pub(crate) fn of(
        tsdb: &Tsdb,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Self, ReadError> {
        let mut age = Self::default();
        let mut ups: Option<Vec<Newest>> = None;
        for series in tsdb.newest(matchers, end_ms)? {
            let read = series.at_ms >= start_ms;
            let expected_since = end_ms.saturating_sub(EXPECTED_MS);
            let runs = if series.ended {
                let ups = match &mut ups {
                    Some(known) => known,
                    none => none.insert(ups_at(tsdb, end_ms)?),
                };
                is_silent(ups, &series.labels, expected_since)
            } else {
                read || series.at_ms >= expected_since
            };
            age.read |= read;
            let oldest = match (runs, read) {
                (true, _) => &mut age.running_ms,
                (false, true) => &mut age.ended_ms,
                (false, false) => continue,
            };
            *oldest = Some(oldest.map_or(series.at_ms, |ms| ms.min(series.at_ms)));
        }
        Ok(age)
    }

    /// Together with what another selection read.
    pub(crate) fn and(self, other: Self) -> Self {
        let oldest = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        Self {
            running_ms: oldest(self.running_ms, other.running_ms),
            ended_ms: oldest(self.ended_ms, other.ended_ms),
            read: self.read || other.read,
        }
    }

    /// The time the answer is as old as. Series that ended count only if no other should run.
    pub(crate) fn ms(self) -> Option<i64> {
        self.running_ms.or(self.ended_ms).filter(|_| self.read)
    }
}

fn ups_at(tsdb: &Tsdb, at_ms: i64) -> Result<Vec<Newest>, ReadError> {
    // An equality needs no expression that could be wrong.
    let named = Matcher::new(METRIC_NAME, MatchOp::Equal, "up");
    named.map_or(Ok(Vec::new()), |named| tsdb.newest(&[named], at_ms))
}

/// Whether the target that a series came from should answer and does not.
fn is_silent(ups: &[Newest], series: &Labels, since_ms: i64) -> bool {
    let down = |up: &Newest| !up.ended && up.value == 0.0 && up.at_ms >= since_ms;
    let mut own = ups.iter().filter(|up| agrees(&up.labels, series, true));
    if let Some(first) = own.next() {
        return down(first) || own.any(down);
    }
    // A target whose own labels stand, such as a router, speaks of other instances than itself.
    let mut speaks = ups.iter().filter(|up| agrees(&up.labels, series, false));
    speaks.any(down)
}

fn agrees(up: &Labels, series: &Labels, with_instance: bool) -> bool {
    let compared = |name: &str| name != METRIC_NAME && (with_instance || name != "instance");
    up.iter()
        .filter(|(name, _)| compared(name))
        .all(|(name, value)| series.get(name) == Some(value))
}

#[cfg(test)]
mod tests;
