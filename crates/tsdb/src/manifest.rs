//! The manifest: which parts there are, and from where on the log is needed.
//!
//! Guarantees: it is replaced as a whole and durable before anybody relies on it; one that is damaged is told from one
//! that is not. What it does not list is not there: a part that was being written when the process died is removed.
//!
//! A text, so that it can be read in need: `log` and the first segment that is needed; `next` and the numbers of the
//! next part and the next generation; a line for each part, those with older generations first; a line for each
//! [`Grave`]; the CRC32C of all that.

use std::{fmt::Write as _, io};

use mainstay_wal::Disk;

use crate::{
    grave::{self, Grave},
    part,
};

const NAME: &str = "manifest";
const VERSION: &str = "parts 1";
/// What it may have: enough for a million parts.
const MAX_BYTES: u64 = 32 << 20;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The first segment of the log that is needed.
    pub(crate) log_from: u64,
    pub(crate) next_part: u64,
    pub(crate) next_generation: u64,
    /// Parts, those with older generations first.
    pub(crate) parts: Vec<u64>,
    /// What was removed of them.
    pub(crate) graves: Vec<Grave>,
}

/// What was found of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole(Manifest),
    Damaged,
    Nothing,
}

impl Manifest {
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Found> {
        let bytes = match disk.read(NAME, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Found::Damaged),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8(bytes).ok();
        let read = text.and_then(|text| Self::parse(&text));
        Ok(read.map_or(Found::Damaged, Found::Whole))
    }

    /// The name and the bytes of its file.
    pub(crate) fn file(&self) -> (&'static str, String) {
        (NAME, self.text())
    }

    /// Makes it the one that counts.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.replace(NAME, self.text().as_bytes())
    }

    /// Puts `part` where the first of `replaced` stood, or at the end, and takes these out: of what was removed of them
    /// nothing is left.
    pub(crate) fn replace(&mut self, replaced: &[u64], part: Option<u64>) {
        let first = self.parts.iter().position(|it| replaced.contains(it));
        let at = first.unwrap_or(self.parts.len());
        self.parts.retain(|it| !replaced.contains(it));
        for grave in &mut self.graves {
            grave.parts.retain(|it| !replaced.contains(it));
        }
        self.graves.retain(|grave| !grave.parts.is_empty());
        if let Some(part) = part {
            self.parts.insert(at, part);
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{VERSION}\nlog {}\nnext {} {}\n",
            self.log_from, self.next_part, self.next_generation
        );
        for id in &self.parts {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", part::name(*id));
        }
        for grave in &self.graves {
            let _ = writeln!(text, "{}", grave.text());
        }
        let crc = crc32c::crc32c(text.as_bytes());
        text + &format!("crc {crc:08x}\n")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (covered, _) = text.rsplit_once("crc ")?;
        let mut lines = covered.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let log_from = lines.next()?.strip_prefix("log ")?.parse().ok()?;
        let (part, generation) = lines.next()?.strip_prefix("next ")?.split_once(' ')?;
        let (graves, parts): (Vec<_>, Vec<_>) = lines.partition(|it| it.starts_with(grave::WORD));
        let read = Self {
            log_from,
            next_part: part.parse().ok()?,
            next_generation: generation.parse().ok()?,
            parts: parts.into_iter().map(part::id).collect::<Option<_>>()?,
            graves: graves
                .into_iter()
                .map(Grave::parse)
                .collect::<Option<_>>()?,
        };
        // One way to write it: so no byte of it may differ.
        (read.text() == text).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_wal::MemoryDisk;

    fn grave(parts: &[u64]) -> Grave {
        Grave {
            matchers: vec![crate::Matcher::new("job", crate::MatchOp::Regex, "a b|c").unwrap()],
            window: (-5, i64::MAX),
            at_ms: 7,
            parts: parts.iter().copied().collect(),
        }
    }

    #[test]
    fn a_manifest_comes_back_and_any_damaged_byte_of_it_is_found() {
        let disk = MemoryDisk::default();
        assert_eq!(Manifest::read(&disk).unwrap(), Found::Nothing);
        let mut manifest = Manifest {
            log_from: 7,
            next_part: 12,
            next_generation: 20,
            parts: vec![3, 9, 10, 11],
            graves: vec![grave(&[9, 11]), grave(&[9, 10])],
        };
        manifest.replace(&[9, 10], Some(12));
        assert_eq!(manifest.parts, [3, 12, 11]);
        assert_eq!(manifest.graves, [grave(&[11])]);
        manifest.write(&disk).unwrap();
        disk.crash(|_| 0);
        for at in 0..manifest.text().len() {
            disk.damage(NAME, at);
            assert_eq!(Manifest::read(&disk).unwrap(), Found::Damaged, "byte {at}");
            disk.damage(NAME, at);
        }
        assert_eq!(Manifest::read(&disk).unwrap(), Found::Whole(manifest));
    }
}
