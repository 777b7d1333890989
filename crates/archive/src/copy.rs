//! Which parts are copied, and what may be said of them in the store.
//!
//! Guarantees: a listing is of one moment of the engine, less what is not uploaded yet; it never names an object that was
//! not uploaded before. It takes the place of the one before only when nothing that this one named is missing: what was
//! merged or written anew since is covered by parts that are uploaded, or was dropped here. All of it is pure.
//!
//! In the store an object of a part is named after the SHA-256 of its bytes, so that one upload is enough whoever begins it
//! again, and a listing after its number, which nobody gives twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The version of [`Listing`]'s form.
pub const FORMAT: u32 = 1;
/// Uploads after which a listing is written though more are to come: a long first copy is of use before its end.
pub const UPLOADS_PER_LISTING: usize = 16;
/// Where parts are in the store.
pub const PARTS: &str = "parts";
/// Where listings are.
pub const LISTINGS: &str = "listings";

/// What tells a part from every other of its engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The file's name.
    pub name: String,
    /// The file's length.
    pub bytes: u64,
    /// Samples in it.
    pub samples: u64,
    /// Time of the oldest, in milliseconds.
    pub oldest_ms: i64,
    /// Time of the newest.
    pub newest_ms: i64,
    /// The first and the last generation in it.
    pub generations: (u64, u64),
}

impl Mark {
    fn overlaps(&self, other: &Self) -> bool {
        self.generations.0 <= other.generations.1 && other.generations.0 <= self.generations.1
    }
}

/// A part in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which it is.
    #[serde(flatten)]
    pub mark: Mark,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// What is copied, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose parts these are.
    pub server: String,
    /// Its number; the one with the largest counts.
    pub version: u64,
    /// When it was written, on the server's clock.
    pub at_ms: i64,
    /// The parts.
    pub parts: Vec<Entry>,
    /// The engine's manifest of them.
    pub manifest: String,
}

/// The object of a part.
pub fn part_object(sha256: &str) -> String {
    format!("{PARTS}/{sha256}.part")
}

/// The SHA-256 in the last piece of the name of such an object.
pub fn sha256_in(name: &str) -> Option<&str> {
    let digits = name.strip_suffix(".part")?;
    let is_hex = digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    is_hex.then_some(digits)
}

/// The object of a listing.
pub fn listing_object(version: u64) -> String {
    format!("{LISTINGS}/{version:016x}.json")
}

/// The number in the last piece of the name of such an object.
pub fn version_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// A part of the engine now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Which it is.
    pub mark: Mark,
    /// Whether it is not merged soon.
    pub rests: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Upload this one of the engine's parts.
    Upload(usize),
    /// Write a listing, unless it would say what the last one does.
    List,
    /// Wait until something changes.
    Rest,
}

/// Parts that are uploaded, by what they are, with their SHA-256.
pub type Uploaded = BTreeMap<Mark, String>;

/// What to do next, where `listed` is the listing that counts, `damaged` cannot be copied, and `fresh` uploads were not
/// listed yet.
pub fn next(
    listed: &[Entry],
    local: &[Local],
    uploaded: &Uploaded,
    damaged: &BTreeSet<Mark>,
    fresh: usize,
) -> Step {
    let waits = |it: &Local| it.rests && !uploaded.contains_key(&it.mark);
    let missing = local
        .iter()
        .position(|it| waits(it) && !damaged.contains(&it.mark));
    let may_list = may_list(listed, local, uploaded, damaged);
    match missing {
        Some(at) if fresh < UPLOADS_PER_LISTING || !may_list => Step::Upload(at),
        Some(_) | None if may_list => Step::List,
        Some(_) | None => Step::Rest,
    }
}

/// Whether a listing of what is uploaded would hold all that the last one does, but for what was dropped here.
fn may_list(
    listed: &[Entry],
    local: &[Local],
    uploaded: &Uploaded,
    damaged: &BTreeSet<Mark>,
) -> bool {
    let is_here = |mark: &Mark| local.iter().any(|it| it.mark == *mark);
    let is_done = |mark: &Mark| uploaded.contains_key(mark) || damaged.contains(mark);
    let gone = listed.iter().filter(|it| !is_here(&it.mark));
    let covered = |gone: &Entry| {
        let mut heirs = local.iter().filter(|it| it.mark.overlaps(&gone.mark));
        heirs.all(|it| is_done(&it.mark))
    };
    gone.into_iter().all(covered)
}

