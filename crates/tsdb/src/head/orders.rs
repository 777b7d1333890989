//! Orders pass through the head, which ends its generation where they are about what came in just now.

use super::Head;
use crate::{
    Order, OrderError, Outcome,
    order::{Obeyed, Ordered},
};

impl Head {
    /// Has an order carried out, on what was appended until now; `tell` hears of it later.
    pub fn order(&mut self, mut order: Order, now_ms: i64, tell: Obeyed) {
        let mut refused = 0;
        if let Order::Backfill(batch) = &mut order {
            batch.retain(|one| {
                let holds = self.check_labels(one.labels.key()).is_ok();
                refused += if holds { 0 } else { one.samples.len() as u64 };
                holds
            });
        }
        let tell: Obeyed = Box::new(move |outcome| {
            tell(outcome.map(|outcome| Outcome { refused, ..outcome }));
        });
        if self.journal.is_none() {
            tell(Err(OrderError::NoDisk));
            return;
        }
        // An order that waits for a disk keeps who gave it waiting: whoever asks is better told what to repair.
        if let Err(why) = self.ready() {
            tell(Err(OrderError::Disk(why.0)));
            return;
        }
        if order.concerns_head() {
            self.cut(now_ms);
            self.began_ms = Some(now_ms);
        }
        if let Some(journal) = &self.journal {
            journal.order(Ordered {
                order,
                now_ms,
                tell,
            });
        }
    }
}
