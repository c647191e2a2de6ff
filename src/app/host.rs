//! What the host gives every node: clock, chance, a name, an address.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::{Clock, Random, UnixMillis};

/// The machine's wall clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's random numbers.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// Lets this process have as many files open as it may: each client that waits holds one, and the usual limit is for programs
/// that wait for few.
pub fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The host's name as the kernel has it.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

/// All memory of the host; 0 where the kernel does not tell.
#[cfg(feature = "scheduler")]
pub fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Cores that this process may use; 0 where the kernel does not tell.
#[cfg(feature = "scheduler")]
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// The address that the default route would send from; empty without one. Nothing is sent.
#[cfg(any(feature = "scheduler", feature = "api", feature = "cloudinit"))]
pub fn default_route_ip() -> String {
    use std::net::{IpAddr, UdpSocket};
    let probe = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // An address set aside for documentation: it only selects the route.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match probe.map(|address| address.ip()) {
        Ok(IpAddr::V4(ip)) if !ip.is_unspecified() => ip.to_string(),
        _ => String::new(),
    }
}
