//! `[[scrape]]` lists jobs; `[scrape]` names the file of a Prometheus that does.

use std::{fmt, path::PathBuf};

use mainstay_ekg::job::{Job, JobError, Section};
use serde::{
    Deserialize, Deserializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// What is scraped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scrape {
    /// These.
    Jobs(Vec<Job>),
    /// What a Prometheus's configuration says, and its rules and Alertmanagers.
    Prometheus {
        /// Where it is.
        prometheus_config: PathBuf,
    },
}

impl Default for Scrape {
    fn default() -> Self {
        Self::Jobs(Vec::new())
    }
}

impl Scrape {
    /// The jobs that are known.
    pub(crate) fn jobs(&self) -> &[Job] {
        match self {
            Self::Jobs(jobs) => jobs,
            Self::Prometheus { .. } => &[],
        }
    }

    /// The jobs, to be run.
    pub(crate) fn into_jobs(self) -> Vec<Job> {
        match self {
            Self::Jobs(jobs) => jobs,
            Self::Prometheus { .. } => Vec::new(),
        }
    }
}

/// A job that holds; what is wrong with it is told with its line.
#[derive(Deserialize)]
#[serde(try_from = "Section")]
struct Sound(Job);

impl TryFrom<Section> for Sound {
    type Error = JobError;

    fn try_from(section: Section) -> Result<Self, JobError> {
        Job::try_from(section).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    prometheus_config: PathBuf,
}

impl<'de> Deserialize<'de> for Scrape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Scrape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("jobs, each a [[scrape]], or a [scrape] with `prometheus_config`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, jobs: A) -> Result<Scrape, A::Error> {
        let jobs = Vec::<Sound>::deserialize(SeqAccessDeserializer::new(jobs))?;
        Ok(Scrape::Jobs(jobs.into_iter().map(|it| it.0).collect()))
    }

    fn visit_map<A: MapAccess<'de>>(self, named: A) -> Result<Scrape, A::Error> {
        let Named { prometheus_config } = Named::deserialize(MapAccessDeserializer::new(named))?;
        Ok(Scrape::Prometheus { prometheus_config })
    }
}
