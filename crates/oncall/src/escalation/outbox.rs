//! What one process has under way: pages on their way to channels.
//!
//! Guarantees: a page that is asked for again while it is under way is not sent again, and one whose end is known is
//! answered without sending; so within one process a page's try goes out once, however often it is asked for. What is
//! too much for one person and channel waits, and is told with all that waits in one message; P0 never waits.
//! **Never** forgets a page that it was asked for: it answers, or the page is asked for again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_change::planted::{self, Bug};
use mainstay_core::{ChangeId, Name, Time, escalation::Severity};

use super::{Throttle, Verdict};
use crate::incident::{Ask, Input};

/// Ends that are remembered, for pages that are asked for again because an answer was lost.
const ENDS_MAX: usize = 65_536;

/// A page of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of which.
    pub incident: ChangeId,
    /// The page.
    pub ask: Ask,
}

/// A try of a page.
type Try = (String, u32);

/// What to do with a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// Send it by itself, then say how it ended.
    Send,
    /// Its end is known.
    Answer(Input),
    /// It is told with others; who is first gathers, then takes what was [`gathered`](Outbox::gathered).
    Gather {
        /// Whether nobody gathers yet for this person and channel.
        is_first: bool,
    },
    /// It is under way.
    Nothing,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The channel took it.
    Taken,
    /// It did not.
    Refused {
        /// Why.
        why: String,
        /// Whether another try may go better.
        again: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    throttle: Throttle,
    underway: BTreeSet<Try>,
    ends: BTreeMap<Try, (End, u32)>,
    order: VecDeque<Try>,
    gathering: BTreeMap<(Name, Name), Vec<Due>>,
}

impl Outbox {
    /// An empty one.
    pub fn new(throttle: Throttle) -> Self {
        Self {
            throttle,
            underway: BTreeSet::new(),
            ends: BTreeMap::new(),
            order: VecDeque::new(),
            gathering: BTreeMap::new(),
        }
    }

    /// Pages under way, those that are gathered among them.
    pub fn underway(&self) -> usize {
        self.underway.len()
    }

    /// A page is asked for.
    pub fn offer(&mut self, due: &Due, now: Time) -> Offered {
        let ask = &due.ask;
        let this: Try = (ask.key.clone(), ask.attempt);
        if self.underway.contains(&this) && !planted::is(Bug::UnderwayForgotten) {
            return Offered::Nothing;
        }
        if let Some((end, told)) = self.ends.get(&this) {
            return Offered::Answer(answer(ask, end, *told));
        }
        if planted::is(Bug::AcceptedUnsent) {
            let (end, told) = (End::Taken, 1);
            self.ended(std::slice::from_ref(due), &end);
            self.underway.insert(this);
            return Offered::Answer(answer(ask, &end, told));
        }
        if ask.severity == Severity::P0 {
            self.underway.insert(this);
            return Offered::Send;
        }
        if ask.held {
            self.underway.insert(this);
            let key = (ask.person.clone(), ask.channel.clone());
            let gathering = self.gathering.entry(key).or_default();
            gathering.push(due.clone());
            let is_first = gathering.len() == 1;
            return Offered::Gather { is_first };
        }
        match self.throttle.ask(&ask.person, &ask.channel, now) {
            Verdict::Now => {
                self.underway.insert(this);
                Offered::Send
            }
            Verdict::Hold(_) if planted::is(Bug::OverLimitDropped) => {
                Offered::Answer(answer(ask, &End::Taken, 1))
            }
            Verdict::Hold(until) => Offered::Answer(Input::Held {
                key: ask.key.clone(),
                attempt: ask.attempt,
                until,
            }),
        }
    }

    /// Everything that waits to be told to a person by a channel, for one message.
    pub fn gathered(&mut self, person: &Name, channel: &Name, now: Time) -> Vec<Due> {
        self.throttle.take(person, channel, now);
        let key = (person.clone(), channel.clone());
        self.gathering.remove(&key).unwrap_or_default()
    }

