//! What a process was started with in its environment.
//!
//! A process has its new executable a moment before the kernel has laid out its environment: until
//! then both that and its arguments read as empty. Who looks in this moment waits it out, for an
//! instance whose name was not seen would be taken for nobody's. A moment earlier still it is its
//! parent's likeness, executable and environment alike: look at its executable first.

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

/// An environment is read this far.
const BYTES_MAX: u64 = 4 << 20;
/// How long a process may take from its executable to its environment, on a host that has much else to do.
const LAID_OUT_WITHIN: Duration = Duration::from_secs(1);
/// From one look to the next while it does.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The value of the variable `name` that the process `pid` was started with; `None` also where the
/// process is gone, is somebody else's, or does not say.
///
/// Waits up to a second for a process that has just been given its executable.
pub fn environment_variable(pid: u32, name: &str) -> Option<String> {
    let environment = environment(pid)?;
    environment
        .split(|byte| *byte == 0)
        .filter_map(|pair| pair.strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

fn environment(pid: u32) -> Option<Vec<u8>> {
    let deadline = Instant::now() + LAID_OUT_WITHIN;
    loop {
        // Looked at first: a process that had arguments by then, and still no variable, has none.
        let is_laid_out = !read(pid, "cmdline")?.is_empty();
        let environment = read(pid, "environ")?;
        if is_laid_out || !has_executable(pid) || Instant::now() > deadline {
            return Some(environment);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn has_executable(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn read(pid: u32, file: &str) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/{pid}/{file}")).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::wait_for;

    fn runs_another_program(pid: u32) -> bool {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        exe != std::env::current_exe().unwrap()
    }

    #[test]
    fn a_process_is_named_by_its_environment_from_the_first_moment() {
        for round in 0..200 {
            let mut child = Command::new("sleep")
                .arg("60")
                .env("INSTANCE", format!("feed-lax-{round}"))
                .env("INSTANCE_OF", "feed")
                .spawn()
                .unwrap();
            wait_for(|| runs_another_program(child.id()).then_some(()));
            let named = environment_variable(child.id(), "INSTANCE");
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(named, Some(format!("feed-lax-{round}")));
            assert_eq!(environment_variable(child.id(), "INSTANCE"), None);
        }
    }

    #[test]
    fn a_process_without_variables_does_not_keep_anybody_waiting_and_has_none() {
        let mut child = Command::new("sleep").arg("60").env_clear().spawn().unwrap();
        assert_eq!(environment_variable(child.id(), "INSTANCE"), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
