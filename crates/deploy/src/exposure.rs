//! How long users would go on meeting a bad version, were the verdict against it to come at each point of a rollout
//! in place. Pure.
//!
//! Routes go first: while the instances that still run the old version carry the upper bound of demand, one flip of
//! the routes ends it. Beyond that old instances have to come back, in waves as wide as the capacity rule allows,
//! and a wave takes as long as replacing instances of this service was measured to take. Guarantees: counts by the
//! same rule as the rollback itself; what was never measured gives no estimate, and says so. Never a promise: hosts
//! may be slower next time, and every sentence names what the estimate is made from.

use std::collections::BTreeMap;

use mainstay_change::{Batch, Budget, Serving, batch, safe_batch};
use mainstay_core::{FabricName, InstanceName, Name, Percent, Span, Version, flaw::FLIP};

use crate::pace::Pace;

#[cfg(test)]
mod tests;

/// Part of a fabric's instances that the way back adds where none can be taken out: a quarter.
const ROOM: usize = 4;

/// One instance: its name, and what it fails together with.
pub type Place = (InstanceName, Name);

/// The service in one fabric.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Its instances, in the order in which they are replaced.
    pub places: Vec<Place>,
    /// Where further ones would stand, in order: the control, and what makes room on the way back.
    pub further: Vec<Place>,
    /// Upper bound of demand, where it is known.
    pub demand_upper_rps: Option<f64>,
}

/// What an estimate is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// By fabric.
    pub fleets: BTreeMap<FabricName, Fleet>,
    /// The version to return to.
    pub old: Version,
    /// Requests per second that one of its instances carries; none where that is not known. The new version is taken
    /// to carry as much: it did until the verdict, or the judge would have seen it before.
    pub old_rps: Option<f64>,
    /// Largest share of a fabric's instances replaced at once on the way forward.
    pub batch: Percent,
    /// The share of instances at which the rollout stops for a person, if it does.
    pub expose: Option<Percent>,
    /// How long replacements took; none where none was measured.
    pub pace: Option<Pace>,
    /// Longest exposure that is wanted.
    pub within: Span,
}

/// Why nothing can be estimated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoData {
    /// Nothing was replaced yet.
    #[error("no replacement of an instance was measured yet")]
    Pace,
    /// Nobody knows what users ask.
    #[error("the demand in {0} is not measured yet")]
    Demand(FabricName),
    /// Nobody knows what an instance carries.
    #[error("what an instance of {0} carries is not known")]
    Capacity(Version),
}

/// A point of the rollout, and what a verdict there would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Batches done; 0 is the canary.
    pub batch: u32,
    /// Instances that run the new version in place of the old one.
    pub moved: usize,
    /// The share by which a rollout stops here, in thousandths.
    pub share: u32,
    /// Waves of restarts until the old version carries all; none where capacity lets no instance go.
    pub waves: Option<u32>,
    /// From the verdict until no request needs the bad version; none where it has no end.
    pub takes: Option<Span>,
    /// The arithmetic of the fabric that takes longest.
    pub arithmetic: String,
}

/// An estimate of every point of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Batches it takes.
    pub batches: u32,
    /// Instances there are.
    pub total: usize,
    /// Whether it stops for a person before the bake.
    pub stops: bool,
    /// How long it takes from the canary, after each batch, and at the end: the canary first.
    pub stages: Vec<Option<Span>>,
    /// The longest: the last point, that at which it stops for a person if it does.
    pub worst: Exposure,
    /// The first point at which it takes longer than is wanted.
    pub exceeds: Option<Exposure>,
    /// The last point before that.
    pub holds: Option<Exposure>,
    /// How long replacements took; none where none was measured and none is needed.
    pub pace: Option<Pace>,
    /// Longest exposure that is wanted.
    pub within: Span,
}

/// A fleet whose numbers are all known.
struct Counted {
    size: usize,
    /// Instances replaced at most, before a person is asked.
    most: usize,
    /// Instances replaced by one batch on the way forward.
    width: usize,
    /// Instances of the old version beside those that are replaced: the control, to the end.
    control: usize,
    /// Instances that carry all of demand.
    needed: usize,
    /// The same with the figures, in words.
    demand: String,
    /// Instances that may be out at once on the way back.
    safe: usize,
    /// What is added where none may.
    room: usize,
    /// Instances that may be out at once then.
    safe_with_room: usize,
}

