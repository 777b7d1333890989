//! Reading a log back.
//!
//! Guarantees: frames come in order, each once, whatever was written twice. Memory is bounded by one frame and a
//! window. A frame that fails its checksum is searched past: what follows it is given, after the gap is told. Only
//! what follows the last good frame of the last segment is taken for torn, and cut.

use std::io;

use crate::{
    Disk, DiskRead, LogError,
    frame::{HEADER_BYTES, Header},
    segment,
};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// How far ahead of the expected number a frame after damage may be: more frames than a segment ever holds.
const AHEAD_FRAMES: u64 = 1 << 24;

/// What a replay meets, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A frame.
    Frame {
        /// Its kind.
        kind: u8,
        /// What it holds.
        payload: &'a [u8],
    },
    /// Frames are missing here: what comes next does not follow from what came before.
    Gap(Gap),
}

/// Frames that were committed and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment in which it begins.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// How many frames are missing.
    pub frames: u64,
}

/// An end that was being written when the process died; nothing in it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// How many bytes were there.
    pub bytes: u64,
}

/// How a replay ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The number of the next frame.
    pub next_seq: u64,
    /// The segment to go on with.
    pub next_segment: u64,
    /// Frames given.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was missing.
    pub gaps: Vec<Gap>,
    /// What was torn.
    pub cut: Option<Cut>,
}

/// Gives every frame in the segments from `from_segment` on to `visit`.
pub fn replay(
    disk: &dyn Disk,
    from_segment: u64,
    visit: &mut dyn FnMut(Seen<'_>),
) -> Result<Replayed, LogError> {
    let names = disk.list().map_err(LogError::Read)?;
    let mut replayed = Replayed {
        next_segment: from_segment,
        ..Replayed::default()
    };
    let mut segments = Vec::new();
    for id in names.iter().filter_map(|name| segment::id(name)) {
        if id < from_segment {
            continue;
        }
        replayed.next_segment = id + 1;
        // One shorter than its header holds nothing that was acknowledged.
        if let Some(reader) = Reader::open(disk, id).map_err(LogError::Read)? {
            segments.push((reader.id, reader.first_seq));
        }
    }
    let mut expected = segments.first().and_then(|(_, first)| *first).unwrap_or(0);
    for (at, (id, _)) in segments.iter().enumerate() {
        let Some(mut reader) = Reader::open(disk, *id).map_err(LogError::Read)? else {
            continue;
        };
        // A later segment that begins at or before this one's frames replaces them.
        let until = segments
            .iter()
            .skip(at + 1)
            .filter_map(|(_, first)| *first)
            .min();
        let read = reader.read(expected, until, &mut replayed, visit);
        expected = read.map_err(LogError::Read)?;
    }
    replayed.next_seq = expected;
    Ok(replayed)
}

struct Reader {
    id: u64,
    /// Unknown if the header is damaged: its frames are read all the same.
    first_seq: Option<u64>,
    file: Box<dyn DiskRead>,
    len: u64,
    /// A window of the file, and where it begins.
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    fn open(disk: &dyn Disk, id: u64) -> io::Result<Option<Self>> {
        let file = disk.open(&segment::name(id))?;
        let len = file.len()?;
        let mut header = [0; segment::HEADER_BYTES];
        if len < header.len() as u64 {
            return Ok(None);
        }
        file.read_at(0, &mut header)?;
        Ok(Some(Self {
            id,
            first_seq: segment::first_seq(&header),
            file,
            len,
            window: Vec::new(),
            window_at: 0,
        }))
    }

    /// Gives the frames from `expected` on, up to `until`; returns the number expected next.
    fn read(
        &mut self,
        mut expected: u64,
        until: Option<u64>,
        replayed: &mut Replayed,
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> io::Result<u64> {
        let mut offset = segment::HEADER_BYTES as u64;
        let last = until.is_none();
        let until = until.unwrap_or(u64::MAX);
        replayed.bytes += self.len;
        while offset < self.len && expected < until {
            let found = match self.frame_at(offset)? {
                Some(header) if header.seq < expected => {
                    // Written twice: the first copy was given.
                    offset += (HEADER_BYTES + header.payload_bytes) as u64;
                    continue;
                }
                Some(header) if header.seq < until => Some((offset, header)),
                Some(_) | None => self.search(offset, expected, until)?,
            };
            let Some((at, header)) = found else { break };
            if header.seq > expected {
                self.tell_gap(offset, header.seq - expected, replayed, visit);
            }
            let frame = self.bytes(at, HEADER_BYTES + header.payload_bytes)?;
            if let Some(payload) = frame.and_then(|frame| frame.get(HEADER_BYTES..)) {
                let kind = header.kind;
                visit(Seen::Frame { kind, payload });
            }
            replayed.frames += 1;
            expected = header.seq + 1;
            offset = at + (HEADER_BYTES + header.payload_bytes) as u64;
        }
        if last {
            let bytes = self.len.saturating_sub(offset);
            let segment = self.id;
            replayed.cut = (bytes > 0).then_some(Cut { segment, bytes });
        } else if expected < until {
            self.tell_gap(offset, until - expected, replayed, visit);
            expected = until;
        }
        Ok(expected)
    }

    fn tell_gap(
        &self,
        offset: u64,
        frames: u64,
        replayed: &mut Replayed,
        visit: &mut dyn FnMut(Seen<'_>),
    ) {
        let gap = Gap {
            segment: self.id,
            offset,
            frames,
        };
        replayed.gaps.push(gap);
        visit(Seen::Gap(gap));
    }

    /// The header of a whole and undamaged frame at `offset`.
    fn frame_at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let Some(header) = self.bytes(offset, HEADER_BYTES)?.and_then(Header::read) else {
            return Ok(None);
        };
        let frame = self.bytes(offset, HEADER_BYTES + header.payload_bytes)?;
        Ok(frame.filter(|frame| header.holds(frame)).map(|_| header))
    }

    /// The first undamaged frame after `offset` whose number may come here.
    fn search(
        &mut self,
        offset: u64,
        expected: u64,
        until: u64,
    ) -> io::Result<Option<(u64, Header)>> {
        let until = until.min(expected.saturating_add(AHEAD_FRAMES));
        for at in offset + 1..self.len.saturating_sub(HEADER_BYTES as u64 - 1) {
            let header = self.bytes(at, HEADER_BYTES)?.and_then(Header::read);
            if header.is_some_and(|it| (expected..until).contains(&it.seq))
                && let Some(header) = self.frame_at(at)?
            {
                return Ok(Some((at, header)));
            }
        }
        Ok(None)
    }

    /// `count` bytes from `offset` on; `None` past the end.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if offset + count as u64 > self.len {
            return Ok(None);
        }
        let from = offset.checked_sub(self.window_at).map(|from| from as usize);
        let inside = from.filter(|from| from + count <= self.window.len());
        let from = if let Some(from) = inside {
            from
        } else {
            let rest = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
            self.window.resize(count.max(WINDOW_BYTES).min(rest), 0);
            self.window_at = offset;
            self.file.read_at(offset, &mut self.window)?;
            0
        };
        Ok(self.window.get(from..from + count))
    }
}

#[cfg(test)]
mod tests;
