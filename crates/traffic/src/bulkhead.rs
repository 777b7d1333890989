//! What one service may hold of the router.
//!
//! **Guarantees.** At most the limit of permits is out at any moment; one over the limit is refused
//! at once, never queued, so a service that hangs exhausts its own share and nobody else's.
//! **Never** blocks.
//!
//! ```
//! use mainstay_traffic::Compartment;
//! let compartment = Compartment::default();
//! let held = compartment.enter(1).unwrap();
//! assert!(compartment.enter(1).is_none());
//! drop(held);
//! assert!(compartment.enter(1).is_some());
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A counter of what is out; the limit comes with each entry, since a table may change it.
#[derive(Debug, Clone, Default)]
pub struct Compartment(Arc<AtomicU32>);

/// One place in a [`Compartment`], given back on drop.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU32>);

impl Compartment {
    /// A permit, unless `limit` or more are out.
    pub fn enter(&self, limit: u32) -> Option<Permit> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                (held < limit).then_some(held + 1)
            })
            .ok()
            .map(|_| Permit(Arc::clone(&self.0)))
    }

    /// Permits that are out.
    pub fn held(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_ever_out_under_contention() {
        let compartment = Compartment::default();
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(_permit) = compartment.enter(3) {
                            most.fetch_max(compartment.held(), Ordering::AcqRel);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(compartment.held(), 0);
    }

    #[test]
    fn a_lowered_limit_holds_for_the_next_entry() {
        let compartment = Compartment::default();
        let _two = [compartment.enter(2).unwrap(), compartment.enter(2).unwrap()];
        assert!(compartment.enter(1).is_none());
    }
}
