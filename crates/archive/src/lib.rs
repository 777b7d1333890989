//! Samples outside the engine: copies of its parts in an object store, and days of samples in Parquet for other programs.
//!
//! Guarantees: what is in the store is whole or not there; a listing names only what was uploaded before it. Whatever the
//! store does, ingest and sealing do not hear of it. An object is never changed once it is there. Secrets are shown by
//! nothing. What decides is pure ([`copy`], [`days`]); only [`adapter`] speaks with a store.
//!
//! ```
//! use mainstay_archive::place::{Place, Section};
//! let place = Place::of(Section { url: "s3://backups/shop".to_owned(), ..Section::default() })?;
//! assert_eq!(place.url(), "s3://backups/shop");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
pub mod copy;
pub mod days;
pub mod pieces;
pub mod place;
pub mod samples;
