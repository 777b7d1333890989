//! The semantics of the original as tables, and a property over random histories.

mod property;

use super::*;
use crate::labels::Labels;

/// A second after 1970 at which all histories begin: 2026-11-05, a Thursday, 12:00 UTC.
const BEGIN: i64 = 1_793_880_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

fn labels(text: &str) -> Labels {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.collect()
}

fn posted(text: &str, starts: i64, ends: Option<i64>) -> Posted {
    Posted {
        labels: labels(text),
        starts_at: Some(at(starts)),
        ends_at: ends.map(at),
        ..Posted::default()
    }
}

/// A machine with a clock; messages are answered at once, as `answer` says.
struct World {
    machine: Machine,
    now: i64,
    answer: fn(&Message) -> Result<(), Failure>,
    /// Second, channel, what fires and what is over, by the label `n`.
    sent: Vec<String>,
    notes: Vec<Note>,
}

impl World {
    fn new(config: &str) -> Self {
        let settings = Arc::new(Settings::parse(config).unwrap());
        Self {
            machine: Machine::new(settings, Span::from_secs(432_000), None, at(0)),
            now: 0,
            answer: |_| Ok(()),
            sent: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn post(&mut self, text: &str, ends: Option<i64>) {
        let (effects, refused) = self
            .machine
            .accept(vec![posted(text, self.now, ends)], at(self.now));
        assert!(refused.is_empty());
        self.follow(effects);
    }

    fn silence(&mut self, matchers: &str, until: i64) {
        let silence = Silence {
            id: String::new(),
            matchers: matchers.parse().unwrap(),
            starts_at: at(self.now),
            ends_at: at(until),
            updated_at: at(self.now),
            created_by: String::new(),
            comment: String::new(),
        };
        self.machine
            .silence(silence, format!("s{}", self.now), at(self.now))
            .unwrap();
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let answer = (self.answer)(&message);
                    if answer.is_ok() {
                        self.sent.push(line(self.now, &message));
                    }
                    let effects = match answer {
                        Ok(()) => self.machine.sent(message.id, at(self.now)),
                        Err(failure) => self.machine.failed(message.id, failure, at(self.now)),
                    };
                    self.follow(effects);
                }
                Effect::Note(note) => self.notes.push(note),
                Effect::Keep(_) => {}
            }
        }
    }

    /// Goes on second by second; the machine is only asked when it wants to be.
    fn until(&mut self, second: i64) {
        while self.now <= second {
            if self.machine.wake_at().is_some_and(|it| it <= at(self.now)) {
                let effects = self.machine.due(at(self.now));
                self.follow(effects);
            }
            self.now += 1;
        }
        self.now = second;
    }

    fn fates(&self) -> Vec<String> {
        self.notes
            .iter()
            .map(|it| it.fate.word().to_owned())
            .collect()
    }
}

fn line(now: i64, message: &Message) -> String {
    let names = |over: bool| {
        let alerts = message.alerts.iter();
        let alerts = alerts.filter(|it| it.is_resolved(message.at) == over);
        alerts
            .map(|it| it.labels.get("n"))
            .collect::<Vec<_>>()
            .join("")
    };
    format!(
        "{now} {} {}|{}",
        message.integration.receiver,
        names(false),
        names(true)
    )
}

/// One receiver that hears all, one that does not hear of what is over.
const PLAIN: &str = "
route: {receiver: hook, group_by: [job], group_wait: 10s, group_interval: 60s, repeat_interval: 10m}
receivers:
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1:1/'}]
";

#[test]
fn alerts_of_a_group_are_told_together_after_its_wait_and_later_ones_after_its_interval() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(3);
    world.post("job=a n=2", None);
    world.post("job=b n=3", None);
    world.until(20);
    assert_eq!(world.sent, ["10 hook 12|", "13 hook 3|"]);
    world.post("job=a n=4", None);
    world.until(100);
    assert_eq!(world.sent[2..], ["70 hook 124|"]);
}

#[test]
fn an_alert_that_is_older_than_the_wait_is_told_at_once() {
    let mut world = World::new(PLAIN);
    let old = posted("job=a n=1", -11, None);
    let (effects, _) = world.machine.accept(vec![old], at(0));
    world.follow(effects);
    world.until(1);
    assert_eq!(world.sent, ["0 hook 1|"]);
}

