//! Parts: files of samples that never change.
//!
//! Guarantees: a part gives back what went into it, bit for bit: samples, labels, when counters were born. Opening
//! one reads its index's root and nothing of its samples; a selection reads the pages that it needs, each checked.
//! A byte that is not what was written is found by those who need it and named by part and place; everything else is
//! served. Parts know which generations they hold, so that the order in which samples came in survives merging.
//!
//! A part is columns: series sorted by labels in blocks, each with where its pieces are; timestamps, written once for
//! all series that share them; values, each piece in the smallest of several codes; postings to find series by labels.

mod find;
mod histograms;
mod index;
mod ints;
mod mask;
mod pages;
mod read;
mod series;
mod values;
mod write;

use mainstay_wal::{Disk, number_in_name, numbered_name};

use crate::{
    Labels, ReadError, Resolution,
    cursor::{Cursor, put_varint, put_zigzag},
    damage::Tolerance,
    memtable::Columns,
};

use index::Names;
use pages::{Pages, Span};
use read::{Reader, Walk};
pub(crate) use write::PartWriter;

const SUFFIX: &str = ".part";

/// How far a part is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// One generation of the head.
    Generation = 0,
    /// What came in in about an hour.
    Hour = 1,
    /// What came in in about a day: it is not merged any more.
    Day = 2,
    /// Summaries of five minutes.
    FiveMinutes = 3,
    /// Summaries of an hour.
    OneHour = 4,
}

impl Tier {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Generation,
            Self::Hour,
            Self::Day,
            Self::FiveMinutes,
            Self::OneHour,
        ];
        all.into_iter().find(|tier| *tier as u8 == byte)
    }
}

/// What stands for the generations of samples that never were in the head.
pub(crate) const IMPORTED: (u64, u64) = (u64::MAX, u64::MAX);

/// What there is in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) tier: Tier,
    /// The first and the last generation in it.
    pub(crate) generations: (u64, u64),
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
}

impl Meta {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.tier as u8);
        put_varint(out, self.generations.0);
        put_varint(out, self.generations.1);
        put_varint(out, u64::from(self.series));
        put_varint(out, self.samples);
        put_zigzag(out, self.oldest_ms);
        put_zigzag(out, self.newest_ms);
    }

    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            tier: Tier::of(cursor.byte()?)?,
            generations: (cursor.varint()?, cursor.varint()?),
            series: u32::try_from(cursor.varint()?).ok()?,
            samples: cursor.varint()?,
            oldest_ms: cursor.zigzag()?,
            newest_ms: cursor.zigzag()?,
        })
    }
}

/// The name of part `id`.
pub(crate) fn name(id: u64) -> String {
    numbered_name(id, SUFFIX)
}

/// The id in a part's name.
pub(crate) fn id(name: &str) -> Option<u64> {
    number_in_name(name, SUFFIX)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Part {
    id: u64,
    pages: Pages,
    meta: Meta,
    base_ms: i64,
    /// The pages of blocks of series.
    blocks: Vec<u32>,
    names: Names,
    /// What was removed since it was written.
    masks: mask::Masks,
}

impl Part {
    /// Opens part `id`: reads what says where everything is.
    pub(crate) fn open(disk: &dyn Disk, id: u64) -> Result<Self, ReadError> {
        let name = name(id);
        let file = disk.open(&name).map_err(|error| ReadError::Disk {
            part: name.clone(),
            offset: 0,
            error: error.to_string(),
        })?;
        let pages = Pages::open(&name, file)?;
        let root = pages.read(pages.root())?;
        let read = Self::read_root(&root);
        let (meta, base_ms, blocks, names) = read.ok_or_else(|| pages.senseless(pages.root()))?;
        Ok(Self {
            id,
            pages,
            meta,
            base_ms,
            blocks,
            names,
            masks: mask::Masks::default(),
        })
    }

    fn read_root(root: &[u8]) -> Option<(Meta, i64, Vec<u32>, Names)> {
        let mut cursor = Cursor::new(root);
        let meta = Meta::take(&mut cursor)?;
        let base_ms = cursor.zigzag()?;
        let count = cursor.count(root.len())?;
        let (mut blocks, mut page) = (Vec::with_capacity(count), 0_u32);
        for _ in 0..count {
            page = page.checked_add(u32::try_from(cursor.varint()?).ok()?)?;
            blocks.push(page);
        }
        let (mut names, mut page) = (Names::new(), 0);
        while !cursor.is_empty() {
            let name = cursor.text()?.into();
            names.insert(name, Span::take(&mut cursor, &mut page)?);
        }
        Some((meta, base_ms, blocks, names))
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How long the windows are that its samples are summaries of; none where they are as they came in.
    pub(crate) fn resolution(&self) -> Option<Resolution> {
        match self.meta.tier {
            Tier::Generation | Tier::Hour | Tier::Day => None,
            Tier::FiveMinutes => Some(Resolution::FiveMinutes),
            Tier::OneHour => Some(Resolution::Hour),
        }
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &str {
        self.pages.name()
    }

    /// The file's length.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages.bytes()
    }

    pub(crate) fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.meta.oldest_ms <= end_ms && self.meta.newest_ms >= start_ms
    }

    /// Label names, ascending.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// Reads bytes of the file as they are.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.pages.read_at(offset, into)
    }

    /// Reads everything, and says what is damaged first.
    pub(crate) fn check(&self) -> Result<(), ReadError> {
        self.pages.check()
    }

    /// Damaged pages that somebody needed.
    pub(crate) fn quarantined(&self) -> usize {
        self.pages.quarantined()
    }

    /// All series with all their samples that were not removed, one after another.
    pub(crate) fn contents(&self) -> Contents<'_> {
        Contents {
            part: self,
            walk: Walk::new(self),
            reader: Reader::new(self),
            masked: self.masks.now(),
            next: 0,
        }
    }
}

/// What a part holds, in the order of labels.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    part: &'a Part,
    walk: Walk<'a>,
    reader: Reader<'a>,
    masked: mask::Masked,
    next: u32,
}

impl Contents<'_> {
    /// The labels of the next series, if there is one.
    pub(crate) fn labels(&mut self) -> Result<Option<Labels>, ReadError> {
        if self.next >= self.part.meta.series {
            return Ok(None);
        }
        self.walk.series(self.next)?;
        self.next += 1;
        self.walk.labels().map(Some)
    }

    /// When the series told last was born, and its samples.
    pub(crate) fn samples(&mut self) -> Result<(Option<i64>, Columns), ReadError> {
        self.samples_within((i64::MIN, i64::MAX))
    }

    /// The same of a window, both ends included.
    pub(crate) fn samples_within(
        &mut self,
        window: (i64, i64),
    ) -> Result<(Option<i64>, Columns), ReadError> {
        let mut columns = Columns::default();
        let series = self.walk.stored();
        self.reader
            .read(series, window, &mut Tolerance::Strict, &mut columns)?;
        self.masked.apply(self.next - 1, &mut columns);
        Ok((series.born_ms, columns))
    }
}

#[cfg(test)]
mod tests;
