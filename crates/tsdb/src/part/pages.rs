//! The file under a part: pages with checksums, found by number.
//!
//! Guarantees: each byte of the file is covered: pages, their directory and the footer by a CRC32C each, the magic
//! at both ends by being what it is. A byte that is not what was written is found by whoever reads its page, and
//! only by them. The file is written front to back and synced at the end; its last bytes say where all others are.
//!
//! Magic with the version (8 bytes); pages; directory; footer: where the directory begins (8), its length (4), the
//! root page's number (4), the directory's CRC32C (4), CRC32C of these (4), magic (8). All little-endian.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use mainstay_wal::{DiskFile, DiskRead};

use crate::{
    ReadError,
    cursor::{Cursor, put_varint, put_zigzag},
};

/// The format's version is the last byte.
const MAGIC: &[u8; 8] = b"mstprt\0\x01";
const FOOTER_BYTES: u64 = 32;
const CRC_BYTES: usize = 4;

/// A page that has so many bytes is written.
const PAGE_BYTES: usize = 32 << 10;
/// What a page may have: a block of series with the longest labels takes less.
const MAX_PAGE_BYTES: usize = 64 << 20;
/// Bytes that are gathered before the file gets them.
const GATHERED_BYTES: usize = 1 << 20;

/// Some bytes inside a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) page: u32,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Span {
    /// Writes it as what follows one in the page `before`.
    pub(super) fn put(self, out: &mut Vec<u8>, before: &mut u32) {
        put_zigzag(out, i64::from(self.page) - i64::from(*before));
        put_varint(out, u64::from(self.at));
        put_varint(out, u64::from(self.len));
        *before = self.page;
    }

    pub(super) fn take(cursor: &mut Cursor<'_>, before: &mut u32) -> Option<Self> {
        let page = i64::from(*before).checked_add(cursor.zigzag()?)?;
        *before = u32::try_from(page).ok()?;
        Some(Self {
            page: *before,
            at: u32::try_from(cursor.varint()?).ok()?,
            len: u32::try_from(cursor.varint()?).ok()?,
        })
    }
}

/// Where a page stands; its checksum follows it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    offset: u64,
    len: u32,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct PageWriter {
    file: Box<dyn DiskFile>,
    gathered: Vec<u8>,
    offset: u64,
    places: Vec<Place>,
}

