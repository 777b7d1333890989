//! An array that grows in pieces while others read it.
//!
//! Guarantees: an element never moves, so growing copies nothing and a reader needs no lock; a piece is made when
//! its first element is asked for by the writer.

use std::sync::OnceLock;

/// Elements in one piece.
const PIECE: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Segments<T> {
    pieces: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Segments<T> {
    /// Room for `limit` elements, none of them made.
    pub(crate) fn with_limit(limit: usize) -> Self {
        let pieces = (0..limit.div_ceil(PIECE)).map(|_| OnceLock::new());
        Self {
            pieces: pieces.collect(),
        }
    }

    /// An element, if its piece was made.
    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        let piece = self.pieces.get(at as usize / PIECE)?.get()?;
        piece.get(at as usize % PIECE)
    }

    /// An element, made if need be; `None` beyond the limit.
    pub(crate) fn get_or_make(&self, at: u32) -> Option<&T> {
        let piece = self.pieces.get(at as usize / PIECE)?;
        let piece = piece.get_or_init(|| (0..PIECE).map(|_| T::default()).collect());
        piece.get(at as usize % PIECE)
    }
}
