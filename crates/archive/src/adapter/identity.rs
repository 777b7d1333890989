//! Whose copies they are: a name that a data directory keeps.
//!
//! Guarantees: it is made once and durable before it is used; it tells the data directory, and what was restored from its
//! copies, from every other.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The file's name.
const FILE: &str = "server";
/// Bytes of the name.
const NAME_BYTES: usize = 16;
/// What the file may have.
const NAME_MAX: usize = 100;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("{}, which says whose copies these are, cannot be read or written: {error}; repair the disk", file.display())]
pub struct IdentityError {
    file: PathBuf,
    error: io::Error,
}

/// The name that `folder` keeps; made where there is none.
pub fn identity(folder: &Path) -> Result<String, IdentityError> {
    let file = folder.join(FILE);
    let told = |error| IdentityError {
        file: file.clone(),
        error,
    };
    match fs::read_to_string(&file) {
        Ok(text) if is_name(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => return Err(told(io::ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    let mut bytes = [0_u8; NAME_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| told(io::Error::other(error)))?;
    let name = mainstay_core::hex(&bytes);
    take_identity(folder, &name)?;
    Ok(name)
}

/// Has `folder` keep this name from now on.
pub fn take_identity(folder: &Path, name: &str) -> Result<(), IdentityError> {
    let file = folder.join(FILE);
    let written = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let fresh = folder.join(format!("{FILE}.new"));
        let mut new = File::create(&fresh)?;
        new.write_all(name.as_bytes())?;
        new.sync_all()?;
        fs::rename(&fresh, &file)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| IdentityError { file, error })
}

fn is_name(text: &str) -> bool {
    let plain = text.bytes().all(|it| it.is_ascii_alphanumeric());
    plain && !text.is_empty() && text.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_name_or_takes_another() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("copies");
        let name = identity(&folder).unwrap();
        assert_eq!(identity(&folder).unwrap(), name);
        assert_ne!(identity(&dir.path().join("other")).unwrap(), name);
        take_identity(&folder, "abc").unwrap();
        assert_eq!(identity(&folder).unwrap(), "abc");
    }
}
