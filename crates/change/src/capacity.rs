//! The capacity budget of a service in a fabric, and the floor under it.
//!
//! FLOOR: no effect takes serving capacity below `min(what it was, demand + margin)`, where the margin
//! is the largest failure domain that remains. Sums are whole millirequests per second, capacity
//! rounded down and demand up, so that the same numbers give the same answer in any order.
//! Never counts what is not measured, and never treats it as free to take either.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mainstay_core::{Finding, InstanceName, Name, Outcome, Percent};

use crate::planted::{self, Bug};

/// The signal of a capacity [`Finding`]: the one that stops restoring changes and emergencies too.
pub const CAPACITY: &str = "capacity";
/// An instance whose goodput is below this share of its capacity counts zero, unless it is for want of requests.
const GOODPUT_SHARE_MIN: f64 = 0.05;
/// Where an instance answers this share of what it is offered well, it is requests that it wants.
const ANSWERED_SHARE_MIN: f64 = 0.5;
/// Fewer instances than this are replaced by surging.
const BATCH_INSTANCES_MIN: usize = 10;
/// No instance carries more; a larger figure is a broken measurement, and sums stay far from overflow.
pub(crate) const INSTANCE_RPS_MAX: f64 = 1e9;

/// One instance that should serve, as measured; what is measured dead is listed too, with zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// The instance.
    pub instance: InstanceName,
    /// What it fails together with: its host, rack or fabric.
    pub domain: Name,
    /// Requests per second it is measured to carry, at least.
    pub capacity_rps: f64,
    /// Requests per second sent to it.
    pub offered_rps: f64,
    /// Requests per second it answers well.
    pub goodput_rps: f64,
}

/// What a service has, and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Its instances.
    pub serving: Vec<Serving>,
    /// Upper bound of demand, in requests per second.
    pub demand_upper_rps: f64,
    /// Headroom that other changes hold, in requests per second.
    pub leased_rps: f64,
}

/// What one instance brings to the sum, in millirequests per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Carries(u64),
    Nothing,
    Unknown,
}

impl Worth {
    fn of(serving: &Serving) -> Self {
        let known = |rps: f64| (0.0..=INSTANCE_RPS_MAX).contains(&rps);
        let (capacity, goodput) = (serving.capacity_rps, serving.goodput_rps);
        if !known(capacity) || !known(goodput) || !known(serving.offered_rps) {
            return Self::Unknown;
        }
        // A quiet service is not a dead one: that would make all of it free to take.
        let silent = goodput < GOODPUT_SHARE_MIN * capacity
            && goodput < ANSWERED_SHARE_MIN * serving.offered_rps;
        match (silent, floor_millis(capacity)) {
            // Answers come from it although no limit was ever measured: it is not free to take.
            (false, 0) if goodput > 0.0 => Self::Unknown,
            (true, _) | (false, 0) => Self::Nothing,
            (false, millis) => Self::Carries(millis),
        }
    }
    fn millis(self) -> u64 {
        match self {
            Self::Carries(millis) => millis,
            Self::Nothing | Self::Unknown => 0,
        }
    }
}

fn floor_millis(rps: f64) -> u64 {
    (rps * 1_000.0).floor() as u64
}

/// Rounded up; what is not a number of requests is more than anyone can carry.
fn ceil_millis(rps: f64) -> u64 {
    if rps >= 0.0 {
        (rps * 1_000.0).ceil() as u64
    } else {
        u64::MAX
    }
}

/// Every number behind a capacity decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Arithmetic {
    /// Instances asked for.
    pub requested: usize,
    /// The largest number of them, in the order given, that may be out at once.
    pub safe: usize,
    /// Instances that would still carry load if all requested were out.
    pub remaining_instances: usize,
    /// What all instances carry now, in requests per second.
    pub before_rps: f64,
    /// What would remain if all requested were out.
    pub remaining_rps: f64,
    /// What other changes hold.
    pub leased_rps: f64,
    /// Upper bound of demand.
    pub demand_upper_rps: f64,
    /// The largest failure domain that would remain; 0 where the note says so.
    pub margin_rps: f64,
    /// Instances whose numbers are unusable, which count zero.
    pub unmeasured: usize,
    /// What makes this case unlike the rule.
    pub note: Option<String>,
}

impl Arithmetic {
    /// Whether all that were asked for may be out at once.
    pub fn allowed(&self) -> bool {
        self.safe >= self.requested
    }
    /// As a reason within a verdict.
    pub fn finding(&self) -> Finding {
        let known = self.demand_upper_rps >= 0.0 && self.leased_rps >= 0.0;
        let outcome = match (self.allowed(), known) {
            (true, _) => Outcome::Pass,
            (false, true) => Outcome::Fail,
            (false, false) => Outcome::InsufficientEvidence,
        };
        let remedy = match (self.allowed(), self.safe) {
            (true, _) => String::new(),
            (false, 0) => "add an instance, verify that it serves, then take one out".to_owned(),
            (false, safe) => format!("take at most {safe} at once, or add capacity"),
        };
        Finding {
            signal: CAPACITY.to_owned(),
            outcome,
            value: self.to_string(),
            limit: format!(
                "{} rps demand + {} rps margin + {} rps leased",
                grouped(self.demand_upper_rps),
                grouped(self.margin_rps),
                grouped(self.leased_rps)
            ),
            remedy,
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} instances carry {} rps, demand {} rps",
            self.remaining_instances,
            grouped(self.remaining_rps),
            grouped(self.demand_upper_rps)
        )?;
        for (what, rps) in [("margin", self.margin_rps), ("leased", self.leased_rps)] {
            if rps != 0.0 {
                write!(f, ", {what} {} rps", grouped(rps))?;
            }
        }
        if self.allowed() {
            write!(f, ": allowed")?;
        } else {
            write!(f, ": refused; largest safe batch is {}", self.safe)?;
        }
        if self.unmeasured > 0 {
            write!(f, "; {} without usable measurements", self.unmeasured)?;
        }
        self.note.iter().try_for_each(|note| write!(f, " ({note})"))
    }
}

