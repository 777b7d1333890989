//! Disks and the file systems on them.
//!
//! Guarantees: partitions, loops and memory disks are left out, since their bytes are counted on the disk
//! below or nowhere; of two mounts at one place the upper one is told. The root is always there, also in a
//! container.
//!
//! Never asks a file system behind a network: one whose server is gone blocks whoever asks.
//!
//! Example: `node_filesystem_avail_bytes{device="/dev/vda",fstype="ext4",mountpoint="/"} 1e10`.

use std::collections::BTreeMap;

use rustix::fs::StatVfsMountFlags;

use super::{HostMetrics, offered};
use crate::Error;

/// Bytes of what `/proc/diskstats` calls a sector, whatever the disk's own are.
const SECTOR_BYTES: f64 = 512.0;
/// Mounted folders told of; a host of containers has many more, which are not its own.
const MOUNTS_MAX: usize = 256;
/// File systems that hold data of this host. All others are the kernel's own, a network's, or read-only images.
const ON_THIS_HOST: [&str; 14] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "ntfs3", "reiserfs",
    "tmpfs", "vfat", "xfs", "zfs",
];
/// Column of a line of `/proc/diskstats`, unit, metric.
const COLUMNS: [(usize, f64, &str); 11] = [
    (3, 1.0, "node_disk_reads_completed_total"),
    (4, 1.0, "node_disk_reads_merged_total"),
    (5, SECTOR_BYTES, "node_disk_read_bytes_total"),
    (6, 1e-3, "node_disk_read_time_seconds_total"),
    (7, 1.0, "node_disk_writes_completed_total"),
    (8, 1.0, "node_disk_writes_merged_total"),
    (9, SECTOR_BYTES, "node_disk_written_bytes_total"),
    (10, 1e-3, "node_disk_write_time_seconds_total"),
    (11, 1.0, "node_disk_io_now"),
    (12, 1e-3, "node_disk_io_time_seconds_total"),
    (13, 1e-3, "node_disk_io_time_weighted_seconds_total"),
];

pub(super) fn read(metrics: &mut HostMetrics) -> Result<(), Error> {
    disks(&offered("/proc/diskstats")?.unwrap_or_default(), metrics);
    let mounts = offered("/proc/self/mounts")?.unwrap_or_default();
    for (place, mount) in mounts_of(&mounts) {
        filesystem(&place, &mount, metrics)?;
    }
    Ok(())
}

fn disks(text: &str, metrics: &mut HostMetrics) {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(device) = words.get(2).filter(|name| is_whole_disk(name)) else {
            continue;
        };
        for (column, unit, name) in COLUMNS {
            let value = words.get(column).and_then(|word| word.parse::<f64>().ok());
            if let Some(value) = value {
                let labels = vec![("device", (*device).to_owned())];
                metrics.add(name, labels, value * unit);
            }
        }
    }
}

/// As node_exporter tells them apart: by name.
fn is_whole_disk(name: &str) -> bool {
    let end = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let numbered = end.len() < name.len();
    let of_memory = ["ram", "zram", "loop", "fd"].contains(&end);
    let lettered = |kind: &str| {
        let letters = end.strip_prefix(kind).unwrap_or_default();
        letters.len() == 1 && letters.chars().all(|letter| letter.is_ascii_lowercase())
    };
    let partition = ["hd", "sd", "vd", "xvd"].into_iter().any(lettered)
        || (end.starts_with("nvme") && end.ends_with('p'));
    !(numbered && (of_memory || partition))
}

#[derive(Debug, PartialEq)]
struct Mount {
    device: String,
    kind: String,
}

/// By place; the last line of a place is the upper mount.
fn mounts_of(text: &str) -> BTreeMap<String, Mount> {
    let mut mounts = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(place), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let place = unescaped(place);
        let of_the_kernel = ["/dev", "/proc", "/sys"].iter().any(|folder| {
            place
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let told = place == "/" || (ON_THIS_HOST.contains(&kind) && !of_the_kernel);
        if told && (mounts.len() < MOUNTS_MAX || mounts.contains_key(&place)) {
            let (device, kind) = (unescaped(device), kind.to_owned());
            mounts.insert(place, Mount { device, kind });
        }
    }
    mounts
}

/// The kernel writes blanks, tabs, line feeds and backslashes as three octal digits.
fn unescaped(word: &str) -> String {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    codes.iter().fold(word.to_owned(), |word, (code, letter)| {
        word.replace(code, letter)
    })
}

fn filesystem(place: &str, mount: &Mount, metrics: &mut HostMetrics) -> Result<(), Error> {
    let seen = match rustix::fs::statvfs(place) {
        Ok(seen) => seen,
        // Unmounted meanwhile, or in a folder that is closed to us: nothing is known of it.
        Err(_) if place != "/" => return Ok(()),
        Err(errno) => return Err(Error::io("stat the root file system")(errno.into())),
    };
    let block = seen.f_frsize as f64;
    let readonly = seen.f_flag.contains(StatVfsMountFlags::RDONLY);
    for (name, value) in [
        ("node_filesystem_size_bytes", seen.f_blocks as f64 * block),
        ("node_filesystem_free_bytes", seen.f_bfree as f64 * block),
        ("node_filesystem_avail_bytes", seen.f_bavail as f64 * block),
        ("node_filesystem_files", seen.f_files as f64),
        ("node_filesystem_files_free", seen.f_ffree as f64),
        ("node_filesystem_readonly", f64::from(u8::from(readonly))),
    ] {
        let labels = vec![
            ("device", mount.device.clone()),
            ("fstype", mount.kind.clone()),
            ("mountpoint", place.to_owned()),
        ];
        metrics.add(name, labels, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_loops_and_memory_disks_are_not_disks() {
        let whole = ["sda", "vda", "nvme0n1", "dm-0", "md127", "sdaa", "sr0"];
        let not = [
            "sda1",
            "vdb12",
            "nvme0n1p2",
            "loop7",
            "ram0",
            "zram0",
            "fd0",
        ];
        assert!(whole.iter().all(|name| is_whole_disk(name)));
        assert!(!not.iter().any(|name| is_whole_disk(name)));
    }

    #[test]
    fn sectors_become_bytes_and_milliseconds_seconds() {
        let text = " 254 0 vda 10 1 20 3000 40 2 60 7000 1 8000 9500 0 0 0 0\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n";
        let mut metrics = HostMetrics::default();
        disks(text, &mut metrics);
        assert_eq!(metrics.samples.len(), COLUMNS.len());
        let read = |name| {
            let found = metrics.samples.iter().find(|sample| sample.name == name);
            found.map(|sample| sample.value)
        };
        assert_eq!(read("node_disk_read_bytes_total"), Some(20.0 * 512.0));
        assert_eq!(read("node_disk_write_time_seconds_total"), Some(7.0));
        assert_eq!(read("node_disk_io_time_weighted_seconds_total"), Some(9.5));
    }

    #[test]
    fn the_root_is_told_whatever_it_is_and_a_network_is_never_asked() {
        let text = "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n\
                    server:/home /home nfs4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n\
                    /dev/old /data xfs rw 0 0\n/dev/vdb /data ext4 rw 0 0\n\
                    /dev/vdc /two\\040words ext4 rw 0 0\n";
        let found = mounts_of(text);
        let places: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(places, ["/", "/data", "/two words"]);
        assert_eq!(found["/data"].device, "/dev/vdb", "the upper mount");
    }
}
