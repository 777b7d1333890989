//! What speaks with a store: the task that copies, the one that writes days, and bringing copies back.

use std::time::Duration;

mod archiver;
mod copier;
mod identity;
mod listings;
mod restore;
mod seen;
mod store;
mod upload;

pub use archiver::{Archiver, ArchiverConfig};
pub use copier::{Copier, CopierConfig};
pub use identity::{IdentityError, identity, take_identity};
pub use restore::{Report, RestoreError, restore};
pub use seen::{ArchiveSeen, CopySeen, Shown};
pub use store::StoreError;

/// How often is looked for what is new: parts that rest come once an hour, days once a day.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
