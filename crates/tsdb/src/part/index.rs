//! Which series of a part have which labels, on disk.
//!
//! Guarantees: a selection by exact values, alternatives or a prefix reads the tables that may hold those values and
//! no others; what it reads is checked. In memory stand the names of labels only.
//!
//! For each name a directory (the first value of each table, and where the table is); tables of ascending values,
//! each with where its postings are; postings as runs of neighbouring series.

use std::{collections::BTreeMap, io};

use super::pages::{Filling, Lens, PageWriter, Pages, Span};
use crate::{
    IdSet, ReadError,
    cursor::{Cursor, put_text, put_text_bytes, put_varint},
    index::Postings,
    matcher::Wanted,
};

/// Bytes after which a table of values ends.
const TABLE_BYTES: usize = 4 << 10;

/// Label names, and where their directories are.
pub(super) type Names = BTreeMap<Box<str>, Span>;

/// Series as runs.
#[derive(Debug, Default)]
struct Runs {
    bytes: Vec<u8>,
    /// After the last run that was written.
    end: u32,
    from: u32,
    len: u32,
}

impl Runs {
    fn push(&mut self, id: u32) {
        if self.len > 0 && id == self.from + self.len {
            self.len += 1;
            return;
        }
        self.close();
        (self.from, self.len) = (id, 1);
    }

    fn close(&mut self) {
        if self.len > 0 {
            put_varint(&mut self.bytes, u64::from(self.from - self.end));
            put_varint(&mut self.bytes, u64::from(self.len));
            (self.end, self.len) = (self.from + self.len, 0);
        }
    }
}

/// Gathers labels until all series are known. It holds each value once and a few bytes for each run.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    postings: BTreeMap<Box<str>, BTreeMap<Box<str>, Runs>>,
}

impl Gathering {
    /// Adds series `id`, higher than those before.
    pub(super) fn push<'a>(&mut self, id: u32, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in labels {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.postings.get_mut(name) else {
                continue;
            };
            if let Some(runs) = values.get_mut(value) {
                runs.push(id);
            } else {
                let mut runs = Runs::default();
                runs.push(id);
                values.insert(value.into(), runs);
            }
        }
    }

    /// Writes all of it.
    pub(super) fn write(self, pages: &mut PageWriter) -> io::Result<Names> {
        let (mut postings, mut tables) = (Filling::default(), Filling::default());
        let mut names = Names::new();
        for (name, values) in self.postings {
            let mut directory = Vec::new();
            let mut page = 0;
            let mut table = Table::default();
            for (value, mut runs) in values {
                runs.close();
                let span = postings.put(pages, |out| out.extend_from_slice(&runs.bytes))?;
                table.push(&value, span);
                if table.bytes.len() >= TABLE_BYTES {
                    let table = std::mem::take(&mut table);
                    table.write(pages, &mut tables, (&mut directory, &mut page))?;
                }
            }
            table.write(pages, &mut tables, (&mut directory, &mut page))?;
            let span = tables.put(pages, |out| out.extend_from_slice(&directory))?;
            names.insert(name, span);
        }
        postings.flush(pages)?;
        tables.flush(pages)?;
        Ok(names)
    }
}

/// A table of values that is being written.
#[derive(Default)]
struct Table {
    first: Box<str>,
    value: Box<str>,
    page: u32,
    bytes: Vec<u8>,
}

impl Table {
    fn push(&mut self, value: &str, postings: Span) {
        if self.bytes.is_empty() {
            self.first = value.into();
        }
        let pairs = self.value.bytes().zip(value.bytes());
        let shared = pairs.take_while(|(a, b)| a == b).count();
        put_varint(&mut self.bytes, shared as u64);
        put_text_bytes(&mut self.bytes, &value.as_bytes()[shared..]);
        postings.put(&mut self.bytes, &mut self.page);
        self.value = value.into();
    }

    fn write(
        self,
        pages: &mut PageWriter,
        tables: &mut Filling,
        (directory, page): (&mut Vec<u8>, &mut u32),
    ) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let span = tables.put(pages, |out| out.extend_from_slice(&self.bytes))?;
        put_text(directory, &self.first);
        span.put(directory, page);
        Ok(())
    }
}

/// The labels of a part, to look up.
pub(super) struct Index<'a> {
    pub(super) pages: &'a Pages,
    pub(super) names: &'a Names,
    pub(super) series: u32,
}

