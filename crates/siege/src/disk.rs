//! A small file system of its own, which a test fills.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// What takes the room.
const FILLER: &str = "filler";

/// A file system in memory; it goes with this value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many megabytes at a folder; `None` where this process may mount nothing.
    pub fn mount(megabytes: u32, at: &Path) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(at)
            .output();
        let is_mounted = mounted.is_ok_and(|it| it.status.success());
        Ok(is_mounted.then(|| Self(at.to_owned())))
    }

    /// Fills all but `left` bytes.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let stat = rustix::fs::statvfs(&self.0)?;
        let free = stat.f_bavail * stat.f_frsize;
        let more = usize::try_from(free.saturating_sub(left)).unwrap_or(usize::MAX);
        match std::fs::write(self.0.join(FILLER), vec![0_u8; more]) {
            // Somebody else wrote meanwhile: it is as full as it can be.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written,
        }
    }

    /// Takes the filling away.
    pub fn empty(&self) -> io::Result<()> {
        std::fs::remove_file(self.0.join(FILLER))
    }

    /// From now on nothing can be written to it; an error while somebody has a file open for that.
    pub fn make_read_only(&self) -> io::Result<()> {
        let mounted = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.0)
            .output()?;
        if mounted.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        Err(io::Error::other(why))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // An error leaves a mount behind in a temporary directory, which the test's own end reports.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