    /// A message that told these pages came to an end: what each incident is told of it.
    pub fn ended(&mut self, told: &[Due], end: &End) -> Vec<(ChangeId, Input)> {
        let count = u32::try_from(told.len()).unwrap_or(u32::MAX);
        let mut answers = Vec::with_capacity(told.len());
        for due in told {
            let this: Try = (due.ask.key.clone(), due.ask.attempt);
            self.underway.remove(&this);
            if self
                .ends
                .insert(this.clone(), (end.clone(), count))
                .is_none()
            {
                self.order.push_back(this);
            }
            answers.push((due.incident.clone(), answer(&due.ask, end, count)));
        }
        while self.order.len() > ENDS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.ends.remove(&oldest);
            }
        }
        answers
    }
}

impl Outbox {
    /// Pages that will not be sent from here: as if nobody had asked.
    pub fn forget(&mut self, all: &[Due]) {
        for due in all {
            self.underway
                .remove(&(due.ask.key.clone(), due.ask.attempt));
        }
    }
}

fn answer(ask: &Ask, end: &End, told: u32) -> Input {
    match end {
        End::Taken => Input::Accepted {
            key: ask.key.clone(),
            told,
        },
        End::Refused { why, again } => Input::Failed {
            key: ask.key.clone(),
            attempt: ask.attempt,
            why: why.clone(),
            again: *again,
        },
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Span;

    use super::*;

    fn due(incident: &str, severity: Severity, held: bool) -> Due {
        Due {
            incident: incident.parse().unwrap(),
            ask: Ask {
                key: format!("key of {incident}"),
                attempt: 1,
                demand: 0,
                cycle: 0,
                step: 0,
                person: Name::new("alice").unwrap(),
                channel: Name::new("sms").unwrap(),
                severity,
                title: "slow".to_owned(),
                held,
            },
        }
    }

    fn outbox(room: usize) -> Outbox {
        Outbox::new(Throttle::new(room, Span::from_secs(60)))
    }

    fn at(secs: i64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    #[test]
    fn a_page_that_is_asked_for_again_goes_out_once_and_its_end_is_told_again() {
        let mut outbox = outbox(10);
        let one = due("inc-1", Severity::P1, false);
        assert_eq!(outbox.offer(&one, at(0)), Offered::Send);
        assert_eq!(outbox.offer(&one, at(5)), Offered::Nothing);
        let told = outbox.ended(std::slice::from_ref(&one), &End::Taken);
        assert_eq!(told.len(), 1);
        let again = outbox.offer(&one, at(10));
        assert!(
            matches!(again, Offered::Answer(Input::Accepted { told: 1, .. })),
            "{again:?}"
        );
        let mut next = one.clone();
        next.ask.attempt = 2;
        assert_eq!(outbox.offer(&next, at(11)), Offered::Send);
    }

    #[test]
    fn what_is_too_much_waits_and_is_told_in_one_message_and_p0_does_not_wait() {
        let mut outbox = outbox(1);
        let p1 = |incident, held| due(incident, Severity::P1, held);
        assert_eq!(outbox.offer(&p1("inc-1", false), at(0)), Offered::Send);
        for incident in ["inc-2", "inc-3"] {
            let held = outbox.offer(&p1(incident, false), at(1));
            let Offered::Answer(Input::Held { until, .. }) = held else {
                panic!("{held:?}");
            };
            assert_eq!(until, at(60));
        }
        assert_eq!(
            outbox.offer(&due("inc-9", Severity::P0, false), at(2)),
            Offered::Send
        );
        assert_eq!(
            outbox.offer(&p1("inc-2", true), at(60)),
            Offered::Gather { is_first: true }
        );
        assert_eq!(
            outbox.offer(&p1("inc-3", true), at(60)),
            Offered::Gather { is_first: false }
        );
        assert_eq!(outbox.offer(&p1("inc-3", true), at(60)), Offered::Nothing);
        let ask = p1("inc-2", true).ask;
        let all = outbox.gathered(&ask.person, &ask.channel, at(60));
        let told = outbox.ended(&all, &End::Taken);
        let counts: Vec<u32> = told
            .iter()
            .filter_map(|(_, input)| match input {
                Input::Accepted { told, .. } => Some(*told),
                _ => None,
            })
            .collect();
        assert_eq!(counts, [2, 2]);
        assert_eq!(outbox.underway(), 2, "inc-1 and inc-9 have not ended");
    }
}
