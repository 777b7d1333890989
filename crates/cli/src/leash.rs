//! A leash: a process that ends when whoever started it is gone.
//!
//! **Guarantees.** Whoever holds the other end of standard input needs to do nothing: when it ends, however
//! it ends, the kernel closes the pipe, and this process is told to stop as by SIGTERM. **Never** reads what
//! is sent: only the end counts.
//!
//! Example: `mainstay serve --data-dir DIR --leash < pipe`.

use std::io::Read as _;

use rustix::process::{Signal, getpid, kill_process};

/// Sends SIGTERM to this process once standard input ends.
pub(crate) fn hold() {
    std::thread::spawn(|| {
        let mut ignored = [0_u8; 256];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut ignored), Ok(read) if read > 0) {}
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!("the leash is gone and this process cannot be stopped: {error}");
        }
    });
}
