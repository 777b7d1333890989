//! Random histories: whatever is posted, silenced, inhibited, refused or lost, no alert is forgotten.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CONFIG: &str = "
route:
  receiver: hook
  group_by: [job]
  group_wait: 5s
  group_interval: 20s
  repeat_interval: 2m
  routes:
  - {matchers: [n=1], receiver: other, continue: true, group_by: ['...']}
  - {matchers: [n=2], receiver: nobody}
  - {matchers: [job=b], mute_time_intervals: [noon]}
receivers:
- {name: hook, webhook_configs: [{url: 'http://127.0.0.1:1/'}, {url: 'http://127.0.0.1:2/', send_resolved: false}]}
- {name: other, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
- {name: nobody}
inhibit_rules: [{source_matchers: [n=3], target_matchers: [n=4], equal: [job]}]
time_intervals: [{name: noon, time_intervals: [{times: [{start_time: '12:01', end_time: '12:02'}]}]}]
";

#[derive(Debug, Clone)]
enum Step {
    Fire(u8, u8),
    Resolve(u8, u8),
    Silence(u8, u8),
    Wait(u8),
    Reload,
    /// The next messages are answered: 0 well, 1 try again, 2 no, 3 never.
    Answer(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..3, 0_u8..5).prop_map(|(job, n)| Step::Fire(job, n)),
        2 => (0_u8..3, 0_u8..5).prop_map(|(job, n)| Step::Resolve(job, n)),
        1 => (0_u8..5, 1_u8..90).prop_map(|(n, secs)| Step::Silence(n, secs)),
        4 => (0_u8..60).prop_map(Step::Wait),
        1 => Just(Step::Reload),
        2 => (0_u8..4).prop_map(Step::Answer),
    ]
}

/// What is known of one run.
struct Run {
    machine: Machine,
    now: i64,
    answer: u8,
    /// The last that became of each alert, in any group.
    last: BTreeMap<Fingerprint, Fate>,
    /// Messages that nobody answers.
    lost: usize,
}

impl Run {
    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    assert!(!message.alerts.is_empty(), "an empty message");
                    let failure = |again| Failure {
                        why: "no".into(),
                        again,
                    };
                    let next = match self.answer {
                        0 => self.machine.sent(message.id, at(self.now)),
                        1 => self.machine.failed(message.id, failure(true), at(self.now)),
                        2 => self
                            .machine
                            .failed(message.id, failure(false), at(self.now)),
                        _ => {
                            self.lost += 1;
                            Vec::new()
                        }
                    };
                    self.follow(next);
                }
                Effect::Note(note) => {
                    self.last.insert(note.alert, note.fate);
                }
                Effect::Keep(_) => {}
            }
        }
    }

    fn wait(&mut self, secs: i64) {
        let until = self.now + secs;
        let mut turns = 0;
        while let Some(wake) = self.machine.wake_at().filter(|it| *it <= at(until)) {
            let second = (wake.as_millisecond() + 999).div_euclid(1000) - BEGIN;
            self.now = self.now.max(second);
            let effects = self.machine.due(at(self.now));
            self.follow(effects);
            turns += 1;
            assert!(turns < 10_000, "it does not sleep");
        }
        self.now = self.now.max(until);
    }

    fn post(&mut self, job: u8, n: u8, ends: Option<i64>) -> Fingerprint {
        let text = format!("job={} n={n}", ["a", "b", "c"][usize::from(job)]);
        let (effects, refused) = self
            .machine
            .accept(vec![posted(&text, self.now, ends)], at(self.now));
        assert!(refused.is_empty());
        self.follow(effects);
        labels(&text).fingerprint()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_alert_is_forgotten(steps in prop::collection::vec(step(), 1..60)) {
        let settings = Arc::new(Settings::parse(CONFIG).unwrap());
        let machine = Machine::new(settings, Span::from_secs(432_000), None, at(0));
        let mut run = Run { machine, now: 0, answer: 0, last: BTreeMap::new(), lost: 0 };
        let mut posted = BTreeSet::new();
        for step in steps {
            match step {
                Step::Fire(job, n) => {
                    posted.insert(run.post(job, n, None));
                }
                Step::Resolve(job, n) => {
                    posted.insert(run.post(job, n, Some(run.now)));
                }
                Step::Silence(n, secs) => {
                    let silence = Silence {
                        id: String::new(),
                        matchers: format!("n={n}").parse().unwrap(),
                        starts_at: at(run.now),
                        ends_at: at(run.now + i64::from(secs)),
                        updated_at: at(run.now),
                        created_by: String::new(),
                        comment: String::new(),
                    };
                    let set = run.machine.silence(silence, format!("s{}", run.now), at(run.now));
                    run.follow(set.unwrap().1);
                }
                Step::Wait(secs) => run.wait(i64::from(secs)),
                Step::Reload => {
                    let settings = Arc::clone(run.machine.settings());
                    run.machine.reload(settings, at(run.now));
                }
                Step::Answer(answer) => run.answer = answer,
            }
        }
        // Faults stop: everything that was ever posted has its end, and all that fires is told within three minutes.
        run.answer = 0;
        run.wait(180);
        for print in &posted {
            let fate = run.last.get(print);
            prop_assert!(fate.is_some(), "{print} was forgotten");
            let is_settled = !matches!(fate, Some(Fate::Waiting | Fate::Sending | Fate::Failed(_)) | None);
            prop_assert!(is_settled, "{print}: {fate:?}");
        }
        prop_assert_eq!(run.machine.under_way(), 0);
        for (_, alerts) in run.machine.dispatch().groups() {
            for (alert, fate) in alerts {
                let is_settled = !matches!(fate, Fate::Waiting | Fate::Sending | Fate::Failed(_));
                prop_assert!(is_settled, "{:?}: {fate:?}", alert.labels);
            }
        }
        // And then all ends, and nothing is left.
        run.wait(1200);
        run.machine.forget(at(run.now));
        run.wait(60);
        prop_assert!(run.machine.alerts().is_empty());
        prop_assert_eq!(run.machine.dispatch().groups().count(), 0, "{} lost", run.lost);
    }
}
