//! Release artifacts: this executable plus a trailer that says which version of which service it is.
//!
//! Guarantees: the same spec and the same executable give the same bytes, another spec gives other
//! bytes (so `/proc/PID/exe` tells versions apart), and `run` appears complete or not at all.
//! Never writes outside the given folder: names are checked before they become path segments.
//!
//! Layout of the end of the file: `JSON | length of the JSON, u32 little endian | MAGIC`.
//! Example: `artifact::build(&spec, Path::new("releases"))` makes `releases/feed/1.0.0/run`.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::defect::Defect;

const MAGIC: &[u8; 8] = b"MSSITE\x00\x01";
const FOOTER_BYTES: u64 = 12;
/// A spec is a few hundred bytes; anything near this is not ours.
const SPEC_BYTES_MAX: u64 = 64 * 1024;
const NAME_BYTES_MAX: usize = 64;
/// Metrics have one series a route and code, so routes are few.
const ROUTES_MAX: usize = 16;
/// Dependencies are called one after the other, so they are few.
const DEPENDENCIES_MAX: usize = 8;
const DEFECTS_MAX: usize = 16;

/// What a request meets when all workers are busy and the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenFull {
    /// 503 at once.
    Reject,
    /// No answer, ever.
    Hang,
}

/// One version of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) workers: u32,
    pub(crate) service_ms: f64,
    pub(crate) spread: f64,
    pub(crate) queue: u32,
    pub(crate) when_full: WhenFull,
    pub(crate) cold_s: f64,
    pub(crate) cold_factor: f64,
    pub(crate) routes: Vec<String>,
    pub(crate) dependencies: Vec<String>,
    pub(crate) defects: Vec<Defect>,
    pub(crate) seed: u64,
}

/// The routes a service has unless told otherwise.
pub(crate) fn default_routes() -> [String; 4] {
    ["home", "updates", "profile", "search"].map(String::from)
}

impl Spec {
    /// Whether every name and number is within bounds.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        check_name("service", &self.service)?;
        check_name("version", &self.version)?;
        ensure!(
            !["healthz", "metrics", "admin"].contains(&self.service.as_str()),
            "service {:?} would hide the instance's own endpoint",
            self.service
        );
        check_range("workers", f64::from(self.workers), 1.0, 1024.0)?;
        check_range("queue", f64::from(self.queue), 1.0, 65_536.0)?;
        check_range("service-ms", self.service_ms, 0.0, 60_000.0)?;
        check_range("spread", self.spread, 0.0, 2.0)?;
        check_range("cold-s", self.cold_s, 0.0, 3_600.0)?;
        check_range("cold-factor", self.cold_factor, 1.0, 1_000.0)?;
        ensure!(
            (1..=ROUTES_MAX).contains(&self.routes.len()),
            "from 1 to {ROUTES_MAX} routes are possible"
        );
        ensure!(
            self.dependencies.len() <= DEPENDENCIES_MAX,
            "at most {DEPENDENCIES_MAX} dependencies are possible"
        );
        ensure!(
            self.defects.len() <= DEFECTS_MAX,
            "at most {DEFECTS_MAX} defects are possible"
        );
        for route in &self.routes {
            check_name("route", route)?;
        }
        for dependency in &self.dependencies {
            let (service, route) = split_dependency(dependency);
            check_name("dependency", service)?;
            check_name("dependency's route", route)?;
        }
        for defect in &self.defects {
            if let Defect::Errors {
                route: Some(route), ..
            } = defect
                && !self.routes.contains(route)
            {
                bail!("defect names route {route:?}, which the service does not have");
            }
        }
        Ok(())
    }
}

/// The service and the route of a dependency: `identity` means `identity/home`.
pub(crate) fn split_dependency(dependency: &str) -> (&str, &str) {
    dependency.split_once('/').unwrap_or((dependency, "home"))
}

fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ensure!(
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with('.'),
        "{what} {name:?} is not a name: from 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.', \
         the first not a '.'"
    );
    Ok(())
}