impl Index<'_> {
    /// The tables of a label's values: the first value of each, and where it is.
    fn tables(&self, lens: &mut Lens<'_>, name: &str) -> Result<Vec<(String, Span)>, ReadError> {
        let Some(directory) = self.names.get(name) else {
            return Ok(Vec::new());
        };
        lens.read(*directory, read_directory)
    }

    /// All values of a label, ascending.
    pub(super) fn listed(&self, name: &str) -> Result<Vec<String>, ReadError> {
        let mut lens = Lens::new(self.pages);
        let mut listed = Vec::new();
        for (_, table) in self.tables(&mut lens, name)? {
            let values = lens.read(table, read_table)?;
            listed.extend(values.into_iter().map(|(value, _)| value));
        }
        Ok(listed)
    }

    fn collect_exact<'v>(
        &self,
        name: &str,
        wanted: impl Iterator<Item = &'v str>,
        into: &mut IdSet,
    ) -> Result<(), ReadError> {
        let (mut lens, mut postings) = (Lens::new(self.pages), Lens::new(self.pages));
        let tables = self.tables(&mut lens, name)?;
        let mut held: Option<(Span, Vec<(String, Span)>)> = None;
        for wanted in wanted {
            let after = tables.partition_point(|(first, _)| first.as_str() <= wanted);
            let Some((_, table)) = after.checked_sub(1).and_then(|at| tables.get(at)) else {
                continue;
            };
            if held.as_ref().is_none_or(|(span, _)| span != table) {
                held = Some((*table, lens.read(*table, read_table)?));
            }
            let values = held.as_ref().map_or(&[][..], |(_, values)| values);
            let found = values.binary_search_by(|(value, _)| value.as_str().cmp(wanted));
            if let Some((_, runs)) = found.ok().and_then(|at| values.get(at)) {
                postings.read(*runs, |bytes| read_runs(bytes, into))?;
            }
        }
        Ok(())
    }
}

impl Postings for Index<'_> {
    type Error = ReadError;

    fn universe(&self) -> u32 {
        self.series
    }

    fn collect(&self, name: &str, wanted: &Wanted<'_>, into: &mut IdSet) -> Result<(), ReadError> {
        if let Some(exact) = wanted.exact() {
            return self.collect_exact(name, exact, into);
        }
        let prefix = wanted.prefix();
        let (mut lens, mut postings) = (Lens::new(self.pages), Lens::new(self.pages));
        let tables = self.tables(&mut lens, name)?;
        let after = tables.partition_point(|(first, _)| first.as_str() <= prefix);
        let near = tables.iter().skip(after.saturating_sub(1));
        let within = |first: &str| first <= prefix || first.starts_with(prefix);
        for (_, table) in near.take_while(|(first, _)| within(first)) {
            for (value, runs) in lens.read(*table, read_table)? {
                if value.starts_with(prefix) && wanted.has(&value) {
                    postings.read(runs, |bytes| read_runs(bytes, into))?;
                }
            }
        }
        Ok(())
    }
}

fn read_directory(bytes: &[u8]) -> Option<Vec<(String, Span)>> {
    let mut cursor = Cursor::new(bytes);
    let (mut tables, mut page) = (Vec::new(), 0);
    while !cursor.is_empty() {
        let first = cursor.text()?.to_owned();
        tables.push((first, Span::take(&mut cursor, &mut page)?));
    }
    Some(tables)
}

fn read_table(bytes: &[u8]) -> Option<Vec<(String, Span)>> {
    let mut cursor = Cursor::new(bytes);
    let (mut values, mut value, mut page) = (Vec::new(), Vec::new(), 0);
    while !cursor.is_empty() {
        let shared = cursor.count(value.len())?;
        value.truncate(shared);
        let more = cursor.count(cursor.rest().len())?;
        value.extend_from_slice(cursor.take(more)?);
        let text = std::str::from_utf8(&value).ok()?.to_owned();
        values.push((text, Span::take(&mut cursor, &mut page)?));
    }
    Some(values)
}

fn read_runs(bytes: &[u8], into: &mut IdSet) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    let mut end = 0_u32;
    while !cursor.is_empty() {
        let from = end.checked_add(u32::try_from(cursor.varint()?).ok()?)?;
        let len = u32::try_from(cursor.varint()?).ok()?;
        into.insert_run(from, len);
        end = from.checked_add(len)?;
    }
    Some(())
}