#[test]
fn nothing_is_told_twice_until_the_repeat_interval_has_passed() {
    let mut world = World::new(PLAIN);
    for minute in 0..20 {
        world.until(minute * 60);
        world.post("job=a n=1", None);
    }
    // The interval is passed at 610 exactly, which is not yet after it.
    assert_eq!(world.sent, ["10 hook 1|", "670 hook 1|"]);
    assert!(world.fates().contains(&"known".to_owned()));
}

#[test]
fn what_is_over_is_told_with_the_next_flush_and_then_leaves_its_group() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.post("job=a n=2", None);
    world.until(20);
    world.post("job=a n=1", Some(20));
    world.until(75);
    world.post("job=a n=2", Some(75));
    world.until(1000);
    assert_eq!(world.sent, ["10 hook 12|", "70 hook 2|1", "130 hook |2"]);
    assert_eq!(world.machine.dispatch().groups().count(), 0);
}

#[test]
fn an_alert_that_nobody_repeats_is_over_after_the_resolve_timeout() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(400);
    assert_eq!(world.sent, ["10 hook 1|", "310 hook |1"]);
}

#[test]
fn an_alert_that_came_and_went_before_anybody_was_told_is_not_told() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(5);
    world.post("job=a n=1", Some(5));
    world.until(200);
    assert!(world.sent.is_empty());
    assert_eq!(world.fates(), ["never-told"]);
}

#[test]
fn a_channel_that_does_not_hear_of_what_is_over_hears_of_what_fires_anew() {
    let mut world = World::new(&PLAIN.replace("1/'", "1/', send_resolved: false"));
    world.post("job=a n=1", None);
    world.until(20);
    world.post("job=a n=1", Some(20));
    world.until(80);
    world.post("job=a n=1", None);
    world.until(300);
    assert_eq!(world.sent, ["10 hook 1|", "90 hook 1|"]);
}

#[test]
fn a_message_that_fails_is_tried_again_until_its_group_is_told_the_next_time() {
    let mut world = World::new(PLAIN);
    world.answer = |message| {
        let failure = Failure {
            why: "503".into(),
            again: true,
        };
        if message.attempts < 4 {
            Err(failure)
        } else {
            Ok(())
        }
    };
    world.post("job=a n=1", None);
    world.until(200);
    // After 0.5, 0.75, 1.125 and 1.6875 seconds, looked at each second.
    assert_eq!(world.sent, ["16 hook 1|"]);

    let mut world = World::new(PLAIN);
    world.answer = |_| {
        Err(Failure {
            why: "503".into(),
            again: true,
        })
    };
    world.post("job=a n=1", None);
    world.until(69);
    world.answer = |_| Ok(());
    world.until(200);
    assert_eq!(world.sent, ["70 hook 1|"]);
    assert!(world.fates().contains(&"failed".to_owned()));
}

#[test]
fn a_message_that_cannot_get_there_is_not_tried_before_its_group_is_told_the_next_time() {
    let mut world = World::new(PLAIN);
    world.answer = |message| {
        let failure = Failure {
            why: "400".into(),
            again: false,
        };
        if message.at < at(65) {
            Err(failure)
        } else {
            Ok(())
        }
    };
    world.post("job=a n=1", None);
    world.until(130);
    assert_eq!(world.sent, ["70 hook 1|"]);
    assert_eq!(
        world.fates(),
        ["sending", "failed", "sending", "notified", "known"]
    );
}

#[test]
fn silences_keep_alerts_from_being_told_and_say_so() {
    let mut world = World::new(PLAIN);
    world.silence("n=~\"1|2\"", 100);
    world.post("job=a n=1", None);
    world.post("job=a n=3", None);
    world.until(200);
    assert_eq!(world.sent, ["10 hook 3|", "130 hook 13|"]);
    assert!(
        world
            .notes
            .iter()
            .any(|it| it.fate == Fate::Silenced(vec!["s0".into()]))
    );
}

