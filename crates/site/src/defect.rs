//! Defects a release can carry, parsed from `kind[=value][,name=value]...`.
//!
//! Guarantees: a parsed defect is within bounds; an unknown kind or parameter is refused.
//! Never guesses: a defect without its required parameter is an error.
//! Example: `"slow=0.05,ms=800".parse::<Defect>()`.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

/// The most memory a leaking instance takes, so that a small machine survives several of them.
const LEAK_MB_MAX: u32 = 512;
const LEAK_AFTER_S_MAX: f64 = 86_400.0;
const SLOW_MS_MAX: f64 = 600_000.0;

/// One thing that is wrong with a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Defect {
    /// Answers 500 with this probability, on one route or on all, to clients of one version or of all.
    Errors {
        probability: f64,
        route: Option<String>,
        #[serde(default)]
        client: Option<String>,
    },
    /// Adds this many milliseconds with this probability.
    Slow { probability: f64, ms: f64 },
    /// Works well, then fails and slows progressively after this many seconds of life.
    Leak { after_s: f64, mb: u32 },
    /// Reports health while overloaded; requests beyond capacity never get an answer.
    LyingHealth,
    /// Answers that it stopped, and goes on: always, or only while it is overloaded.
    IgnoresStop { only_overloaded: bool },
    /// Once overloaded, each worker that takes a request is lost until restart.
    Hang,
}

impl FromStr for Defect {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or_default();
        let (kind, value) = match head.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (head, None),
        };
        let mut parameters = BTreeMap::new();
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .with_context(|| format!("parameter {part:?} has no value"))?;
            ensure!(
                parameters.insert(name, value).is_none(),
                "parameter {name:?} is given twice"
            );
        }
        let defect = parse_kind(kind, value, &mut parameters)?;
        if let Some(name) = parameters.keys().next() {
            bail!("defect {kind:?} has no parameter {name:?}");
        }
        Ok(defect)
    }
}

fn parse_kind(
    kind: &str,
    value: Option<&str>,
    parameters: &mut BTreeMap<&str, &str>,
) -> anyhow::Result<Defect> {
    let bare = |defect: Defect| {
        ensure!(value.is_none(), "defect {kind:?} takes no value");
        Ok(defect)
    };
    match kind {
        "errors" => Ok(Defect::Errors {
            probability: number(kind, value, 1.0)?,
            route: parameters
                .remove("route")
                .map(|route| route.rsplit('/').next().unwrap_or(route).to_owned()),
            client: parameters.remove("client").map(str::to_owned),
        }),
        "slow" => Ok(Defect::Slow {
            probability: number(kind, value, 1.0)?,
            ms: number("ms", parameters.remove("ms"), SLOW_MS_MAX)?,
        }),
        "leak" => Ok(Defect::Leak {
            after_s: number(kind, value, LEAK_AFTER_S_MAX)?,
            mb: number(
                "mb",
                parameters.remove("mb").or(Some("0")),
                f64::from(LEAK_MB_MAX),
            )? as u32,
        }),
        "lying-health" => bare(Defect::LyingHealth),
        "ignores-stop" => match value {
            None => Ok(Defect::IgnoresStop {
                only_overloaded: false,
            }),
            Some("overloaded") => Ok(Defect::IgnoresStop {
                only_overloaded: true,
            }),
            Some(other) => bail!("ignores-stop={other}: only `overloaded` can be named"),
        },
        "hang" => bare(Defect::Hang),
        _ => bail!(
            "no defect {kind:?}: there are errors=P[,route=R][,client=V], slow=P,ms=N, leak=SECONDS[,mb=N], \
             lying-health, ignores-stop[=overloaded] and hang"
        ),
    }
}

fn number(name: &str, value: Option<&str>, most: f64) -> anyhow::Result<f64> {
    let text = value.with_context(|| format!("{name} needs a value"))?;
    let number: f64 = text
        .parse()
        .with_context(|| format!("{name}={text} is not a number"))?;
    ensure!(
        (0.0..=most).contains(&number),
        "{name} is {number}, but must lie between 0 and {most}"
    );
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_read_with_its_parameters() {
        assert_eq!(
            "errors=0.5,route=/feed/home,client=8.0"
                .parse::<Defect>()
                .unwrap(),
            Defect::Errors {
                probability: 0.5,
                route: Some("home".into()),
                client: Some("8.0".into()),
            }
        );
        assert_eq!(
            "leak=30,mb=8".parse::<Defect>().unwrap(),
            Defect::Leak {
                after_s: 30.0,
                mb: 8
            }
        );
        assert_eq!("hang".parse::<Defect>().unwrap(), Defect::Hang);
        assert_eq!(
            "ignores-stop=overloaded".parse::<Defect>().unwrap(),
            Defect::IgnoresStop {
                only_overloaded: true
            }
        );
    }

    #[test]
    fn a_defect_out_of_bounds_or_unknown_is_refused() {
        for text in [
            "errors",
            "errors=1.5",
            "errors=NaN",
            "slow=0.1",
            "slow=0.1,ms=5,ms=6",
            "leak=5,gb=1",
            "hang=1",
            "ignores-stop=sometimes",
            "gremlins",
            "",
        ] {
            assert!(text.parse::<Defect>().is_err(), "{text:?} was accepted");
        }
    }
}
