//! When a process of ours is to end.
//!
//! **Guarantees.** SIGTERM and SIGINT end it, and on a leash the end of standard input: the pipe that its
//! starter holds closes however the starter dies. **Never** keeps the process from ending by reading: the
//! reader is a plain thread that nobody waits for.
//!
//! ```text
//! ending::told(leash).await?;
//! ```

use std::io::{self, Read as _};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Comes back when this process is to end.
pub(crate) async fn told(leash: bool) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        () = input_end(), if leash => tracing::info!("standard input ended: so does this process"),
    }
    Ok(())
}

/// Comes back when standard input has ended.
pub(crate) async fn input_end() {
    let (ended, end) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut ignored = [0_u8; 256];
        let mut input = io::stdin().lock();
        // A failure to read means that nobody holds the other end.
        while matches!(input.read(&mut ignored), Ok(bytes) if bytes > 0) {}
        drop(ended);
    });
    // Its sender is only ever dropped.
    drop(end.await);
}
