//! Every bound of this crate with its reason, and the check of an append against them.
//!
//! Guarantees: an append that passes can be stored by each engine alike. Never truncates anything:
//! what is too large is refused. Example: a body of 4,097 bytes of kind `change.moved` is refused.

use mainstay_core::{
    Append, NewEntry,
    ledger::{APPEND_ENTRIES_MAX, BODY_BYTES_MAX, RESOURCE_BYTES_MAX},
    ports::LedgerError,
};

/// Most appends in one commit: past this the flush to disk no longer dominates.
pub const GROUP_APPENDS_MAX: usize = 128;
/// Most appends that wait for the writer: eight commits' worth, well under a second.
pub const QUEUE_APPENDS_MAX: usize = 1_024;
/// When a refused writer may try again: a few commits later.
pub(crate) const RETRY_AFTER_MS: u64 = 100;
/// Most entries one read returns: a page of full bodies stays under 20 MiB.
pub const PAGE_ENTRIES_MAX: usize = 4_096;
/// Most rows a listing returns.
pub const LIST_ROWS_MAX: usize = 4_096;
/// Longest name of a stream, kind, actor, lease, timer or token, in bytes: it is indexed.
pub const NAME_BYTES_MAX: usize = 512;
/// Largest body of a timer, in bytes: it says what to look at, not what was found.
pub const TIMER_BODY_BYTES_MAX: usize = 4_096;
/// Bytes on the ledger's disk that only restoring appends may use: some 10,000 full entries.
pub const FREE_BYTES_RESERVE: u64 = 64 * 1_024 * 1_024;

/// What is too large, how large it is, and the limit.
pub(crate) type Excess = (&'static str, usize, usize);

pub(crate) fn check_append(append: &Append) -> Result<(), LedgerError> {
    let excess = within(
        "entries in one append",
        append.entries.len(),
        APPEND_ENTRIES_MAX,
    )
    .and_then(|()| {
        within(
            "expectations in one append",
            append.expected.len(),
            APPEND_ENTRIES_MAX,
        )
    })
    .and_then(|()| check_name("an actor's id in bytes", &append.actor.id))
    .and_then(|()| append.entries.iter().try_for_each(check_entry));
    excess.map_err(|(what, actual, limit)| LedgerError::TooLarge {
        what: what.to_owned(),
        actual,
        limit,
    })
}

fn check_entry(entry: &NewEntry) -> Result<(), Excess> {
    check_name("a stream's name in bytes", entry.stream.as_str())?;
    check_name("an entry's kind in bytes", &entry.kind)?;
    check_text("NUL bytes in an entry's body", &entry.body)?;
    if entry.kind.starts_with("resource.") {
        within("a resource in bytes", entry.body.len(), RESOURCE_BYTES_MAX)
    } else {
        within("an entry's body in bytes", entry.body.len(), BODY_BYTES_MAX)
    }
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), Excess> {
    within(what, name.len(), NAME_BYTES_MAX)?;
    check_text("NUL bytes in a name", name)
}

/// PostgreSQL stores no NUL in text; one such append must not fail the others of its group.
pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), Excess> {
    within(what, text.bytes().filter(|byte| *byte == 0).count(), 0)
}

pub(crate) fn within(what: &'static str, actual: usize, limit: usize) -> Result<(), Excess> {
    if actual > limit {
        return Err((what, actual, limit));
    }
    Ok(())
}
