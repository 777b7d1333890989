//! What could not be read, and who hears of it.
//!
//! Guarantees: whoever reads says whether damage ends the reading or is noted and passed over; nothing is passed over
//! without a note. A page that was found damaged is not read again: it is quarantined where it lies, told to the log
//! once, and its part is served without it, and not merged.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{ReadError, Tsdb};

/// Places told of one reading; the rest are counted.
const TOLD_MAX: usize = 8;

/// What a reading had to do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    found: Vec<ReadError>,
    left_out: bool,
}

impl Damage {
    /// Whether everything was read.
    pub fn is_none(&self) -> bool {
        self.found.is_empty()
    }

    /// What somebody who reads an answer should know of it.
    pub fn warnings(&self) -> Vec<String> {
        let told = |error: &ReadError| format!("samples are missing here: {error}");
        let more = self
            .left_out
            .then(|| "samples of more damaged places are missing here".to_owned());
        self.found.iter().map(told).chain(more).collect()
    }

    pub(crate) fn into_errors(self) -> impl Iterator<Item = ReadError> {
        self.found.into_iter()
    }

    fn note(&mut self, error: ReadError) {
        if self.found.contains(&error) {
            return;
        }
        if self.found.len() < TOLD_MAX {
            self.found.push(error);
        } else {
            self.left_out = true;
        }
    }
}

/// What becomes of damage that a reading meets.
#[derive(Debug)]
pub(crate) enum Tolerance<'a> {
    /// The reading ends with it.
    Strict,
    /// It is noted, and what it holds is left out.
    Noting(&'a mut Damage),
}

impl Tolerance<'_> {
    /// Goes on, if it may.
    pub(crate) fn forgive(&mut self, error: ReadError) -> Result<(), ReadError> {
        match self {
            Self::Strict => Err(error),
            Self::Noting(damage) => {
                damage.note(error);
                Ok(())
            }
        }
    }
}

/// Parts that are listed and cannot be opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unserved(Arc<Mutex<Vec<ReadError>>>);

impl Unserved {
    pub(crate) fn set(&self, errors: &[ReadError]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = errors.to_vec();
    }

    pub(crate) fn get(&self) -> Vec<ReadError> {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.clone()
    }
}

/// How much is known to be damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Parts of which nothing can be served.
    pub parts: usize,
    /// Damaged pages of the others, as far as somebody needed them.
    pub pages: usize,
}

impl Tsdb {
    /// How much of what is kept is known to be damaged.
    pub fn quarantined(&self) -> Quarantined {
        let view = self.view();
        Quarantined {
            parts: self.unserved().len(),
            pages: view.parts.iter().map(|part| part.quarantined()).sum(),
        }
    }
}