fn check_range(what: &str, value: f64, least: f64, most: f64) -> anyhow::Result<()> {
    ensure!(
        (least..=most).contains(&value),
        "{what} is {value}, but must lie between {least} and {most}"
    );
    Ok(())
}

/// Writes `out/SERVICE/VERSION/run` and returns its path.
pub(crate) fn build(spec: &Spec, out: &Path) -> anyhow::Result<PathBuf> {
    spec.check()?;
    let json = serde_json::to_vec(spec)?;
    ensure!(
        json.len() as u64 <= SPEC_BYTES_MAX,
        "the spec is larger than {SPEC_BYTES_MAX} bytes"
    );
    let folder = out.join(&spec.service).join(&spec.version);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let draft = folder.join(format!(".run.{}", std::process::id()));
    let path = folder.join("run");
    let written = write_draft(&draft, &json)
        .and_then(|()| fs::rename(&draft, &path).context("rename the artifact into place"));
    if written.is_err() && draft.exists() {
        fs::remove_file(&draft).context("remove the unfinished artifact")?;
    }
    written.with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn write_draft(draft: &Path, json: &[u8]) -> anyhow::Result<()> {
    let mut executable = File::open(std::env::current_exe()?)?;
    let size = executable.metadata()?.len();
    let program_bytes = match find_trailer(&mut executable)? {
        Some((start, _)) => start,
        None => size,
    };
    executable.seek(SeekFrom::Start(0))?;
    let mut file = File::create(draft)?;
    let copied = std::io::copy(&mut executable.take(program_bytes), &mut file)?;
    ensure!(
        copied == program_bytes,
        "the executable changed while it was read"
    );
    file.write_all(json)?;
    file.write_all(&(json.len() as u32).to_le_bytes())?;
    file.write_all(MAGIC)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()?;
    Ok(())
}

/// The spec in a file's trailer, or nothing when the file has no trailer.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Spec>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let Some((start, length)) = find_trailer(&mut file)? else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut json = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut json)?;
    let spec: Spec = serde_json::from_slice(&json)
        .with_context(|| format!("read the trailer of {}", path.display()))?;
    spec.check()?;
    Ok(Some(spec))
}

/// Where the trailer's JSON starts, and its length in bytes.
fn find_trailer(file: &mut File) -> anyhow::Result<Option<(u64, u64)>> {
    let size = file.metadata()?.len();
    if size < FOOTER_BYTES {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - FOOTER_BYTES))?;
    let mut length = [0_u8; 4];
    let mut magic = [0_u8; 8];
    file.read_exact(&mut length)?;
    file.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Ok(None);
    }
    let length = u64::from(u32::from_le_bytes(length));
    let Some(start) = (size - FOOTER_BYTES).checked_sub(length) else {
        bail!("the trailer claims to be longer than the file");
    };
    ensure!(
        length <= SPEC_BYTES_MAX,
        "the trailer claims more than {SPEC_BYTES_MAX} bytes"
    );
    Ok(Some((start, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(name: &str, bytes: &[u8]) -> anyhow::Result<Option<Spec>> {
        let path = std::env::temp_dir().join(format!("site-{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        let spec = read(&path);
        fs::remove_file(&path).unwrap();
        spec
    }

    fn with_footer(json: &[u8], length: u32) -> Vec<u8> {
        [json, &length.to_le_bytes(), MAGIC].concat()
    }

    #[test]
    fn a_file_without_a_trailer_is_not_an_artifact() {
        assert_eq!(read_bytes("short", b"x").unwrap(), None);
        assert_eq!(read_bytes("plain", &[7; 100]).unwrap(), None);
    }

    #[test]
    fn a_damaged_trailer_is_an_error() {
        for (name, bytes) in [
            ("long", with_footer(b"{}", 3)),
            ("huge", with_footer(&vec![b' '; 70_000], 70_000)),
            ("empty", with_footer(b"", 0)),
            ("foreign", with_footer(b"{\"a\":1}", 7)),
        ] {
            assert!(read_bytes(name, &bytes).is_err(), "{name} was accepted");
        }
    }
}
