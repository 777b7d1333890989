//! What each figure is held to: `xtask/bench/budgets.txt`.
//!
//! Guarantees: a figure without a line, and a line without a figure, are findings as much as one beyond its
//! bound, so that nothing is dropped by a typo. Never rounds before it compares.
//!
//! Example: `router  router_added_p99_ms  <= 1` and the printed line `figure router_added_p99_ms 1.2` is one
//! finding.

use std::fmt;

use anyhow::{Context, bail};

/// The checked-in list.
const LIST: &str = include_str!("../../bench/budgets.txt");
/// How a program's line with a figure begins.
const FIGURE: &str = "figure ";
/// How its line begins that says why a figure could not be measured here.
const UNMEASURED: &str = "unmeasured ";

/// What a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Told,
}

#[derive(Debug, PartialEq)]
struct Budget {
    bench: String,
    figure: String,
    bound: Bound,
}

/// What a line of a program says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// A figure.
    Figure(String, f64),
    /// A figure that has no value here, and why.
    Unmeasured(String, String),
}

impl Said {
    pub(super) fn is_unmeasured(&self) -> bool {
        matches!(self, Self::Unmeasured(..))
    }
}

/// As a program prints it.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(name, value) => write!(f, "{FIGURE}{name} {value}"),
            Self::Unmeasured(name, why) => write!(f, "{UNMEASURED}{name} {why}"),
        }
    }
}

/// What a printed line says of a figure; nothing where it is about something else.
pub(super) fn said(line: &str) -> anyhow::Result<Option<Said>> {
    if let Some(rest) = line.strip_prefix(UNMEASURED) {
        let (name, why) = rest
            .split_once(' ')
            .context("an unmeasured figure without a reason")?;
        return Ok(Some(Said::Unmeasured(name.to_owned(), why.to_owned())));
    }
    let Some(rest) = line.strip_prefix(FIGURE) else {
        return Ok(None);
    };
    let (name, value) = rest
        .split_once(' ')
        .with_context(|| format!("`{line}` has no value"))?;
    let value = value
        .parse()
        .with_context(|| format!("`{line}` is no number"))?;
    Ok(Some(Said::Figure(name.to_owned(), value)))
}

/// What is wrong with what a benchmark said: one line each.
pub(super) fn findings(bench: &str, said: &[Said]) -> anyhow::Result<Vec<String>> {
    let budgets = parse(LIST)?;
    Ok(judge(&budgets, bench, said))
}

fn judge(budgets: &[Budget], bench: &str, all: &[Said]) -> Vec<String> {
    let mut findings = Vec::new();
    for budget in budgets.iter().filter(|it| it.bench == bench) {
        let name = &budget.figure;
        let of = |said: &&Said| match said {
            Said::Figure(figure, _) | Said::Unmeasured(figure, _) => figure == name,
        };
        findings.extend(match (all.iter().find(of), budget.bound) {
            (None, _) => Some(format!("{bench}: {name} was not printed")),
            (Some(Said::Figure(_, value)), Bound::AtMost(most)) if *value > most => Some(format!(
                "{bench}: {name} is {value}, the budget is at most {most}"
            )),
            (Some(Said::Figure(_, value)), Bound::AtLeast(least)) if *value < least => Some(
                format!("{bench}: {name} is {value}, the budget is at least {least}"),
            ),
            // Not a number is within no bound.
            (Some(Said::Figure(_, value)), Bound::AtMost(_) | Bound::AtLeast(_))
                if value.is_nan() =>
            {
                Some(format!("{bench}: {name} is no number"))
            }
            (Some(Said::Figure(..) | Said::Unmeasured(..)), _) => None,
        });
    }
    for said in all {
        let (Said::Figure(name, _) | Said::Unmeasured(name, _)) = said;
        if !budgets
            .iter()
            .any(|it| it.bench == bench && it.figure == *name)
        {
            findings.push(format!(
                "{bench}: {name} has no line in xtask/bench/budgets.txt"
            ));
        }
    }
    findings
}

fn parse(list: &str) -> anyhow::Result<Vec<Budget>> {
    let lines = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let budget = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (bench, figure, bound) = match words[..] {
            [bench, figure, "-"] => (bench, figure, Bound::Told),
            [bench, figure, "<=", most] => (bench, figure, Bound::AtMost(most.parse()?)),
            [bench, figure, ">=", least] => (bench, figure, Bound::AtLeast(least.parse()?)),
            _ => bail!("`{line}` is no budget"),
        };
        let (bench, figure) = (bench.to_owned(), figure.to_owned());
        Ok(Budget {
            bench,
            figure,
            bound,
        })
    };
    lines.map(budget).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Vec<String> {
        let budgets = parse(
            "# why\n\nrouter added_ms <= 1\nrouter share >= 0.7\nrouter peak -\nledger x -\n",
        );
        let all: Vec<Said> = lines
            .iter()
            .filter_map(|line| said(line).unwrap())
            .collect();
        judge(&budgets.unwrap(), "router", &all)
    }

    #[test]
    fn figures_within_their_bounds_are_no_findings() {
        let lines = [
            "router 3 rounds",
            "figure added_ms 1",
            "figure share 0.7",
            "figure peak 9e4",
        ];
        assert_eq!(told(&lines), Vec::<String>::new());
    }

    #[test]
    fn a_figure_that_is_beyond_missing_or_unknown_is_a_finding() {
        let lines = [
            "figure added_ms 1.001",
            "figure share NaN",
            "figure speed 3",
        ];
        assert_eq!(
            told(&lines),
            [
                "router: added_ms is 1.001, the budget is at most 1",
                "router: share is no number",
                "router: peak was not printed",
                "router: speed has no line in xtask/bench/budgets.txt",
            ]
        );
        assert!(said("figure added_ms fast").is_err());
    }

    #[test]
    fn what_cannot_be_measured_here_says_why() {
        let lines = [
            "figure added_ms 1",
            "unmeasured share nginx is not installed",
            "figure peak 1",
        ];
        assert_eq!(told(&lines), Vec::<String>::new());
    }

    #[test]
    fn every_line_of_the_list_is_a_budget_of_a_known_benchmark() {
        for budget in parse(LIST).unwrap() {
            let known = super::super::BENCHES
                .iter()
                .any(|it| it.name == budget.bench);
            assert!(known, "{budget:?}");
        }
    }
}
