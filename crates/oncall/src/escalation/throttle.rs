//! How many pages one person gets by one channel in a while.
//!
//! Guarantees: in any window no more pass than there is room for; what does not is told when there will be room, and
//! is never refused. Keeps no more than the room for each person and channel.

use std::collections::{BTreeMap, VecDeque};

use mainstay_core::{Name, Span, Time};

/// Persons and channels remembered; those that were quiet for a window are forgotten first.
const KNOWN_MAX: usize = 4_096;

/// Whether a page goes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Now,
    /// It waits for this moment, with whatever else waits for it.
    Hold(Time),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Throttle {
    room: usize,
    window: Span,
    sent: BTreeMap<(Name, Name), VecDeque<Time>>,
}

impl Throttle {
    /// Room for so many in a window; at least one.
    pub fn new(room: usize, window: Span) -> Self {
        Self {
            room: room.max(1),
            window,
            sent: BTreeMap::new(),
        }
    }

    /// Whether there is room, which is taken then.
    pub fn ask(&mut self, person: &Name, channel: &Name, now: Time) -> Verdict {
        let (window, room) = (self.window, self.room);
        if self.sent.len() >= KNOWN_MAX {
            self.sent
                .retain(|_, times| times.back().is_some_and(|at| is_within(*at, window, now)));
        }
        let times = self.of(person, channel, now);
        match times.front() {
            Some(oldest) if times.len() >= room => Verdict::Hold(*oldest + window),
            _ => {
                self.take(person, channel, now);
                Verdict::Now
            }
        }
    }

    /// Takes room whether there is some or not: for what was told to wait, and for what may not.
    pub fn take(&mut self, person: &Name, channel: &Name, now: Time) {
        let room = self.room;
        let key = (person.clone(), channel.clone());
        let times = self.sent.entry(key).or_default();
        times.push_back(now);
        while times.len() > room {
            times.pop_front();
        }
    }

    fn of(&mut self, person: &Name, channel: &Name, now: Time) -> &VecDeque<Time> {
        let window = self.window;
        let key = (person.clone(), channel.clone());
        let times = self.sent.entry(key).or_default();
        times.retain(|at| is_within(*at, window, now));
        times
    }
}

/// A clock that stepped back puts nobody off for longer than a window.
fn is_within(at: Time, window: Span, now: Time) -> bool {
    now.since(at) < window && at.since(now) < window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn what_has_no_room_waits_until_the_oldest_is_a_window_old() {
        let mut throttle = Throttle::new(2, Span::from_secs(60));
        let at = |secs: i64| Time::from_millis(secs * 1_000);
        let mut ask = |channel: &str, secs| throttle.ask(&name("alice"), &name(channel), at(secs));
        assert_eq!(ask("sms", 100), Verdict::Now);
        assert_eq!(ask("sms", 110), Verdict::Now);
        assert_eq!(ask("sms", 120), Verdict::Hold(at(160)));
        assert_eq!(ask("mail", 120), Verdict::Now, "another channel");
        assert_eq!(ask("sms", 160), Verdict::Now);
        assert_eq!(ask("sms", 161), Verdict::Hold(at(170)));
    }

    #[test]
    fn a_clock_that_steps_back_puts_nobody_off_for_longer_than_a_window() {
        let mut throttle = Throttle::new(1, Span::from_secs(60));
        let at = |secs: i64| Time::from_millis(secs * 1_000);
        assert_eq!(
            throttle.ask(&name("bob"), &name("sms"), at(9_000)),
            Verdict::Now
        );
        assert_eq!(
            throttle.ask(&name("bob"), &name("sms"), at(100)),
            Verdict::Now
        );
    }
}
