//! A file as pieces that somebody takes while it is written.
//!
//! Guarantees: pieces come in order and make up the file; once somebody takes no more, writing ends with an error. What
//! was not given is given by [`Pieces::finish`] alone, so that a file that broke off lacks its end.

use std::io::{self, Write};

/// Bytes of a piece; only the last has fewer.
const PIECE_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Pieces<F> {
    take: F,
    gathered: Vec<u8>,
}

impl<F: FnMut(Vec<u8>) -> bool> Pieces<F> {
    /// `take` gets each piece and says whether to go on.
    pub fn new(take: F) -> Self {
        Self {
            take,
            gathered: Vec::new(),
        }
    }

    /// Gives the rest.
    pub fn finish(mut self) -> io::Result<()> {
        self.give()
    }

    fn give(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        if piece.is_empty() || (self.take)(piece) {
            return Ok(());
        }
        let what = "nobody takes more";
        Err(io::Error::new(io::ErrorKind::BrokenPipe, what))
    }
}

impl<F: FnMut(Vec<u8>) -> bool> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.give()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_what_was_written_until_nobody_takes_more() {
        let mut taken = Vec::new();
        let mut pieces = Pieces::new(|piece| {
            taken.push(piece.len());
            taken.len() < 3
        });
        pieces.write_all(&vec![0; PIECE_BYTES - 1]).unwrap();
        pieces.write_all(&[0; 2]).unwrap();
        pieces.write_all(&[0; 5]).unwrap();
        pieces.finish().unwrap();
        assert_eq!(taken, [PIECE_BYTES + 1, 5]);
        let mut pieces = Pieces::new(|_| false);
        let broken = pieces.write_all(&vec![0; PIECE_BYTES]).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }
}
