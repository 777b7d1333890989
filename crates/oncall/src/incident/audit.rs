//! What should have been done by now, worked out anew from what is written.
//!
//! Guarantees: shares nothing with the machine but its events: each event takes on obligations and discharges others,
//! and what is not discharged in its time is missing. So a machine that forgets is found, and so is one that is not
//! turned. Costs what the streams of open incidents hold. **Never** mends anything.
//!
//! ```
//! use mainstay_core::{Name, Span, Time, escalation::{EscalationPolicySpec, Severity}};
//! use mainstay_oncall::{escalation::Policy, incident::{Plan, audit::audit}};
//! let policy = Policy::snapshot(&Name::new("web")?, &EscalationPolicySpec::default());
//! let plan = Plan::new("inc-1".parse()?, "the shop is slow", Severity::P1, policy);
//! let missing = audit(&plan, Time::from_millis(0), &[], Time::from_millis(600_000), Span::from_secs(60));
//! assert_eq!(missing[0].what, "step 1 has not begun");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{Name, Span, Time, escalation::Severity};

use super::{AT_P0, Event, Plan, Which};

/// Shortest time before the steps begin anew where nobody was told in any of them.
const NOBODY_PAUSE: Span = Span::from_secs(60);

/// Something that should have been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub what: String,
    /// By when.
    pub by: Time,
}

/// Something that has to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    /// A step begins; any where the number is not known.
    Step(Option<u32>),
    /// Those who are told of every P0 are told.
    AtP0,
    /// A person is told by their next channel.
    Tell(u32, u32, Name),
    /// A page that is being sent comes to an end.
    End(String),
    /// A page that waits is sent.
    Resume(String),
    /// A deadline that passes is written down.
    Breach(Which),
    /// What is over is closed.
    Close,
}

struct Page {
    cycle: u32,
    step: u32,
    person: Name,
}

/// The channels of a person in a step, and how many were used.
type Reached = BTreeMap<(u32, u32, Name), (usize, usize)>;

struct Auditor<'a> {
    plan: &'a Plan,
    duties: BTreeMap<Duty, Time>,
    pages: BTreeMap<String, Page>,
    reached: Reached,
    acknowledged: BTreeSet<String>,
    severity: Severity,
    /// Whether as many acknowledged as have to, since it was opened or opened again.
    is_acknowledged: bool,
    was_anybody: bool,
    wrong: Vec<Missing>,
}

/// What is missing at `now` by more than `slack`, of an incident that was opened with `plan`.
pub fn audit(
    plan: &Plan,
    opened_at: Time,
    events: &[Event],
    now: Time,
    slack: Span,
) -> Vec<Missing> {
    let mut auditor = Auditor {
        plan,
        duties: BTreeMap::new(),
        pages: BTreeMap::new(),
        reached: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        severity: plan.severity,
        is_acknowledged: false,
        was_anybody: false,
        wrong: Vec::new(),
    };
    auditor.opened(opened_at);
    for event in events {
        auditor.take(event);
    }
    let late = auditor.duties.iter().filter(|(_, by)| now > **by + slack);
    let mut missing: Vec<Missing> = late
        .map(|(duty, by)| Missing {
            what: auditor.words(duty),
            by: *by,
        })
        .collect();
    missing.extend(auditor.wrong);
    missing.sort_by_key(|it| it.by);
    missing
}

