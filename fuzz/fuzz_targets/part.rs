//! Parts, whose checksums hold and whose bytes may be any.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_tsdb::examine_part;
use mainstay_wal::{Disk, MemoryDisk, numbered_name};

fuzz_target!(|bytes: &[u8]| {
    let disk = MemoryDisk::default();
    let mut file = disk.create(&numbered_name(1, ".part")).unwrap();
    file.append(bytes).unwrap();
    let _ = examine_part(&disk, 1);
});