/// Which listings may go, of all with when each was written, where they are of use for `keep_ms` after another took their
/// place. The newest never goes.
pub fn expired(listings: &BTreeMap<u64, i64>, keep_ms: i64, now_ms: i64) -> Vec<u64> {
    let successors = listings.values().skip(1);
    let old = listings.keys().zip(successors);
    old.filter(|(_, replaced_ms)| replaced_ms.saturating_add(keep_ms) <= now_ms)
        .map(|(version, _)| *version)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, generations: (u64, u64)) -> Mark {
        Mark {
            name: name.to_owned(),
            bytes: 1,
            samples: 1,
            oldest_ms: 0,
            newest_ms: 0,
            generations,
        }
    }

    fn local(name: &str, generations: (u64, u64)) -> Local {
        let mark = mark(name, generations);
        Local { mark, rests: true }
    }

    fn entry(name: &str, generations: (u64, u64)) -> Entry {
        Entry {
            mark: mark(name, generations),
            sha256: String::new(),
        }
    }

    fn uploaded(local: &[&Local]) -> Uploaded {
        let one = |it: &&Local| (it.mark.clone(), String::new());
        local.iter().map(one).collect()
    }

    #[test]
    fn what_rests_is_uploaded_oldest_first_and_then_listed() {
        let (a, mut b) = (local("a", (0, 1)), local("b", (2, 3)));
        let none = BTreeSet::new();
        let parts = [a.clone(), b.clone()];
        assert_eq!(next(&[], &parts, &uploaded(&[]), &none, 0), Step::Upload(0));
        let step = next(&[], &parts, &uploaded(&[&a]), &none, 1);
        assert_eq!(step, Step::Upload(1));
        let many = next(&[], &parts, &uploaded(&[&a]), &none, UPLOADS_PER_LISTING);
        assert_eq!(
            many,
            Step::List,
            "a long first copy is listed before its end"
        );
        let all = uploaded(&[&a, &b]);
        assert_eq!(next(&[], &parts, &all, &none, 2), Step::List);
        b.rests = false;
        let step = next(&[], &[a.clone(), b], &uploaded(&[&a]), &none, 1);
        assert_eq!(step, Step::List, "what is merged soon is not waited for");
    }

    #[test]
    fn a_listing_does_not_lose_what_was_merged_until_that_is_uploaded() {
        let listed = [entry("a", (0, 1)), entry("b", (2, 3))];
        let (merged, new) = (local("c", (0, 3)), local("d", (4, 4)));
        let none = BTreeSet::new();
        let parts = [merged.clone(), new.clone()];
        let many = UPLOADS_PER_LISTING;
        assert_eq!(
            next(&listed, &parts, &uploaded(&[&new]), &none, many),
            Step::Upload(0)
        );
        let busy = Local {
            rests: false,
            ..merged.clone()
        };
        let step = next(&listed, &[busy, new.clone()], &uploaded(&[&new]), &none, 1);
        assert_eq!(step, Step::Rest, "it is merged once more");
        let step = next(&listed, &parts, &uploaded(&[&merged, &new]), &none, 1);
        assert_eq!(step, Step::List);
        let step = next(
            &listed,
            std::slice::from_ref(&new),
            &uploaded(&[&new]),
            &none,
            0,
        );
        assert_eq!(step, Step::List, "what was dropped here is dropped there");
    }

    #[test]
    fn a_damaged_part_stops_no_other() {
        let (a, b) = (local("a", (0, 1)), local("b", (2, 3)));
        let damaged: BTreeSet<Mark> = [a.mark.clone()].into();
        let parts = [a, b.clone()];
        assert_eq!(
            next(&[], &parts, &uploaded(&[]), &damaged, 0),
            Step::Upload(1)
        );
        assert_eq!(next(&[], &parts, &uploaded(&[&b]), &damaged, 1), Step::List);
    }

    #[test]
    fn a_listing_goes_some_time_after_another_took_its_place() {
        let all: BTreeMap<u64, i64> = [(1, 100), (2, 200), (3, 300)].into();
        assert_eq!(expired(&all, 50, 249), Vec::<u64>::new());
        assert_eq!(expired(&all, 50, 250), [1]);
        assert_eq!(expired(&all, 0, 300), [1, 2]);
        assert_eq!(expired(&[(3, 300)].into(), 0, i64::MAX), Vec::<u64>::new());
    }

    #[test]
    fn names_of_objects_read_back() {
        let digits = "0123456789abcdef".repeat(4);
        let object = part_object(&digits);
        assert_eq!(
            sha256_in(object.rsplit('/').next().unwrap()),
            Some(&*digits)
        );
        assert_eq!(sha256_in("x.part"), None);
        assert_eq!(
            version_in(listing_object(77).rsplit('/').next().unwrap()),
            Some(77)
        );
        assert_eq!(version_in("77.json"), None);
    }
}
