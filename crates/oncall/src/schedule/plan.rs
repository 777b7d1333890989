//! A schedule as it was declared, with who stands in.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mainstay_core::{
    Name,
    flaw::SpecFlaw,
    oncall::{Hours, Role, ScheduleSpec},
};

use super::{
    StandIn, What,
    civil::Zone,
    flaws::{of_schedule, zone_of},
    ical::Calendar,
    layer::Layer,
    shift::{Shift, Source, over},
};

/// Most days that may be asked for at once: two years and a day of each.
pub const EXPAND_DAYS_MAX: i64 = 2 * 366;
/// The longest turn, and a day for what zones do to it.
const TURN_MAX: SignedDuration = SignedDuration::from_hours(367 * 24);

/// Who is on call when.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: Name,
    zone: Zone,
    layers: Vec<Layer>,
    stand_ins: Vec<StandIn>,
    covers: Vec<Hours>,
}

impl Schedule {
    /// The schedule that `spec` declares; each flaw with its field below `spec`.
    pub fn build(name: Name, spec: &ScheduleSpec) -> Result<Self, Vec<SpecFlaw>> {
        let mut flaws = of_schedule(spec);
        let zone = zone_of(&mut flaws, "zone", &spec.zone);
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (at, layer) in spec.layers.iter().enumerate() {
            let own = layer.zone.as_ref();
            let own = own.map(|name| zone_of(&mut flaws, &format!("layers[{at}].zone"), name));
            let zone = own.unwrap_or_else(|| zone.clone());
            let Some(zone) = zone else { continue };
            let calendar = layer
                .calendar
                .as_ref()
                .map(|text| Calendar::read(text, &zone));
            let calendar = match calendar.transpose() {
                Ok(calendar) => calendar,
                Err(wrong) => {
                    flaws.push(SpecFlaw {
                        field: format!("layers[{at}].calendar"),
                        what: wrong.to_string(),
                        remedy: wrong.remedy.to_owned(),
                    });
                    continue;
                }
            };
            layers.push(Layer::new(layer, zone, calendar));
        }
        let Some(zone) = zone.filter(|_| flaws.is_empty()) else {
            return Err(flaws);
        };
        let declared = spec.overrides.iter().enumerate().map(|(at, it)| StandIn {
            by: Source::Override(at),
            from: stamp(it.from),
            until: stamp(it.until),
            what: What::Holds {
                role: it.role,
                person: it.person.clone(),
            },
        });
        Ok(Self {
            name,
            zone,
            layers,
            stand_ins: declared.collect(),
            covers: spec.covers.clone(),
        })
    }

    /// The same with who was entered as standing in, in the order in which they were.
    #[must_use]
    pub fn with(mut self, entered: impl IntoIterator<Item = StandIn>) -> Self {
        self.stand_ins.extend(entered);
        self
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The zone of its clock.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    pub(crate) fn covers(&self) -> &[Hours] {
        &self.covers
    }

    /// The roles that it fills, in the order in which they are told.
    pub fn roles(&self) -> Vec<Role> {
        let held = self.stand_ins.iter().filter_map(|it| match &it.what {
            What::Holds { role, .. } => Some(*role),
            What::Swap { .. } => None,
        });
        let all: BTreeSet<Role> = self.layers.iter().map(|it| it.role).chain(held).collect();
        all.into_iter().collect()
    }

    /// Every shift that touches `from..until`, whole, by role and time.
    pub fn shifts(&self, from: Timestamp, until: Timestamp) -> Vec<Shift> {
        let roles = self.roles().into_iter();
        roles
            .flat_map(|role| self.shifts_of(role, from, until))
            .collect()
    }

    /// Those of one role.
    pub fn shifts_of(&self, role: Role, from: Timestamp, until: Timestamp) -> Vec<Shift> {
        let layers = || self.layers.iter().filter(|it| it.role == role);
        // What lies below may have been cut before `from` already: whoever begins first says how far to look.
        let (mut begin, mut end) = (from, until);
        for shift in layers().flat_map(|it| it.shifts((from, until))) {
            (begin, end) = (begin.min(shift.from), end.max(shift.until));
        }
        let mut shifts = Vec::new();
        for layer in layers() {
            shifts = over(&shifts, &layer.shifts((begin, end)));
        }
        let entered = self.stand_ins.iter();
        for stand_in in entered.filter(|it| it.from < end && it.until > begin) {
            shifts = stand_in.applied(role, shifts);
        }
        shifts.retain(|it| it.from < until && it.until > from);
        shifts
    }

    /// Who is on call at `at`; nobody is a gap.
    pub fn on_call(&self, role: Role, at: Timestamp) -> Option<Shift> {
        let after = at
            .saturating_add(SignedDuration::from_nanos(1))
            .unwrap_or(at);
        let shifts = self.shifts_of(role, at, after);
        shifts.into_iter().find(|it| it.holds(at))
    }

    /// How long before an instant those who stood in still matter to the shifts of that instant.
    pub fn looks_back_to(at: Timestamp) -> Timestamp {
        at.saturating_sub(TURN_MAX).unwrap_or(Timestamp::MIN)
    }
}

/// Whom the calendars of a schedule name, and nobody declared; each with its field below `spec`.
pub(crate) fn strangers(spec: &ScheduleSpec, is_known: impl Fn(&Name) -> bool) -> Vec<SpecFlaw> {
    let calendars = spec.layers.iter().enumerate();
    let calendars = calendars.filter_map(|(at, layer)| {
        let zone = Zone::named(layer.zone.as_ref().unwrap_or(&spec.zone)).ok()?;
        Some((at, Calendar::read(layer.calendar.as_ref()?, &zone).ok()?))
    });
    let unknown = calendars.flat_map(|(at, calendar)| {
        let people: BTreeSet<Name> = calendar.people().cloned().collect();
        let unknown = people.into_iter().filter(|person| !is_known(person));
        let unknown: Vec<SpecFlaw> = unknown
            .map(|person| SpecFlaw {
                field: format!("layers[{at}].calendar"),
                what: format!("there is no responder `{person}`"),
                remedy: format!("apply responder `{person}` too, or correct the calendar"),
            })
            .collect();
        unknown
    });
    unknown.collect()
}

/// The instant that the rest of the house writes in milliseconds.
pub(crate) fn stamp(at: mainstay_core::Time) -> Timestamp {
    let beyond = if at.millis() < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_millisecond(at.millis()).unwrap_or(beyond)
}
