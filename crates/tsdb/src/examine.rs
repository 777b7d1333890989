//! Files of samples, read whole as a start and queries read them: for tools that check a copy, and for fuzzing.
//!
//! Guarantees: nothing is written and nothing is started; memory is bounded by what a head may hold.

use mainstay_wal::Disk;

use crate::{ReadError, damage::Tolerance, part::Part};

/// Reads all of part `id`; how many samples are in it.
pub fn examine_part(disk: &dyn Disk, id: u64) -> Result<u64, ReadError> {
    let part = Part::open(disk, id)?;
    let mut samples = 0;
    let mut contents = part.contents();
    while contents.labels()?.is_some() {
        let (_, columns) = contents.samples()?;
        samples += columns.len() as u64;
    }
    let names: Vec<String> = part.label_names().map(str::to_owned).collect();
    for name in names {
        part.label_values(&name, &mut Tolerance::Strict)?;
    }
    part.find(
        &[],
        (i64::MIN, i64::MAX),
        &mut Tolerance::Strict,
        &mut |_, _, _| (),
    )?;
    part.ends(&[], i64::MAX, &mut Tolerance::Strict, &mut |_, _, _| ())?;
    Ok(samples)
}
