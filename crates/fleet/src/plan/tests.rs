use super::*;

fn order(version: &str, incarnation: u64) -> DesiredInstance {
    DesiredInstance {
        instance: "voyager-lax-1".parse().unwrap(),
        service: "voyager".parse().unwrap(),
        fabric: "lax".parse().unwrap(),
        version: version.parse().unwrap(),
        incarnation,
        artifacts: "/artifacts".into(),
        args: vec![],
        env: BTreeMap::new(),
        port: None,
        stop_grace: Span::from_secs(10),
    }
}

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

fn steps(
    want: Option<DesiredInstance>,
    have: Option<(DesiredInstance, Life, u32)>,
    now: i64,
) -> Vec<Step> {
    let set = DesiredSet {
        instances: want.into_iter().collect(),
        ..DesiredSet::default()
    };
    let running = have
        .into_iter()
        .map(|(order, life, failures_in_row)| {
            (
                order.instance.clone(),
                Running {
                    order,
                    life,
                    failures_in_row,
                },
            )
        })
        .collect();
    plan(&set, &running, at(now))
}

fn name() -> InstanceName {
    "voyager-lax-1".parse().unwrap()
}

const ALIVE: Life = Life::Alive {
    since: Time::from_millis(0),
};

#[test]
fn what_is_wanted_and_absent_is_started() {
    assert_eq!(
        steps(Some(order("v1", 1)), None, 0),
        vec![Step::Start(order("v1", 1))]
    );
}

#[test]
fn what_runs_as_ordered_is_left_alone() {
    assert_eq!(
        steps(Some(order("v1", 1)), Some((order("v1", 1), ALIVE, 0)), 0),
        vec![]
    );
}

#[test]
fn a_changed_grace_alone_restarts_nothing() {
    let mut want = order("v1", 1);
    want.stop_grace = Span::from_secs(99);
    assert_eq!(
        steps(Some(want), Some((order("v1", 1), ALIVE, 0)), 0),
        vec![]
    );
}

#[test]
fn an_older_version_or_incarnation_is_stopped_and_its_successor_waits_until_it_is_gone() {
    for want in [order("v2", 1), order("v1", 2)] {
        let old = order("v1", 1);
        assert_eq!(
            steps(Some(want.clone()), Some((old.clone(), ALIVE, 0)), 0),
            vec![Step::Stop(name())]
        );
        let stopping = Life::Stopping {
            asked_at: at(0),
            killed_at: None,
        };
        assert_eq!(
            steps(Some(want.clone()), Some((old.clone(), stopping, 0)), 9_999),
            vec![]
        );
        let gone = Life::Gone {
            at: at(10),
            ordered: true,
        };
        assert_eq!(
            steps(Some(want.clone()), Some((old, gone, 0)), 10),
            vec![Step::Start(want)]
        );
    }
}

#[test]
fn what_is_not_wanted_is_stopped_told_for_a_while_and_then_forgotten() {
    assert_eq!(
        steps(None, Some((order("v1", 1), ALIVE, 0)), 0),
        vec![Step::Stop(name())]
    );
    let gone = Life::Gone {
        at: at(10),
        ordered: true,
    };
    let told = 10 + TOLD_GONE_FOR.millis() as i64;
    let wait = Step::Wait(Wait {
        instance: name(),
        until: at(told),
    });
    let gone = |now| steps(None, Some((order("v1", 1), gone.clone(), 3)), now);
    assert_eq!(gone(told - 1), vec![wait]);
    assert_eq!(gone(told), vec![Step::Forget(name())]);
}

#[test]
fn what_outlives_its_grace_is_killed_and_killed_again_only_after_a_while() {
    let life = |killed_at| Life::Stopping {
        asked_at: at(0),
        killed_at,
    };
    let now = |killed_at, now| steps(None, Some((order("v1", 1), life(killed_at), 0)), now);
    assert_eq!(now(None, 9_999), vec![]);
    assert_eq!(now(None, 10_000), vec![Step::Kill(name())]);
    assert_eq!(now(Some(at(10_000)), 14_999), vec![]);
    assert_eq!(now(Some(at(10_000)), 15_000), vec![Step::Kill(name())]);
}

#[test]
fn an_unordered_exit_is_restarted_when_its_back_off_is_over() {
    let gone = Life::Gone {
        at: at(1_000),
        ordered: false,
    };
    let have = Some((order("v1", 1), gone, 2));
    assert_eq!(
        steps(Some(order("v1", 1)), have.clone(), 1_999),
        vec![Step::Wait(Wait {
            instance: name(),
            until: at(2_000)
        })]
    );
    assert_eq!(
        steps(Some(order("v1", 1)), have, 2_000),
        vec![Step::Start(order("v1", 1))]
    );
}

#[test]
fn a_new_order_does_not_wait_for_the_back_off_of_the_old_one() {
    let failed = Life::Failed {
        at: at(1_000),
        because: "artifact missing".into(),
    };
    assert_eq!(
        steps(
            Some(order("v2", 2)),
            Some((order("v1", 1), failed, 9)),
            1_001
        ),
        vec![Step::Start(order("v2", 2))]
    );
}

#[test]
fn the_back_off_doubles_from_half_a_second_to_thirty() {
    let seen: Vec<u64> = (0..9).map(|n| back_off(n).millis()).collect();
    assert_eq!(
        seen,
        [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    );
    assert_eq!(back_off(u32::MAX), BACK_OFF_MAX);
}

#[test]
fn a_clock_that_steps_back_kills_nobody() {
    let stopping = Life::Stopping {
        asked_at: at(100_000),
        killed_at: None,
    };
    assert_eq!(steps(None, Some((order("v1", 1), stopping, 0)), 0), vec![]);
}

#[test]
fn a_back_off_written_down_before_the_clock_was_set_back_is_no_longer_than_itself() {
    let gone = Life::Gone {
        at: at(900_000),
        ordered: false,
    };
    let have = |life: Life| Some((order("v1", 1), life, 1));
    let waits = steps(Some(order("v1", 1)), have(gone.not_after(at(1_000))), 1_000);
    let until = at(1_500);
    assert_eq!(
        waits,
        vec![Step::Wait(Wait {
            instance: name(),
            until
        })]
    );
}
