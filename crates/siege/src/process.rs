//! A server as a process: started on a free port, asked whether it is ready, measured, killed.
//!
//! Guarantees: a process that was started here is gone when its handle is.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::Connection;

/// How often a server that starts is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How long one such question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel counts processor time in these.
const TICKS_PER_S: f64 = 100.0;

/// See the module.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `command`, which shall listen at `address`; what it says goes to the file `log`.
    pub fn start(command: &mut Command, address: SocketAddr, log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `path` is answered with 2xx; how long that took.
    pub fn wait_ready(&mut self, path: &str, within: Duration) -> io::Result<Duration> {
        let began = Instant::now();
        loop {
            let asked = Connection::open(self.address, PATIENCE).and_then(|mut it| it.get(path));
            if asked.is_ok_and(|it| it.is_good()) {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended with {status}")));
            }
            if began.elapsed() > within {
                let what = format!("the server is not ready after {} s", within.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            sleep(ASK_EVERY);
        }
    }

    /// Whether it runs still.
    pub fn runs(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address that nobody listens at.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time.
    pub cpu_s: f64,
    /// Memory of its own: what is resident without the pages of files.
    pub memory_bytes: u64,
    /// The most that was ever resident.
    pub peak_bytes: u64,
}

/// Reads what a process has used so far.
pub fn usage(process: u32) -> io::Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not what the kernel writes");
    let (_, fields) = stat.rsplit_once(')').ok_or_else(broken)?;
    // After the name follow the third field and the others of proc(5).
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<f64>().ok();
    let (user, system) = (ticks().ok_or_else(broken)?, ticks().ok_or_else(broken)?);
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|it| it.parse::<u64>().ok())
    };
    Ok(Usage {
        cpu_s: (user + system) / TICKS_PER_S,
        memory_bytes: kib("RssAnon:").ok_or_else(broken)? << 10,
        peak_bytes: kib("VmHWM:").ok_or_else(broken)? << 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_memory_and_never_less_time_than_before() {
        let before = usage(std::process::id()).unwrap();
        let after = usage(std::process::id()).unwrap();
        assert!(before.memory_bytes > 0 && before.peak_bytes >= before.memory_bytes);
        assert!(after.cpu_s >= before.cpu_s);
    }
}
