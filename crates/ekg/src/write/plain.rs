//! A series of remote write 1.0 as nearly every sender writes it: labels, each name before its value, then samples.
//!
//! Guarantees: what is read is what the reader of fields would read; whatever is written in another way is
//! [`Unusual`], not wrong, and read field by field. Nothing is copied; text is checked once for all labels.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// To be read field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unusual;

/// What is left of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

/// The bytes of a label's name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Plain<'a> {
    pub(crate) fn new(series: &'a [u8]) -> Self {
        Self {
            whole: series,
            rest: series,
        }
    }

    /// The next label, nothing after the last; parts may be anything until [`Plain::is_text`] was asked.
    pub(crate) fn label(&mut self) -> Result<Option<Pair<'a>>, Unusual> {
        let [0x0a, rest @ ..] = self.rest else {
            return Ok(None);
        };
        let (label, rest) = delimited(rest)?;
        let [0x0a, label @ ..] = label else {
            return Err(Unusual);
        };
        let (name, label) = delimited(label)?;
        let [0x12, label @ ..] = label else {
            return Err(Unusual);
        };
        let (value, []) = delimited(label)? else {
            return Err(Unusual);
        };
        self.rest = rest;
        Ok(Some((name, value)))
    }

    /// Whether all labels read so far are UTF-8.
    pub(crate) fn is_text(&self) -> bool {
        let read = self.whole.len() - self.rest.len();
        let labels = self.whole.get(..read).unwrap_or_default();
        // What stands between the parts is ASCII, unless a part is long.
        if std::str::from_utf8(labels).is_ok() {
            return true;
        }
        let mut again = Self::new(labels);
        while let Ok(Some((name, value))) = again.label() {
            if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
                return false;
            }
        }
        true
    }

    /// The next sample, its time and value; nothing at the end.
    pub(crate) fn sample(&mut self) -> Result<Option<(i64, f64)>, Unusual> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let [0x12, rest @ ..] = self.rest else {
            return Err(Unusual);
        };
        let (mut sample, rest) = delimited(rest)?;
        // Zeros are not written.
        let (mut value, mut at_ms) = (0.0, 0);
        if let [0x09, after @ ..] = sample {
            let (bits, after) = after.split_first_chunk().ok_or(Unusual)?;
            (value, sample) = (f64::from_le_bytes(*bits), after);
        }
        if let [0x10, after @ ..] = sample {
            (at_ms, sample) = number(after)?;
        }
        if !sample.is_empty() {
            return Err(Unusual);
        }
        self.rest = rest;
        Ok(Some((at_ms as i64, value)))
    }
}

/// Bytes with their length before them, and what follows; a length of more than two bytes is unusual.
fn delimited(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unusual> {
    let (length, rest) = match bytes {
        [low @ 0..0x80, rest @ ..] => (usize::from(*low), rest),
        [low, high @ 0..0x80, rest @ ..] => {
            (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
        }
        _ => return Err(Unusual),
    };
    rest.split_at_checked(length).ok_or(Unusual)
}

/// A number, and what follows.
fn number(bytes: &[u8]) -> Result<(u64, &[u8]), Unusual> {
    let mut value = 0_u64;
    // Nine bytes hold every time after 1970.
    for (read, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * read);
        if *byte < 0x80 {
            return Ok((value, bytes.get(read + 1..).unwrap_or_default()));
        }
    }
    Err(Unusual)
}
