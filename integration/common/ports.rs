//! Ports for servers that a test starts: apart from those that the kernel gives to connections, which would take one
//! between the look and the server's own bind.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's range for connections, 32768 and up (`ip_local_port_range`).
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// Addresses on loopback that nobody listens on. No two calls of one process get the same; another process begins
/// elsewhere.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(257);
    let mut free = Vec::with_capacity(count);
    for _ in 0..COUNT {
        if free.len() == count {
            return free;
        }
        let next = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(FIRST + next).unwrap()));
        if TcpListener::bind(address).is_ok() {
            free.push(address);
        }
    }
    panic!("no {count} free ports from {FIRST} on");
}