impl Counted {
    fn new(basis: &Basis, fabric: &FabricName, demand: f64, rps: f64) -> Self {
        let fleet = &basis.fleets[fabric];
        let size = fleet.places.len();
        let control = fleet.further.len().min(1);
        let room = size.div_ceil(ROOM).min(fleet.further.len() - control);
        let names: Vec<InstanceName> = fleet.places.iter().map(|it| it.0.clone()).collect();
        let safe = |further: usize| {
            let serving = |(instance, domain): &Place| Serving {
                instance: instance.clone(),
                domain: domain.clone(),
                capacity_rps: rps,
                offered_rps: 0.0,
                goodput_rps: 0.0,
            };
            let places = fleet.places.iter().chain(&fleet.further[..further]);
            let budget = Budget {
                serving: places.map(serving).collect(),
                demand_upper_rps: demand,
                leased_rps: 0.0,
            };
            safe_batch(&budget, &names).safe
        };
        let width = match batch(basis.batch, size, safe(control)) {
            Batch::Take(count) => count.max(1),
            Batch::Surge => 1,
        };
        Self {
            size,
            most: basis.expose.map_or(size, |it| exposed(it, size)),
            width,
            control,
            needed: (demand / rps).ceil() as usize,
            demand: format!(
                "in {fabric} demand of {demand:.0} rps takes {:.0} of {} at {rps:.1} rps each",
                (demand / rps).ceil(),
                basis.old
            ),
            safe: safe(control),
            room,
            safe_with_room: safe(control + room),
        }
    }

    fn batches(&self) -> u32 {
        u32::try_from(self.most.div_ceil(self.width)).unwrap_or(u32::MAX)
    }

    /// Instances that run the new version after `batch` of them.
    fn moved(&self, batch: u32) -> usize {
        self.most.min(self.width.saturating_mul(batch as usize))
    }

