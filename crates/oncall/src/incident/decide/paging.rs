//! Pages: begun, taken, not taken, and followed by the next.

use mainstay_change::planted::{self, Bug};
use mainstay_core::{Name, Time};

use super::super::{
    evolve::evolve,
    message::Event,
    page::{AT_P0, ATTEMPTS_MAX, PageStatus, key, pause},
    plan::cut,
    state::{Reach, State},
};
use super::REASON_MAX;
use crate::escalation::Recipient;

/// People of one step.
const PEOPLE_MAX: usize = 64;
/// People in one entry.
const PEOPLE_AT_ONCE: usize = 12;
/// Channels of one person that are tried.
const CHANNELS_MAX: usize = 6;

/// Whether this try of a page is under way.
pub(super) fn is_being_sent(state: &State, key: &str, attempt: u32) -> bool {
    let page = state.pages.get(key);
    page.is_some_and(|it| it.status == PageStatus::Sending && it.attempt == attempt)
}

/// Until when a person has to answer one channel before the next is tried.
pub(super) fn answer_due(state: &State, reach: &Reach) -> Option<Time> {
    if !state.awaits(reach) || reach.tried >= reach.channels.len() {
        return None;
    }
    let page = state.pages.get(&reach.key)?;
    match page.status {
        PageStatus::Accepted | PageStatus::Delivered => {
            Some(page.since + state.plan.policy.channel_wait)
        }
        PageStatus::Pending { .. }
        | PageStatus::Sending
        | PageStatus::Failed
        | PageStatus::Withdrawn => None,
    }
}

/// The page by the next channel of a person, if there is one.
pub(super) fn next_channel(state: &State, reach: &Reach, now: Time) -> Option<Event> {
    let channel = reach.channels.get(reach.tried)?;
    Some(first_try(state, reach, channel, now))
}

fn first_try(state: &State, reach: &Reach, channel: &Name, now: Time) -> Event {
    Event::Paging {
        at: now,
        key: key(
            &state.plan.id,
            reach.cycle,
            reach.step,
            &reach.person,
            channel,
        ),
        cycle: reach.cycle,
        step: reach.step,
        person: reach.person.clone(),
        channel: channel.clone(),
        attempt: 1,
    }
}

/// A step begins: whoever is meant is told by the first channel.
pub(super) fn found(
    state: &State,
    now: Time,
    (cycle, step): (u32, u32),
    people: Vec<Recipient>,
) -> Vec<Event> {
    let is_next = if step == AT_P0 {
        state.summons.as_ref().is_some_and(|it| it.number == cycle)
    } else {
        let next = state.escalation.as_ref();
        next.is_some_and(|it| (it.cycle, it.step) == (cycle, step))
    };
    if !is_next {
        return Vec::new();
    }
    let only = match step {
        AT_P0 => &[],
        _ => state
            .plan
            .policy
            .step(step)
            .map_or(&[] as &[Name], |it| it.channels.as_slice()),
    };
    let mut told: Vec<Recipient> = Vec::new();
    for it in people {
        let acknowledged = state.acknowledged_by.contains_key(it.person.as_str());
        let twice = told.iter().any(|known| known.person == it.person);
        let channels = channels(&it, only);
        let at_p0 = step == AT_P0;
        if (!acknowledged || at_p0) && !twice && !channels.is_empty() && told.len() < PEOPLE_MAX {
            told.push(Recipient { channels, ..it });
        }
    }
    let mut chunks = told.chunks(PEOPLE_AT_ONCE).map(<[Recipient]>::to_vec);
    let mut events = vec![Event::Began {
        at: now,
        cycle,
        step,
        people: chunks.next().unwrap_or_default(),
    }];
    events.extend(chunks.map(|people| Event::Also {
        cycle,
        step,
        people,
    }));
    let mut after = state.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let begun = after
        .reach
        .iter()
        .filter(|it| (it.cycle, it.step) == (cycle, step));
    events.extend(begun.filter_map(|it| next_channel(&after, it, now)));
    events
}

/// Those of a person's channels that a step uses, in its order; in theirs where it names none.
fn channels(it: &Recipient, only: &[Name]) -> Vec<Name> {
    let mut channels: Vec<Name> = Vec::new();
    let wanted = only.iter().filter(|name| it.channels.contains(name));
    let all: Box<dyn Iterator<Item = &Name>> = if only.is_empty() {
        Box::new(it.channels.iter())
    } else {
        Box::new(wanted)
    };
    for channel in all {
        if !channels.contains(channel) && channels.len() < CHANNELS_MAX {
            channels.push(channel.clone());
        }
    }
    // A person who has none of the step's channels is told by their own rather than not at all.
    if channels.is_empty() && !only.is_empty() {
        return self::channels(it, &[]);
    }
    channels
}

pub(super) fn accepted(state: &State, now: Time, key: String, told: u32) -> Vec<Event> {
    let is_news = state.pages.get(&key).is_some_and(|page| match page.status {
        // One that was withdrawn meanwhile had gone out already: the record says so.
        PageStatus::Pending { .. } | PageStatus::Sending | PageStatus::Withdrawn => true,
        PageStatus::Accepted | PageStatus::Delivered | PageStatus::Failed => false,
    });
    let event = Event::Accepted { at: now, key, told };
    is_news.then_some(event).into_iter().collect()
}

/// A channel did not take a page: it is tried again, or the person's next channel is, or the next step begins.
pub(super) fn failed(
    state: &State,
    now: Time,
    (key, attempt): (String, u32),
    (why, again): (&str, bool),
) -> Vec<Event> {
    if !is_being_sent(state, &key, attempt) {
        return Vec::new();
    }
    let why = cut(why, REASON_MAX);
    if again && attempt < ATTEMPTS_MAX {
        return vec![Event::Retrying {
            at: now,
            key,
            why,
            until: now + pause(attempt),
        }];
    }
    let event = Event::Failed {
        at: now,
        key: key.clone(),
        why,
    };
    let mut after = state.clone();
    evolve(&mut after, &event);
    let mut events = vec![event];
    if planted::is(Bug::NextChannelForgotten) {
        return events;
    }
    let Some(reach) = after.reach.iter().find(|it| it.key == key).cloned() else {
        return events;
    };
    if reach.step != AT_P0 && !after.awaits(&reach) {
        return events;
    }
    match next_channel(&after, &reach, now) {
        Some(next) => events.push(next),
        None if reach.step != AT_P0 && is_unreached(&after, &reach) => {
            events.push(Event::Unreached {
                at: now,
                cycle: reach.cycle,
                step: reach.step,
            });
        }
        None => {}
    }
    events
}

/// Whether nobody of a step has been told, nor will be.
fn is_unreached(state: &State, of: &Reach) -> bool {
    let pages = state
        .pages
        .values()
        .filter(|page| (page.cycle, page.step) == (of.cycle, of.step));
    let mut untold = pages.map(|page| page.status == PageStatus::Failed);
    let mut people = state
        .reach
        .iter()
        .filter(|it| (it.cycle, it.step) == (of.cycle, of.step));
    untold.all(|failed| failed) && people.all(|it| it.tried >= it.channels.len())
}