impl Auditor<'_> {
    fn opened(&mut self, at: Time) {
        self.duties.insert(Duty::Step(Some(0)), at);
        self.count_from(at);
        if self.severity == Severity::P0 && !self.plan.policy.at_p0.is_empty() {
            self.duties.insert(Duty::AtP0, at);
        }
    }

    fn count_from(&mut self, at: Time) {
        self.done(|duty| matches!(duty, Duty::Breach(_)));
        if let Some(within) = self.plan.policy.deadlines.get(&self.severity) {
            if !self.is_acknowledged {
                self.duties
                    .insert(Duty::Breach(Which::Acknowledge), at + within.acknowledge);
            }
            self.duties
                .insert(Duty::Breach(Which::Resolve), at + within.resolve);
        }
    }

    fn done(&mut self, which: impl Fn(&Duty) -> bool) {
        self.duties.retain(|duty, _| !which(duty));
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Began {
                at,
                cycle,
                step,
                people,
            } => {
                if *step == AT_P0 {
                    self.done(|duty| *duty == Duty::AtP0);
                } else {
                    self.began(*at, (*cycle, *step), people.is_empty());
                }
                for it in people {
                    self.tell((*cycle, *step), &it.person, it.channels.len(), *at);
                }
            }
            Event::Also {
                cycle,
                step,
                people,
            } => {
                for it in people {
                    let known = (*cycle, *step, it.person.clone());
                    self.reached.insert(known, (it.channels.len(), 0));
                }
            }
            Event::Paging {
                at,
                key,
                cycle,
                step,
                person,
                attempt,
                ..
            } => {
                self.done(|duty| {
                    *duty == Duty::Tell(*cycle, *step, person.clone())
                        || *duty == Duty::Resume(key.clone())
                });
                let is_new = self
                    .pages
                    .insert(
                        key.clone(),
                        Page {
                            cycle: *cycle,
                            step: *step,
                            person: person.clone(),
                        },
                    )
                    .is_none();
                if is_new
                    && *attempt == 1
                    && let Some((_, used)) = self.reached.get_mut(&(*cycle, *step, person.clone()))
                {
                    *used += 1;
                }
                self.duties.insert(Duty::End(key.clone()), *at);
            }
            Event::Accepted { at, key, .. } => {
                self.ended(key, *at + self.plan.policy.channel_wait, false);
            }
            Event::Failed { at, key, .. } => self.ended(key, *at, true),
            Event::Delivered { key, .. } => self.done(|duty| *duty == Duty::End(key.clone())),
            Event::Held { key, until, .. } | Event::Retrying { key, until, .. } => {
                self.done(|duty| *duty == Duty::End(key.clone()));
                self.duties.insert(Duty::Resume(key.clone()), *until);
            }
            Event::Acknowledged { by, .. } => self.acknowledged(by),
            Event::Escalated { at, .. } => self.hurry(*at),
            Event::Breached { at, which, .. } => {
                self.done(|duty| *duty == Duty::Breach(*which));
                self.hurry(*at);
            }
            Event::Severity { at, to, .. } => {
                let is_p0_now = *to == Severity::P0 && self.severity != Severity::P0;
                self.severity = *to;
                self.count_from(*at);
                if is_p0_now && !self.plan.policy.at_p0.is_empty() {
                    self.duties.insert(Duty::AtP0, *at);
                }
            }
            Event::Resolved { at, .. } => {
                self.duties.clear();
                self.reached.clear();
                self.duties
                    .insert(Duty::Close, *at + self.plan.policy.closes_after);
            }
            Event::Reopened { at, .. } => {
                self.duties.clear();
                self.acknowledged.clear();
                self.is_acknowledged = false;
                self.was_anybody = false;
                self.opened(*at);
            }
            Event::Closed { .. } => self.duties.clear(),
            Event::Unreached { .. }
            | Event::Alerted { .. }
            | Event::Cleared { .. }
            | Event::Crowded { .. }
            | Event::Role { .. }
            | Event::Task { .. }
            | Event::Finished { .. }
            | Event::Noted { .. }
            | Event::Related { .. }
            | Event::Differs { .. } => {}
        }
    }

    fn began(&mut self, at: Time, (cycle, step): (u32, u32), is_empty: bool) {
        // Who was told in a round before the last is told anew in this one, from their first channel on.
        self.done(|duty| matches!(duty, Duty::Tell(of, it, _) if *it != AT_P0 && of + 1 < cycle));
        let wanted: Vec<Duty> = self
            .duties
            .keys()
            .filter(|duty| matches!(duty, Duty::Step(_)))
            .cloned()
            .collect();
        for duty in &wanted {
            if let Duty::Step(Some(number)) = duty
                && *number != step
            {
                self.wrong.push(Missing {
                    what: format!("step {} was left out for step {}", number + 1, step + 1),
                    by: at,
                });
            }
            self.duties.remove(duty);
        }
        let steps = &self.plan.policy.steps;
        let wait = steps.get(step as usize).map_or(NOBODY_PAUSE, |it| it.wait);
        self.was_anybody |= !is_empty;
        let next = if step as usize + 1 < steps.len() {
            let at = if is_empty { at } else { at + wait };
            (step + 1, at)
        } else {
            let wait = if self.was_anybody {
                wait
            } else {
                wait.max(NOBODY_PAUSE)
            };
            self.was_anybody = false;
            (0, at + wait)
        };
        self.duties.insert(Duty::Step(Some(next.0)), next.1);
    }

    fn tell(&mut self, (cycle, step): (u32, u32), person: &Name, channels: usize, at: Time) {
        let known = (cycle, step, person.clone());
        self.reached.insert(known, (channels, 0));
        self.duties
            .insert(Duty::Tell(cycle, step, person.clone()), at);
    }

    /// A page is at an end: the person's next channel is due then, if there is one and somebody still has to act.
    fn ended(&mut self, key: &str, next_by: Time, has_failed: bool) {
        self.done(|duty| *duty == Duty::End(key.to_owned()));
        let Some(page) = self.pages.get(key) else {
            return;
        };
        let known = (page.cycle, page.step, page.person.clone());
        let has_more = self
            .reached
            .get(&known)
            .is_some_and(|(all, used)| used < all);
        let is_awaited = self.duties.keys().any(|duty| matches!(duty, Duty::Step(_)))
            && !self.acknowledged.contains(page.person.as_str());
        let at_p0 = page.step == AT_P0 && has_failed;
        if has_more && ((page.step != AT_P0 && is_awaited) || at_p0) {
            let duty = Duty::Tell(page.cycle, page.step, page.person.clone());
            self.duties.insert(duty, next_by);
        }
    }

    fn acknowledged(&mut self, by: &str) {
        self.acknowledged.insert(by.to_owned());
        let at_p0: BTreeSet<String> = self
            .pages
            .iter()
            .filter(|(_, page)| page.step == AT_P0)
            .map(|(key, _)| key.clone())
            .collect();
        let theirs: BTreeSet<String> = self
            .pages
            .iter()
            .filter(|(_, page)| page.person.as_str() == by)
            .map(|(key, _)| key.clone())
            .collect();
        if self.acknowledged.len() as u64 >= u64::from(self.plan.policy.acknowledge_by) {
            self.is_acknowledged = true;
            self.reached.retain(|(_, step, _), _| *step == AT_P0);
            self.done(|duty| match duty {
                Duty::Step(_) | Duty::Breach(Which::Acknowledge) => true,
                Duty::Tell(_, step, _) => *step != AT_P0,
                Duty::End(key) | Duty::Resume(key) => !at_p0.contains(key),
                Duty::AtP0 | Duty::Breach(Which::Resolve) | Duty::Close => false,
            });
        } else {
            self.done(|duty| match duty {
                Duty::Tell(_, step, person) => *step != AT_P0 && person.as_str() == by,
                Duty::End(key) | Duty::Resume(key) => theirs.contains(key) && !at_p0.contains(key),
                Duty::Step(_) | Duty::Breach(_) | Duty::AtP0 | Duty::Close => false,
            });
        }
    }

    /// The next step is due at once; some step is where none was.
    fn hurry(&mut self, at: Time) {
        let mut steps = self
            .duties
            .iter_mut()
            .filter(|(duty, _)| matches!(duty, Duty::Step(_)))
            .peekable();
        if steps.peek().is_some() {
            for (_, by) in steps {
                *by = (*by).min(at);
            }
            return;
        }
        drop(steps);
        self.acknowledged.clear();
        self.was_anybody = false;
        self.duties.insert(Duty::Step(None), at);
    }

    fn words(&self, duty: &Duty) -> String {
        let of = |key: &str| {
            self.pages
                .get(key)
                .map_or_else(|| key.to_owned(), |page| page.person.to_string())
        };
        match duty {
            Duty::Step(Some(step)) => format!("step {} has not begun", step + 1),
            Duty::Step(None) => "no step has begun".to_owned(),
            Duty::AtP0 => "those who are told of every P0 were not looked for".to_owned(),
            Duty::Tell(_, _, person) => format!("{person} was not told by the next channel"),
            Duty::End(key) => format!("how a page to {} ended is not known", of(key)),
            Duty::Resume(key) => format!("a page to {} that waited was not sent", of(key)),
            Duty::Breach(Which::Acknowledge) => {
                "the deadline to acknowledge passed and nothing followed".to_owned()
            }
            Duty::Breach(Which::Resolve) => {
                "the deadline to resolve passed and nothing followed".to_owned()
            }
            Duty::Close => "what is over was not closed".to_owned(),
        }
    }
}