impl PageWriter {
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        Self {
            file,
            gathered: MAGIC.to_vec(),
            offset: MAGIC.len() as u64,
            places: Vec::new(),
        }
    }

    /// The number of a page that is written later, as each one must be.
    fn reserve(&mut self) -> u32 {
        self.places.push(Place::default());
        self.places.len() as u32 - 1
    }

    fn write(&mut self, page: u32, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_PAGE_BYTES {
            let what = format!("{} bytes are too many for one page", bytes.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        if let Some(place) = self.places.get_mut(page as usize) {
            place.offset = self.offset;
            place.len = bytes.len() as u32;
        }
        self.gather(bytes)?;
        self.gather(&crc32c::crc32c(bytes).to_le_bytes())
    }

    /// Adds a page.
    pub(super) fn page(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let page = self.reserve();
        self.write(page, bytes).map(|()| page)
    }

    fn gather(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.gathered.len() >= GATHERED_BYTES {
            self.file.append(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }

    /// Ends the file and makes it durable; its name is not yet.
    pub(super) fn finish(mut self, root: u32) -> io::Result<()> {
        let mut directory = Vec::new();
        let mut end = 0;
        for place in &self.places {
            put_zigzag(&mut directory, place.offset as i64 - end);
            put_varint(&mut directory, u64::from(place.len));
            end = place.offset as i64 + i64::from(place.len) + CRC_BYTES as i64;
        }
        let mut footer = self.offset.to_le_bytes().to_vec();
        footer.extend_from_slice(&(directory.len() as u32).to_le_bytes());
        footer.extend_from_slice(&root.to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&directory).to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
        footer.extend_from_slice(MAGIC);
        self.gather(&directory)?;
        self.gather(&footer)?;
        self.file.append(&self.gathered)?;
        self.file.sync()
    }
}

/// A page that is being filled with pieces.
#[derive(Debug, Default)]
pub(super) struct Filling {
    page: Option<u32>,
    bytes: Vec<u8>,
}

impl Filling {
    /// Adds what `write` writes as one piece.
    pub(super) fn put(
        &mut self,
        pages: &mut PageWriter,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<Span> {
        let page = *self.page.get_or_insert_with(|| pages.reserve());
        let at = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() >= PAGE_BYTES {
            let len = self.bytes.len();
            self.flush(pages)?;
            return Ok(span(page, at, len));
        }
        Ok(span(page, at, self.bytes.len()))
    }

    /// Writes the page that is not full yet.
    pub(super) fn flush(&mut self, pages: &mut PageWriter) -> io::Result<()> {
        let Some(page) = self.page.take() else {
            return Ok(());
        };
        let written = pages.write(page, &self.bytes);
        self.bytes.clear();
        written
    }
}

fn span(page: u32, from: usize, to: usize) -> Span {
    Span {
        page,
        at: from as u32,
        len: (to - from) as u32,
    }
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Pages {
    name: String,
    file: Box<dyn DiskRead>,
    places: Vec<Place>,
    root: u32,
    bytes: u64,
    /// Pages that are not what was written.
    quarantine: Mutex<BTreeMap<u32, ReadError>>,
}

impl Pages {
    /// Reads the footer and the directory.
    pub(super) fn open(name: &str, file: Box<dyn DiskRead>) -> Result<Self, ReadError> {
        let mut pages = Self {
            name: name.to_owned(),
            file,
            places: Vec::new(),
            root: 0,
            bytes: 0,
            quarantine: Mutex::default(),
        };
        pages.bytes = pages.file.len().map_err(|error| pages.failed(0, &error))?;
        let magic = pages.bytes_at(0, MAGIC.len())?;
        let footer_at = pages.bytes.saturating_sub(FOOTER_BYTES);
        let footer = pages.bytes_at(footer_at, FOOTER_BYTES as usize)?;
        let read = read_footer(&footer).filter(|_| magic == MAGIC);
        let footer = read.ok_or_else(|| pages.damaged(footer_at, "its ends"))?;
        if footer.directory_at + u64::from(footer.directory_bytes) != footer_at {
            return Err(pages.damaged(footer_at, "its length"));
        }
        let directory = pages.bytes_at(footer.directory_at, footer.directory_bytes as usize)?;
        let places = (crc32c::crc32c(&directory) == footer.directory_crc)
            .then(|| read_directory(&directory, footer.directory_at))
            .flatten();
        pages.places = places.ok_or_else(|| pages.damaged(footer.directory_at, "its directory"))?;
        pages.root = footer.root;
        Ok(pages)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes as they are, unchecked.
    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, into)
    }

    /// The number of the page that says what the others are.
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a page stands in the file.
    #[cfg(test)]
    pub(super) fn begins_at(&self, page: u32) -> u64 {
        self.places[page as usize].offset
    }

    /// Pages that are known to be damaged.
    pub(super) fn quarantined(&self) -> usize {
        let quarantine = self.quarantine.lock();
        quarantine.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Reads every page.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        (0..self.places.len()).try_for_each(|page| self.read(page as u32).map(drop))
    }

    /// A page is damaged: it is told once, and not read any more.
    fn condemn(&self, page: u32, error: ReadError) -> ReadError {
        let quarantine = self.quarantine.lock();
        let mut quarantine = quarantine.unwrap_or_else(PoisonError::into_inner);
        if quarantine.insert(page, error.clone()).is_none() {
            tracing::error!(%error, "a page is quarantined; everything else is served");
        }
        error
    }

    fn check_quarantine(&self, page: u32) -> Result<(), ReadError> {
        let quarantine = self.quarantine.lock();
        let quarantine = quarantine.unwrap_or_else(PoisonError::into_inner);
        quarantine.get(&page).cloned().map_or(Ok(()), Err)
    }

    pub(super) fn read(&self, page: u32) -> Result<Vec<u8>, ReadError> {
        self.check_quarantine(page)?;
        let place = self.places.get(page as usize).copied();
        let place = place.ok_or_else(|| self.damaged(0, "a page that is not there"))?;
        let mut bytes = self.bytes_at(place.offset, place.len as usize + CRC_BYTES)?;
        let crc = bytes.split_off(place.len as usize);
        if crc != crc32c::crc32c(&bytes).to_le_bytes() {
            return Err(self.condemn(page, self.damaged(place.offset, "a page")));
        }
        Ok(bytes)
    }

    /// What is wrong with a page whose checksum holds.
    pub(super) fn senseless(&self, page: u32) -> ReadError {
        let place = self.places.get(page as usize).copied().unwrap_or_default();
        self.condemn(page, self.damaged(place.offset, "a page without sense"))
    }

    fn damaged(&self, offset: u64, what: &'static str) -> ReadError {
        ReadError::Damaged {
            part: self.name.clone(),
            offset,
            what,
        }
    }

    fn failed(&self, offset: u64, error: &io::Error) -> ReadError {
        ReadError::Disk {
            part: self.name.clone(),
            offset,
            error: error.to_string(),
        }
    }

    fn bytes_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        if offset.saturating_add(len as u64) > self.bytes {
            return Err(self.damaged(offset, "its length"));
        }
        let mut bytes = vec![0; len];
        let read = self.file.read_at(offset, &mut bytes);
        read.map_err(|error| self.failed(offset, &error))?;
        Ok(bytes)
    }
}

struct Footer {
    directory_at: u64,
    directory_bytes: u32,
    root: u32,
    directory_crc: u32,
}

fn read_footer(footer: &[u8]) -> Option<Footer> {
    let covered = footer.get(..20)?;
    let mut cursor = Cursor::new(footer);
    let directory_at = u64::from_le_bytes(*cursor.take(8)?.first_chunk()?);
    let mut number = || Some(u32::from_le_bytes(*cursor.take(4)?.first_chunk()?));
    let found = Footer {
        directory_at,
        directory_bytes: number()?,
        root: number()?,
        directory_crc: number()?,
    };
    let crc = number()?;
    (crc == crc32c::crc32c(covered) && cursor.rest() == MAGIC).then_some(found)
}

fn read_directory(bytes: &[u8], limit: u64) -> Option<Vec<Place>> {
    let mut cursor = Cursor::new(bytes);
    let (mut places, mut end) = (Vec::new(), 0_i64);
    while !cursor.is_empty() {
        let offset = u64::try_from(end.checked_add(cursor.zigzag()?)?).ok()?;
        let len = cursor.count(MAX_PAGE_BYTES)?;
        let next = offset.checked_add((len + CRC_BYTES) as u64)?;
        if next > limit {
            return None;
        }
        places.push(Place {
            offset,
            len: len as u32,
        });
        end = i64::try_from(next).ok()?;
    }
    Some(places)
}

/// Pieces of pages, of which the last page is held.
#[derive(Debug)]
pub(super) struct Lens<'a> {
    pages: &'a Pages,
    held: Option<(u32, Vec<u8>)>,
}

impl<'a> Lens<'a> {
    pub(super) fn new(pages: &'a Pages) -> Self {
        Self { pages, held: None }
    }

    /// The bytes of a piece.
    pub(super) fn piece(&mut self, span: Span) -> Result<&[u8], ReadError> {
        if self
            .held
            .as_ref()
            .is_none_or(|(page, _)| *page != span.page)
        {
            self.held = Some((span.page, self.pages.read(span.page)?));
        }
        let bytes = self.held.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let (from, len) = (span.at as usize, span.len as usize);
        let piece = bytes.get(from..).and_then(|rest| rest.get(..len));
        piece.ok_or_else(|| self.pages.senseless(span.page))
    }

    /// What `read` makes of a piece.
    pub(super) fn read<T>(
        &mut self,
        span: Span,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, ReadError> {
        let found = read(self.piece(span)?);
        found.ok_or_else(|| self.pages.senseless(span.page))
    }
}
