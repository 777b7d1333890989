//! The clock of those who append, as far as it is believed: samples end by age, and a clock that jumps must not end
//! them all.
//!
//! Guarantees: what is believed follows the clock, also back; a step ahead of more than [`JUMP_MS`] at once is not
//! believed until the clock was set right, or the process is started anew. Then nothing is lost but room: what
//! would be dropped for its age stays so much longer.

/// Far more than passes between two samples of a server that runs: its own are there every few seconds.
const JUMP_MS: i64 = 24 * 60 * 60 * 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    believed_ms: Option<i64>,
    /// How far it is ahead of what is believed.
    ahead_ms: i64,
}

impl Clock {
    /// What is believed of a clock that says `now_ms`.
    pub(crate) fn believed(&mut self, now_ms: i64) -> i64 {
        let before_ms = self.believed_ms.unwrap_or(now_ms);
        if now_ms.saturating_sub(before_ms) <= JUMP_MS {
            self.ahead_ms = 0;
        } else if now_ms.saturating_sub(self.ahead_ms) > before_ms.saturating_add(JUMP_MS) {
            self.ahead_ms = now_ms.saturating_sub(before_ms);
            let hours = self.ahead_ms / 3_600_000;
            tracing::error!(
                hours,
                "the clock went ahead at once: no sample is dropped for its age until it was; set the clock right, or \
                 restart if it is"
            );
        }
        let believed_ms = now_ms.saturating_sub(self.ahead_ms);
        self.believed_ms = Some(believed_ms);
        believed_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_jump_ahead_is_not_believed_and_one_back_is() {
        let mut clock = Clock::default();
        assert_eq!(clock.believed(1_000), 1_000);
        assert_eq!(clock.believed(HOUR_MS), HOUR_MS);
        let year = 365 * 24 * HOUR_MS;
        assert_eq!(clock.believed(year), HOUR_MS);
        assert_eq!(clock.believed(year + 5), HOUR_MS + 5);
        assert_eq!(clock.believed(2 * HOUR_MS), 2 * HOUR_MS, "it was set right");
        assert_eq!(clock.believed(HOUR_MS), HOUR_MS);
    }
}