#[test]
fn inhibited_alerts_are_told_when_what_inhibits_them_is_over() {
    let config = format!(
        "{PLAIN}inhibit_rules: [{{source_matchers: [sev=high], target_matchers: [sev=low], equal: [job]}}]\n"
    );
    let mut world = World::new(&config);
    world.post("job=a sev=high n=1", None);
    world.post("job=a sev=low n=2", None);
    world.post("job=b sev=low n=3", None);
    world.until(20);
    assert_eq!(world.sent, ["10 hook 1|", "10 hook 3|"]);
    world.post("job=a sev=high n=1", Some(20));
    world.until(75);
    assert_eq!(world.sent[2..], ["70 hook 2|1"]);
}

#[test]
fn a_route_is_silent_in_its_mute_times_and_outside_of_its_active_times() {
    // 12:00 to 12:02 UTC are these minutes of the wall clock in New York, after clocks were put back.
    let intervals = "
time_intervals:
- name: noon
  time_intervals: [{times: [{start_time: '07:00', end_time: '07:02'}], location: America/New_York}]
";
    for (field, expected) in [
        ("mute_time_intervals", &["130 hook 1|"][..]),
        ("active_time_intervals", &["10 hook 1|"]),
    ] {
        let route = format!("60s, repeat_interval: 10m, routes: [{{{field}: [noon]}}]");
        let config = PLAIN.replace("60s, repeat_interval: 10m", &route) + intervals;
        let mut world = World::new(&config);
        world.post("job=a n=1", None);
        world.until(200);
        assert_eq!(world.sent, expected, "{field}");
    }
}

#[test]
fn each_channel_of_each_receiver_is_told_once() {
    let config = "
route:
  receiver: rest
  group_wait: 10s
  routes:
  - {matchers: [n=1], receiver: two, continue: true}
  - {matchers: [job=a], receiver: one}
receivers:
- {name: rest, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
- {name: one, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
- {name: two, webhook_configs: [{url: 'http://127.0.0.1:1/'}, {url: 'http://127.0.0.1:2/'}]}
";
    let mut world = World::new(config);
    world.post("job=a n=1", None);
    world.post("job=b n=2", None);
    world.until(60);
    world.sent.sort();
    assert_eq!(
        world.sent,
        ["10 one 1|", "10 rest 2|", "10 two 1|", "10 two 1|"]
    );
}

#[test]
fn a_start_after_a_kill_tells_nothing_twice_and_forgets_nothing() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(20);
    world.post("job=b n=2", None);
    world.silence("n=9", 1000);
    let kept = world.machine.records();
    let mut after = World::new(PLAIN);
    for record in kept {
        let text = serde_json::to_string(&record).unwrap();
        after.machine.restore(serde_json::from_str(&text).unwrap());
    }
    after.machine.resume(at(25));
    after.now = 25;
    after.until(100);
    assert_eq!(after.sent, ["35 hook 2|"]);
    assert_eq!(after.machine.silences().iter().count(), 1);
}

#[test]
fn an_alert_whose_end_passed_while_nobody_listened_is_not_called_over_before_it_could_be_repeated()
{
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(20);
    let kept = world.machine.records();
    let mut after = World::new(PLAIN);
    for record in kept {
        after.machine.restore(record);
    }
    after.machine.resume(at(2000));
    after.now = 2000;
    after.until(2290);
    // Only the repeat interval has passed.
    assert_eq!(after.sent, ["2000 hook 1|"]);
    after.until(2400);
    assert_eq!(after.sent[1..], ["2300 hook |1"]);
}

#[test]
fn other_settings_hold_at_once_and_what_was_told_stays_told() {
    let mut world = World::new(PLAIN);
    world.post("job=a n=1", None);
    world.until(20);
    let settings = Arc::new(Settings::parse(&PLAIN.replace("[job]", "[n]")).unwrap());
    world.machine.reload(settings, at(20));
    world.until(40);
    // Another grouping is another group.
    assert_eq!(world.sent, ["10 hook 1|", "20 hook 1|"]);
    let settings = Arc::clone(world.machine.settings());
    world.machine.reload(settings, at(40));
    world.until(60);
    assert_eq!(world.sent.len(), 2);
}
