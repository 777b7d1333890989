//! What can be listed: kinds that are declared, and what is measured; and how a command line points at it.
//!
//! Guarantees: `KIND NAME…` and `KIND/NAME…` mean the same; a word that is neither is named with both forms.
//!
//! Example: `service/feed service/voyager host/a` is two services and a host.

use std::{fmt::Display, str::FromStr};

use anyhow::ensure;
use mainstay_core::{Kind, Name, resource::UnknownKind};

/// A kind of things that `get` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Written by somebody.
    Declared(Kind),
    /// What runs.
    Instances,
    /// Releases under way, and those that were.
    Rollouts,
}

impl FromStr for Listed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "instance" | "instances" => Ok(Self::Instances),
            "rollout" | "rollouts" => Ok(Self::Rollouts),
            declared => declared
                .parse()
                .map(Self::Declared)
                .map_err(|unknown: UnknownKind| {
                    format!("{unknown}; and, measured, instances and rollouts")
                }),
        }
    }
}

/// What `get`, `describe` and `delete` are pointed at.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Pointing<K>
where
    K: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    /// A kind, singular or plural; or KIND/NAME
    #[arg(value_name = "KIND[/NAME]")]
    first: First<K>,
    /// Names of that kind; or more of KIND/NAME
    #[arg(value_name = "NAME")]
    rest: Vec<Next<K>>,
}

/// `KIND` or `KIND/NAME`.
#[derive(Debug, Clone)]
struct First<K>(K, Option<Name>);

/// `NAME` or `KIND/NAME`.
#[derive(Debug, Clone)]
struct Next<K>(Option<K>, Name);

/// Things of one kind: those of these names, or all where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointed<K> {
    pub(crate) kind: K,
    pub(crate) names: Vec<Name>,
}

impl<K: FromStr<Err: Display>> FromStr for First<K> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, name)) => Ok(Self(kind_of(kind)?, Some(name_of(name)?))),
            None => Ok(Self(kind_of(text)?, None)),
        }
    }
}

impl<K: FromStr<Err: Display>> FromStr for Next<K> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, name)) => Ok(Self(Some(kind_of(kind)?), name_of(name)?)),
            None => Ok(Self(None, name_of(text)?)),
        }
    }
}

fn kind_of<K: FromStr<Err: Display>>(text: &str) -> Result<K, String> {
    text.parse().map_err(|why: K::Err| why.to_string())
}

fn name_of(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|why| why.to_string())
}

impl<K> Pointing<K>
where
    K: FromStr<Err: Display> + Copy + PartialEq + Send + Sync + 'static,
{
    /// Each kind once, in the order of the words.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Pointed<K>>> {
        let First(first, name) = &self.first;
        let is_paired = name.is_some();
        let names = name.iter().cloned().collect();
        let mut all = vec![Pointed {
            kind: *first,
            names,
        }];
        for Next(kind, name) in &self.rest {
            ensure!(
                kind.is_some() == is_paired,
                "`KIND NAME NAME…` and `KIND/NAME KIND/NAME…` cannot be mixed, and `{name}` mixes them"
            );
            let kind = kind.unwrap_or(*first);
            match all.iter_mut().find(|known| known.kind == kind) {
                Some(known) => known.names.push(name.clone()),
                None => all.push(Pointed {
                    kind,
                    names: vec![name.clone()],
                }),
            }
        }
        Ok(all)
    }

    /// The same where a kind alone says too little.
    pub(crate) fn by_name(&self) -> anyhow::Result<Vec<Pointed<K>>> {
        let all = self.all()?;
        ensure!(
            all.iter().all(|one| !one.names.is_empty()),
            "a name is missing: write `KIND NAME` or `KIND/NAME`; `mainstay get KIND` lists them"
        );
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        what: Pointing<Kind>,
    }

    fn told(line: &str) -> Result<String, String> {
        let words = std::iter::once("delete").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let all = line.what.by_name().map_err(|error| error.to_string())?;
        let told = all.iter().flat_map(|one| {
            let kind = one.kind;
            one.names.iter().map(move |name| format!("{kind}:{name}"))
        });
        Ok(told.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_kind_with_names_and_kinds_with_a_name_each_mean_the_same() {
        let both = Ok("Service:feed Service:voyager".to_owned());
        assert_eq!(told("services feed voyager"), both);
        assert_eq!(told("service/feed services/voyager"), both);
        let mixed = told("service/feed host/a Service/voyager").unwrap();
        assert_eq!(mixed, "Service:feed Service:voyager Host:a");
    }

    #[test]
    fn words_that_point_at_nothing_are_told_how_to() {
        for (line, says) in [
            ("service", "`KIND NAME` or `KIND/NAME`"),
            ("service/feed voyager", "`voyager` mixes them"),
            ("service host/a", "`a` mixes them"),
            ("pod/feed", "unknown kind `pod`"),
            ("service feed pod/a", "unknown kind `pod`"),
            ("service/Feed", "`Feed`"),
        ] {
            let said = told(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}
