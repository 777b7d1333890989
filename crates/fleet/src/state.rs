//! What an agent must know after a restart, in `DATA/agent.json`.
//!
//! **Guarantees.** A state that [`Store::save`] returned from is on disk, whole; one agent at a time owns a
//! data folder. **Never** falls back to an empty state when the file cannot be read: that would start
//! everything a second time.
//!
//! ```
//! use mainstay_fleet::state::Store;
//! let folder = std::env::temp_dir().join(format!("agent-doc-{}", std::process::id()));
//! let first = Store::open(&folder)?;
//! assert!(Store::open(&folder).is_err());
//! # drop(first);
//! # std::fs::remove_dir_all(&folder).expect("the folder was just made");
//! # Ok::<(), mainstay_fleet::state::StateError>(())
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mainstay_core::InstanceName;
use mainstay_wire::agent::DesiredSet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{found::Known, plan::Running};

/// Version of the file this build writes.
const FORMAT: u16 = 1;

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("{what} {}: {source}; free space or correct the permissions there", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not a state this build understands.
    #[error(
        "{} cannot be understood: {why}; restore it, or stop this host's instances and remove it",
        path.display()
    )]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Two agents would start everything twice.
    #[error("another agent runs on {}; stop it, or give this one a data folder of its own", path.display())]
    Owned {
        /// The data folder.
        path: PathBuf,
    },
}

/// One instance, as remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "H: Serialize + DeserializeOwned")]
pub struct Instance<H> {
    /// What the planner knows.
    pub running: Running,
    /// Its process, while it has one.
    pub process: Option<H>,
    /// The port it was given.
    pub port: Option<u16>,
    /// SHA-256 of its artifact when it was started.
    pub artifact_sha256: Option<String>,
    /// SHA-256 of what its process was last seen to run.
    pub seen_sha256: Option<String>,
    /// Exits without an order since the incarnation began.
    pub unordered_exits: u32,
    /// Whether its last process had to be killed.
    pub killed_last: bool,
}

/// All that is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "H: Serialize + DeserializeOwned")]
pub struct State<H> {
    format: u16,
    /// The last set taken.
    pub desired: DesiredSet,
    /// What is or was here.
    pub instances: BTreeMap<InstanceName, Instance<H>>,
    /// What was found of services that are only observed.
    #[serde(default)]
    pub known: Known,
}

impl<H> Default for State<H> {
    fn default() -> Self {
        Self {
            format: FORMAT,
            desired: DesiredSet::default(),
            instances: BTreeMap::new(),
            known: Known::default(),
        }
    }
}

/// The data folder of one agent.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Held for as long as this lives; the kernel lets go of it when the agent dies.
    _lock: File,
}

impl Store {
    /// Takes the folder, making it where it is missing.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let at = folder.join("agent.lock");
        let io = |source| StateError::Io {
            what: "cannot lock",
            path: at.clone(),
            source,
        };
        fs::create_dir_all(folder).map_err(io)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&at)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_owned(),
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::Owned {
                path: folder.to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("agent.json")
    }

    /// The state last saved; an empty one where none ever was.
    pub fn load<H: Serialize + DeserializeOwned>(&self) -> Result<State<H>, StateError> {
        let path = self.path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(source) => {
                let what = "cannot read";
                return Err(StateError::Io { what, path, source });
            }
        };
        let state: State<H> = match serde_json::from_slice(&bytes) {
            Ok(state) => state,
            Err(error) => {
                let why = error.to_string();
                return Err(StateError::Unreadable { path, why });
            }
        };
        if state.format != FORMAT {
            let why = format!("it has format {}, this agent reads {FORMAT}", state.format);
            return Err(StateError::Unreadable { path, why });
        }
        Ok(state)
    }

    /// Writes beside, syncs, renames, syncs the folder: a reader sees the old state or the new one.
    pub fn save<H: Serialize + DeserializeOwned>(
        &self,
        state: &State<H>,
    ) -> Result<(), StateError> {
        let path = self.path();
        let beside = self.folder.join("agent.json.new");
        let written = serde_json::to_vec_pretty(state)
            .map_err(io::Error::other)
            .and_then(|bytes| {
                let mut file = File::create(&beside)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&beside, &path)?;
                File::open(&self.folder)?.sync_all()
            });
        written.map_err(|source| StateError::Io {
            what: "cannot write",
            path,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut state = State::<String>::default();
        assert_eq!(store.load::<String>().unwrap(), state);
        state.desired.generation.counter = 7;
        store.save(&state).unwrap();
        assert_eq!(store.load::<String>().unwrap(), state);
    }

    #[test]
    fn a_damaged_state_is_refused_with_a_remedy_instead_of_starting_everything_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(folder.path().join("agent.json"), "{\"format\": 1, ").unwrap();
        let refused = store.load::<String>().unwrap_err().to_string();
        assert!(
            refused.contains("agent.json") && refused.contains("restore it"),
            "{refused}"
        );
    }

    #[test]
    fn a_second_agent_on_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        assert!(matches!(
            Store::open(folder.path()),
            Err(StateError::Owned { .. })
        ));
        drop(first);
        assert!(Store::open(folder.path()).is_ok());
    }
}
