//! The file that says how far a receiver is.
//!
//! Guarantees: after [`write`] returns, the file has what was written and will have it after a crash; before, it has
//! what it had.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::remote::mark::Mark;

/// What cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be kept: {error}; free or repair the disk", file.display())]
pub(crate) struct KeepError {
    file: PathBuf,
    error: io::Error,
}

/// The file of a receiver: its name, with what no file's name may have replaced.
pub(super) fn file(folder: &Path, name: &str) -> PathBuf {
    let plain = |it: char| {
        if it.is_ascii_alphanumeric() || ".-_".contains(it) {
            it
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(100).map(plain).collect();
    folder.join(format!("{name}.json"))
}

/// What the file says; nothing where there is none, or it is none of ours.
pub(super) fn read(file: &Path) -> Result<Option<Mark>, KeepError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(file, error)),
    };
    let mark = serde_json::from_slice(&text);
    mark.map(Some)
        .map_err(|error| failed(file, io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Writes it whole and synced. May block.
pub(super) fn write(file: &Path, mark: Mark) -> Result<(), KeepError> {
    let written = || -> io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let fresh = file.with_extension("new");
        let mut new = File::create(&fresh)?;
        new.write_all(serde_json::to_string(&mark)?.as_bytes())?;
        new.sync_all()?;
        fs::rename(&fresh, file)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| failed(file, error))
}

fn failed(file: &Path, error: io::Error) -> KeepError {
    KeepError {
        file: file.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_what_is_none_of_ours_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = file(&folder.path().join("remote"), "a:1/../x");
        assert!(place.ends_with("a_1_.._x.json"), "{}", place.display());
        assert_eq!(read(&place).unwrap(), None);
        for from_ms in [5, -7] {
            write(&place, Mark { from_ms }).unwrap();
            assert_eq!(read(&place).unwrap(), Some(Mark { from_ms }));
        }
        fs::write(&place, "{").unwrap();
        let error = read(&place).unwrap_err().to_string();
        assert!(error.contains(".json cannot be kept"), "{error}");
    }
}
