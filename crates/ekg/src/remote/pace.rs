//! What an answer means, and when to send again.
//!
//! Guarantees: only an answer of 4xx other than 429 gives samples up. Waits double from the shortest to the longest,
//! and are no shorter than what the receiver asks for, up to [`ASKED_MAX`].

use std::time::Duration;

/// The longest wait that a receiver can ask for.
pub(crate) const ASKED_MAX: Duration = Duration::from_mins(5);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken.
    Sent,
    /// Never to be taken.
    GivenUp,
    /// This protocol is not spoken there.
    NotSpoken,
    /// To be sent again, after this at least.
    Again(Duration),
}

/// What an answer's status, with what `Retry-After` says in seconds, means.
pub(crate) fn verdict(status: u16, retry_after_secs: Option<u64>) -> Verdict {
    let asked = Duration::from_secs(retry_after_secs.unwrap_or(0)).min(ASKED_MAX);
    match status {
        200..=299 => Verdict::Sent,
        415 => Verdict::NotSpoken,
        429 => Verdict::Again(asked),
        400..=499 => Verdict::GivenUp,
        // Redirects too: a receiver that moved is a matter of the configuration, and no reason to lose samples.
        _ => Verdict::Again(asked),
    }
}

/// Waits between repetitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        let least = least.max(Duration::from_millis(1));
        Self {
            most: most.max(least),
            next: least,
        }
    }

    /// The next wait, and not less than `asked`.
    pub(crate) fn wait(&mut self, asked: Duration) -> Duration {
        let wait = self.next;
        self.next = self.next.saturating_mul(2).min(self.most);
        wait.max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_good_gives_samples_up() {
        for status in [200, 204] {
            assert_eq!(verdict(status, None), Verdict::Sent);
        }
        for status in [400, 401, 404, 413, 422] {
            assert_eq!(verdict(status, Some(1)), Verdict::GivenUp);
        }
        for status in [100, 302, 429, 500, 503, 599] {
            let asked = Duration::from_secs(7);
            assert_eq!(verdict(status, Some(7)), Verdict::Again(asked), "{status}");
        }
        assert_eq!(verdict(429, Some(u64::MAX)), Verdict::Again(ASKED_MAX));
        assert_eq!(verdict(415, None), Verdict::NotSpoken);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_no_shorter_than_what_is_asked() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(30), ms(100));
        let waits: Vec<Duration> = (0..4).map(|_| backoff.wait(Duration::ZERO)).collect();
        assert_eq!(waits, [ms(30), ms(60), ms(100), ms(100)]);
        assert_eq!(backoff.wait(ms(700)), ms(700));
        assert_eq!(backoff.wait(ms(1)), ms(100));
    }
}