/// Thousands separated by commas, rounded to whole requests; `unknown` for what is no number.
fn grouped(rps: f64) -> String {
    if !rps.is_finite() || rps < 0.0 {
        return "unknown".to_owned();
    }
    let digits = format!("{rps:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The instances still in, while candidates are taken out one by one.
struct Fleet<'a> {
    worth: BTreeMap<&'a InstanceName, (&'a Name, Worth)>,
    domains: BTreeMap<&'a Name, u64>,
    total: u64,
    carrying: usize,
}

impl<'a> Fleet<'a> {
    fn of(serving: &'a [Serving]) -> Self {
        let mut fleet = Self {
            worth: BTreeMap::new(),
            domains: BTreeMap::new(),
            total: 0,
            carrying: 0,
        };
        for one in serving {
            let worth = Worth::of(one);
            if fleet
                .worth
                .insert(&one.instance, (&one.domain, worth))
                .is_some()
            {
                // Listed twice: which row is right is not known, so neither counts.
                fleet
                    .worth
                    .insert(&one.instance, (&one.domain, Worth::Unknown));
            }
        }
        for (domain, worth) in fleet.worth.values() {
            *fleet.domains.entry(domain).or_default() += worth.millis();
            fleet.total += worth.millis();
            fleet.carrying += usize::from(worth.millis() > 0);
        }
        fleet
    }
    /// Takes one out; says what it was worth. Somebody nobody measured is not free either.
    fn take(&mut self, instance: &InstanceName) -> Worth {
        let Some((domain, worth)) = self.worth.remove(instance) else {
            return Worth::Unknown;
        };
        let millis = worth.millis();
        if let Some(sum) = self.domains.get_mut(domain) {
            *sum -= millis;
        }
        self.total -= millis;
        self.carrying -= usize::from(millis > 0);
        worth
    }
    fn largest_domain(&self) -> u64 {
        self.domains.values().copied().max().unwrap_or(0)
    }
    /// Why no failure domain can be held back, if so.
    fn thin(&self) -> Option<&'static str> {
        if self.domains.len() <= 1 {
            return Some("one failure domain: no margin, one instance at a time");
        }
        self.domains
            .values()
            .any(|sum| *sum == 0)
            .then_some("a failure domain is missing already: no margin, one instance at a time")
    }
}

/// How many of `candidates`, in order, may be out of service at once.
///
/// Linear in instances, times failure domains for the margin.
pub fn safe_batch(budget: &Budget, candidates: &[InstanceName]) -> Arithmetic {
    let mut fleet = Fleet::of(&budget.serving);
    let before = fleet.total;
    let thin = fleet.thin();
    let unmeasured = fleet
        .worth
        .values()
        .filter(|(_, worth)| *worth == Worth::Unknown)
        .count();
    let needed =
        ceil_millis(budget.demand_upper_rps).saturating_add(ceil_millis(budget.leased_rps));
    let mut seen = BTreeSet::new();
    let (mut safe, mut costly, mut open) = (0, 0, true);
    let mut margin = 0;
    for candidate in candidates {
        if seen.insert(candidate) && fleet.take(candidate) != Worth::Nothing {
            costly += 1;
        }
        margin = if thin.is_some() || planted::is(Bug::MarginForgotten) {
            0
        } else {
            fleet.largest_domain()
        };
        let keeps = fleet.total >= needed.saturating_add(margin) && (thin.is_none() || costly <= 1);
        open &= costly == 0 || keeps;
        safe += usize::from(open);
    }
    let rps = |millis: u64| millis as f64 / 1_000.0;
    Arithmetic {
        requested: candidates.len(),
        safe,
        remaining_instances: fleet.carrying,
        before_rps: rps(before),
        remaining_rps: rps(fleet.total),
        leased_rps: budget.leased_rps,
        demand_upper_rps: budget.demand_upper_rps,
        margin_rps: rps(margin),
        unmeasured,
        note: thin.map(str::to_owned),
    }
}

/// How to replace instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many at once, in place.
    Take(usize),
    /// Add one, verify that it serves, take one out.
    Surge,
}

/// The batch for `n` instances under `policy` when `safe` of them may be out at once.
pub fn batch(policy: Percent, n: usize, safe: usize) -> Batch {
    if safe == 0 || n < BATCH_INSTANCES_MIN {
        return Batch::Surge;
    }
    let wanted = (policy.fraction() * n as f64).floor() as usize;
    Batch::Take(safe.min(wanted.max(1)))
}

#[cfg(test)]
mod tests;
