//! Where monitoring touches the world: what scrapes, what writes, and what calls a value measured.

mod batch;
mod fetch;
mod intake;
mod received;
mod scrape;
mod signals;
mod target;
mod writer;

pub use intake::Intake;
pub use received::{Received, Way};
pub use scrape::{ScrapeConfig, Scraper};
pub use target::{Target, TargetError};
pub use writer::{NewSample, Writer, WriterGone};
