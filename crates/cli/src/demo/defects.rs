//! What a release's defects must lead to: the expectation follows the defect, not the scenario.
//!
//! **Guarantees.** A defect that no user can feel must go through, one that a fifth of the requests feel must
//! come back; in between the scenario says that either is right. **Never** more is asked of the canary than
//! its traffic can show.
//!
//! Example: `expected(&["errors=0.2".into()])` is [`Expected::TakenBack`].

use std::fmt;

/// At this share of bad requests on some route the canary must notice within a minute.
const PLAIN: f64 = 0.05;
/// An extra delay of this many milliseconds is beyond what the old version's slowest hundredth takes.
const FELT_MS: f64 = 400.0;

/// What must come of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// It goes all the way.
    Done,
    /// It comes back.
    TakenBack,
    /// Either, for the reason given.
    Either(String),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "done: no user can feel the defect"),
            Self::TakenBack => write!(
                f,
                "rolled-back: at least {:.0} % of the requests on a route feel the defect",
                PLAIN * 100.0
            ),
            Self::Either(why) => write!(f, "done, paused or rolled-back: {why}"),
        }
    }
}

/// The defects asked for, or the scenario's own; `none` asks for none.
pub(super) fn chosen(asked: &[String], own: &[&str]) -> Vec<String> {
    if asked.is_empty() {
        return own.iter().map(|defect| (*defect).to_owned()).collect();
    }
    let none = |defect: &&String| defect.as_str() != "none";
    asked.iter().filter(none).cloned().collect()
}

/// What must come of a release with these defects.
pub(super) fn expected(defects: &[String]) -> Expected {
    let worst = defects.iter().map(|defect| of(defect));
    worst.fold(Expected::Done, |so_far, next| match (so_far, next) {
        (Expected::TakenBack, _) | (_, Expected::TakenBack) => Expected::TakenBack,
        (Expected::Either(why), _) | (_, Expected::Either(why)) => Expected::Either(why),
        (Expected::Done, Expected::Done) => Expected::Done,
    })
}

fn of(defect: &str) -> Expected {
    let mut parts = defect.split(',');
    let (kind, value) = split(parts.next().unwrap_or_default());
    let parameter = |name: &str| {
        let mut found = defect.split(',').skip(1).map(split);
        found.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let share = match kind {
        "errors" => number(value),
        "slow" if number(parameter("ms").unwrap_or_default()) >= FELT_MS => number(value),
        "slow" if number(value) == 0.0 => 0.0,
        "slow" => return Expected::Either("a delay may hide among the slow requests".into()),
        _ => return Expected::Either(format!("`{kind}` bites only when and if it bites")),
    };
    if share == 0.0 {
        Expected::Done
    } else if share < PLAIN {
        Expected::Either(format!(
            "{:.1} % of the requests feel the defect, and the canary's traffic may not show it",
            share * 100.0
        ))
    } else {
        Expected::TakenBack
    }
}

fn split(part: &str) -> (&str, &str) {
    part.split_once('=').unwrap_or((part, ""))
}

/// The site's builder refuses what is not a number, before anything starts.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_all(defects: &[&str]) -> Expected {
        expected(&chosen(&[], defects))
    }

    #[test]
    fn the_expectation_follows_the_defect() {
        assert_eq!(of_all(&[]), Expected::Done);
        assert_eq!(of_all(&["errors=0"]), Expected::Done);
        assert_eq!(of_all(&["errors=0.2,route=profile"]), Expected::TakenBack);
        assert_eq!(of_all(&["slow=0.3,ms=800"]), Expected::TakenBack);
        for either in ["errors=0.01", "slow=0.3,ms=20", "leak=40", "hang"] {
            assert!(matches!(of_all(&[either]), Expected::Either(_)), "{either}");
        }
        assert_eq!(of_all(&["leak=40", "errors=0.5"]), Expected::TakenBack);
    }

    #[test]
    fn none_asks_for_no_defect_and_silence_for_the_scenarios_own() {
        assert_eq!(chosen(&["none".into()], &["errors=0.2"]), [""; 0]);
        assert_eq!(chosen(&[], &["errors=0.2"]), ["errors=0.2"]);
    }
}