    /// The smallest share that lets so many be moved, in thousandths.
    fn share(&self, batch: u32) -> u32 {
        let share = (self.moved(batch) * 1_000).div_ceil(self.size.max(1));
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// Instances of the old version after `batch`: what was not moved, and the control. The canary stands beside all
    /// that were there: leaving it takes nothing away.
    fn left(&self, batch: u32) -> usize {
        self.size - self.moved(batch) + self.control
    }

    /// Waves until the old version carries all that is asked, or runs everywhere; none where they have no end.
    fn waves(&self, batch: u32) -> Option<u32> {
        let missing = self.needed.saturating_sub(self.left(batch));
        let missing = missing.min(self.moved(batch));
        let (missing, safe, first) = match self.safe {
            0 if missing > 0 => (missing.saturating_sub(self.room), self.safe_with_room, 1),
            safe => (missing, safe, 0),
        };
        let waves = match (missing, safe) {
            (0, _) => 0,
            (_, 0) => return None,
            (missing, safe) => missing.div_ceil(safe),
        };
        u32::try_from(first + waves).ok()
    }

    /// `in lax demand of 92 rps takes 3 of v1 at 36 rps each, 1 is left, 2 may be out at once`.
    fn arithmetic(&self, batch: u32) -> String {
        let left = self.left(batch);
        let out = match (self.waves(batch), self.safe) {
            (Some(0), _) => String::new(),
            (_, 0) => format!(
                ", none may be out: {} are added first, then {} may",
                self.room, self.safe_with_room
            ),
            (_, safe) => format!(", {safe} may be out at once"),
        };
        format!("{}, {left} {} left{out}", self.demand, are(left))
    }
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// How many of `size` instances may run the new version before a person is asked.
pub fn exposed(most: Percent, size: usize) -> usize {
    (most.get() * size as f64 / 100.0).floor() as usize
}

/// How many further places an estimate looks at, beside `size` instances.
pub fn further(size: usize) -> usize {
    1 + size.div_ceil(ROOM)
}

/// The estimate for `basis`.
pub fn estimate(basis: &Basis) -> Result<Estimate, NoData> {
    let rps = basis.old_rps.filter(|rps| *rps > 0.0);
    let rps = rps.ok_or_else(|| NoData::Capacity(basis.old.clone()))?;
    let mut fleets = Vec::with_capacity(basis.fleets.len());
    for (fabric, fleet) in &basis.fleets {
        let demand = fleet.demand_upper_rps;
        let demand = demand.ok_or_else(|| NoData::Demand(fabric.clone()))?;
        fleets.push(Counted::new(basis, fabric, demand, rps));
    }
    let batches = fleets.iter().map(Counted::batches).max().unwrap_or(0);
    let points: Vec<Exposure> = (0..=batches)
        .filter_map(|batch| point(&fleets, basis.pace.as_ref(), batch))
        .collect();
    let within = |point: &&Exposure| point.takes.is_some_and(|takes| takes <= basis.within);
    let worst = points.last().cloned().ok_or(NoData::Pace)?;
    if basis.pace.is_none() && worst.waves != Some(0) {
        return Err(NoData::Pace);
    }
    Ok(Estimate {
        batches,
        total: fleets.iter().map(|fleet| fleet.size).sum(),
        stops: fleets.iter().any(|fleet| fleet.most < fleet.size),
        stages: points.iter().map(|point| point.takes).collect(),
        exceeds: points.iter().find(|point| !within(point)).cloned(),
        holds: points.iter().take_while(within).last().cloned(),
        worst,
        pace: basis.pace.clone(),
        within: basis.within,
    })
}

/// What a verdict after `batch` would cost, as the slowest of `fleets` has it; none where there is none.
fn point(fleets: &[Counted], pace: Option<&Pace>, batch: u32) -> Option<Exposure> {
    // What has no end is the slowest of all.
    let slowness = |fleet: &&Counted| fleet.waves(batch).unwrap_or(u32::MAX);
    let slowest = fleets.iter().max_by_key(slowness)?;
    let waves = slowest.waves(batch);
    let wave = pace.map_or(0, |it| it.replaced_within.millis() + it.between.millis());
    Some(Exposure {
        batch,
        moved: fleets.iter().map(|fleet| fleet.moved(batch)).sum(),
        share: fleets.iter().map(|fleet| fleet.share(batch)).min()?,
        waves,
        takes: waves.map(|waves| Span::from_millis(FLIP.millis() + wave * u64::from(waves))),
        arithmetic: slowest.arithmetic(batch),
    })
}

/// Seconds with a tenth: nobody plans by less.
fn seconds(span: Span) -> String {
    format!("{:.1} s", span.secs_f64())
}

/// How long it takes, or that it has no end.
fn ends(takes: Option<Span>) -> String {
    takes.map_or_else(|| "without end".to_owned(), seconds)
}

impl Estimate {
    /// Where it begins to exceed what is wanted and what it comes to at worst, with the arithmetic and its source.
    pub fn sentence(&self) -> String {
        let within = self.within;
        let moved = format!(
            "with {} of {} instances moved",
            self.worst.moved, self.total
        );
        let worst = self.spent(&self.worst);
        let verdict = match &self.exceeds {
            None => format!(
                "a rollback in place holds rollbackWithin, {within}: at worst, {moved}, {worst}"
            ),
            Some(first) if *first == self.worst => format!(
                "a rollback in place exceeds rollbackWithin, {within}, {}: {worst}",
                self.place(first)
            ),
            Some(first) => format!(
                "a rollback in place exceeds rollbackWithin, {within}, {}: {}; at worst, {moved}, {worst}",
                self.place(first),
                self.spent(first)
            ),
        };
        let source = self.pace.as_ref().map_or_else(
            || "no process has to be replaced for it".to_owned(),
            ToString::to_string,
        );
        format!("{verdict} (an estimate, {source})")
    }

    /// `a rollback in place takes 2.0 s from the canary, 2.0 s after batches 1 to 9, 8.0 s after batch 10 and in the
    /// bake (an estimate)`.
    pub fn by_stage(&self) -> String {
        let mut stages = self.stages.iter();
        let canary = stages
            .next()
            .map(|it| format!("{} from the canary", ends(*it)));
        let mut said: Vec<String> = canary.into_iter().collect();
        let mut first = 1;
        for alike in stages.as_slice().chunk_by(|one, next| one == next) {
            let last = first + alike.len() - 1;
            let which = if first == last {
                format!("batch {last}")
            } else {
                format!("batches {first} to {last}")
            };
            let takes = alike.first().map_or_else(String::new, |it| ends(*it));
            said.push(format!("{takes} after {which}"));
            first = last + 1;
        }
        let bake = if self.stops { "" } else { " and in the bake" };
        format!(
            "a rollback in place takes {}{bake} (an estimate)",
            said.join(", ")
        )
    }

    /// What would hold it instead.
    pub fn proposal(&self) -> Option<String> {
        self.exceeds.as_ref()?;
        let smaller = match &self.holds {
            Some(point) if point.moved > 0 => {
                let share = f64::from(point.share) / 10.0;
                format!(
                    ", or `--expose {share}%`: with {} of {} instances moved it holds, and a person decides there",
                    point.moved, self.total
                )
            }
            Some(_) => ", or `--expose 0%`: the canary alone holds it, and a person decides there"
                .to_owned(),
            None => String::new(),
        };
        Some(format!(
            "to hold it: `--strategy blue-green`, where the hosts bear a second set{smaller}"
        ))
    }

    fn place(&self, point: &Exposure) -> String {
        if point.batch == 0 {
            return "from the canary on".to_owned();
        }
        format!(
            "after batch {} of {} ({} of {} instances)",
            point.batch, self.batches, point.moved, self.total
        )
    }

    fn spent(&self, point: &Exposure) -> String {
        let (flip, arithmetic) = (seconds(FLIP), &point.arithmetic);
        match (point.takes, point.waves, &self.pace) {
            (Some(takes), Some(waves), Some(pace)) if waves > 0 => format!(
                "{}: {flip} for the routes, then {waves} {} of {} and {} to the next, as {arithmetic}",
                seconds(takes),
                if waves == 1 { "wave" } else { "waves" },
                seconds(pace.replaced_within),
                seconds(pace.between)
            ),
            (Some(takes), ..) => {
                format!("{}, by the routes alone, as {arithmetic}", seconds(takes))
            }
            (None, ..) => format!("no end, as {arithmetic}"),
        }
    }
}
