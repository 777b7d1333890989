//! How many bad backends a service can do without.
//!
//! **Guarantees.** Ejections never leave less known capacity than is demanded, nor, where capacity is
//! unknown, fewer than half of the backends. When more than 30 % turn bad within ten seconds the cause
//! is not in the backends: none is ejected and load is shed instead. **Never** ejects a healthy one.
//!
//! ```
//! use mainstay_traffic::{EjectionInput, plan_ejections};
//! let backend = |turned_bad_ms| EjectionInput { turned_bad_ms, out: false, capacity_rps: None };
//! let fleet = [backend(Some(900)), backend(None), backend(None), backend(None)];
//! let plan = plan_ejections(&fleet, 10.0, 1_000, false);
//! assert_eq!((plan.eject, plan.mass), (vec![0], false));
//! ```

/// Share of a service's backends that may turn bad within [`MASS_WINDOW_MS`] before the cause is
/// taken to be elsewhere, in per cent.
const MASS_PERCENT: usize = 30;
const MASS_WINDOW_MS: u64 = 10_000;
/// The most that is shed by the router's own decision, in hundredths of a per cent.
const SHED_MAX: usize = 5_000;

/// One backend of a service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EjectionInput {
    /// When it turned bad; `None` while it is not.
    pub turned_bad_ms: Option<u64>,
    /// Whether it is out of rotation already, or draining.
    pub out: bool,
    /// Requests per second it carries, where that is known.
    pub capacity_rps: Option<f64>,
}

/// What to do about a service's bad backends.
#[derive(Debug, Clone, PartialEq)]
pub struct EjectionPlan {
    /// Indices to eject now, longest bad first.
    pub eject: Vec<usize>,
    /// Bad ones kept because the service cannot do without them.
    pub kept: Vec<usize>,
    /// Whether so many turned bad at once that none is ejected.
    pub mass: bool,
    /// Load to shed instead, in hundredths of a per cent.
    pub shed: u32,
}

/// The plan at `now_ms` for a service that is asked for `demand_rps`; `in_mass` is whether the last
/// plan was a mass event, which ends only when the bad ones are 30 % or fewer.
pub fn plan_ejections(
    backends: &[EjectionInput],
    demand_rps: f64,
    now_ms: u64,
    in_mass: bool,
) -> EjectionPlan {
    let mut bad: Vec<usize> = (0..backends.len())
        .filter(|i| backends[*i].turned_bad_ms.is_some() && !backends[*i].out)
        .collect();
    bad.sort_by_key(|i| backends[*i].turned_bad_ms);
    let recent = backends
        .iter()
        .filter_map(|b| b.turned_bad_ms)
        .filter(|at| at.saturating_add(MASS_WINDOW_MS) > now_ms)
        .count();
    // One bad backend alone is never a mass event, however small the service.
    let many = |n: usize| n > 1 && n * 100 > backends.len() * MASS_PERCENT;
    if !bad.is_empty() && (many(recent) || (in_mass && many(bad.len()))) {
        let shed = (bad.len() * 10_000 / backends.len()).min(SHED_MAX) as u32;
        return EjectionPlan {
            eject: Vec::new(),
            kept: bad,
            mass: true,
            shed,
        };
    }
    let mut out: Vec<bool> = backends.iter().map(|b| b.out).collect();
    let mut plan = EjectionPlan {
        eject: Vec::new(),
        kept: Vec::new(),
        mass: false,
        shed: 0,
    };
    for index in bad {
        out[index] = true;
        if enough(backends, &out, demand_rps) {
            plan.eject.push(index);
        } else {
            out[index] = false;
            plan.kept.push(index);
        }
    }
    plan
}

/// Whether the backends that are not out suffice.
fn enough(backends: &[EjectionInput], out: &[bool], demand_rps: f64) -> bool {
    let staying = || backends.iter().zip(out).filter(|(_, out)| !**out);
    if staying().next().is_none() {
        return false;
    }
    if backends.iter().all(|b| b.capacity_rps.is_some()) {
        staying().filter_map(|(b, _)| b.capacity_rps).sum::<f64>() >= demand_rps
    } else {
        staying().count() * 2 >= backends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backend() -> impl Strategy<Value = EjectionInput> {
        (
            proptest::option::of(0_u64..60_000),
            proptest::bool::weighted(0.2),
            proptest::option::weighted(0.8, 0.0..100.0_f64),
        )
            .prop_map(|(turned_bad_ms, out, capacity_rps)| EjectionInput {
                turned_bad_ms,
                out,
                capacity_rps,
            })
    }

    proptest! {
        #[test]
        fn what_stays_always_suffices_and_no_healthy_one_goes(
            fleet in proptest::collection::vec(backend(), 0..12), demand in 0.0..500.0_f64, mass: bool,
        ) {
            let plan = plan_ejections(&fleet, demand, 60_000, mass);
            let mut out: Vec<bool> = fleet.iter().map(|b| b.out).collect();
            for index in &plan.eject {
                prop_assert!(fleet[*index].turned_bad_ms.is_some());
                out[*index] = true;
            }
            if !plan.eject.is_empty() {
                prop_assert!(enough(&fleet, &out, demand));
                prop_assert!(!plan.mass);
            }
            prop_assert!(plan.shed <= 5_000);
        }
    }

    fn fleet(n: usize, bad: usize, at: u64, capacity: Option<f64>) -> Vec<EjectionInput> {
        (0..n)
            .map(|i| EjectionInput {
                turned_bad_ms: (i < bad).then_some(at),
                out: false,
                capacity_rps: capacity,
            })
            .collect()
    }

    #[test]
    fn half_of_a_service_turning_bad_at_once_ejects_none_and_sheds() {
        let plan = plan_ejections(&fleet(4, 2, 1_000, None), 1.0, 2_000, false);
        assert_eq!((plan.eject.len(), plan.mass, plan.shed), (0, true, 5_000));
    }

    #[test]
    fn a_mass_event_lasts_until_few_are_bad() {
        let late = fleet(10, 4, 1_000, None);
        assert!(plan_ejections(&late, 1.0, 60_000, true).mass);
        assert!(!plan_ejections(&fleet(10, 3, 1_000, None), 1.0, 60_000, true).mass);
    }

    #[test]
    fn known_capacity_bounds_ejection_at_the_demand() {
        let plan = plan_ejections(&fleet(4, 4, 0, Some(10.0)), 25.0, 60_000, false);
        assert_eq!((plan.eject.len(), plan.kept.len()), (1, 3));
    }

    #[test]
    fn the_only_backend_is_never_ejected() {
        assert_eq!(
            plan_ejections(&fleet(1, 1, 0, None), 1.0, 60_000, false).kept,
            vec![0]
        );
    }
}
