//! Ports that nobody holds.
//!
//! **Guarantees.** A port was free a moment ago, and no two calls of one process give the same one.
//! **Never** holds a port: whoever binds it next may still find it taken, and says so.
//!
//! Example: `ports::free()` gives a port below the range from which the kernel serves outgoing connections.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Context;

/// Below this many people run things by hand.
const LOWEST: u16 = 12_000;
/// Where the kernel's range cannot be read: below what Linux uses unless told otherwise.
const HIGHEST: u16 = 32_767;
/// Ports tried before the kernel is asked for any.
const TRIES: u16 = 512;

/// How far this process has come in the range.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address that is free now.
///
/// Below the ephemeral range, so that no outgoing connection sits on it when it is bound a second time.
pub(crate) fn free() -> anyhow::Result<u16> {
    let highest = ephemeral_from().unwrap_or(HIGHEST).max(LOWEST + TRIES);
    let width = highest - LOWEST;
    // Two platforms on one machine start at different places.
    let start = (std::process::id() % u32::from(width)) as u16;
    for _ in 0..TRIES {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + (start + step.wrapping_mul(7) % width) % width;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(any.local_addr()?.port())
}

fn ephemeral_from() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports: BTreeSet<u16> = (0..8).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 8);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
