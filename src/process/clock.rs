//! The machine's clock since its start, which goes on while it sleeps.

use rustix::time::{ClockId, clock_gettime};

use crate::base::BootMillis;

/// The present moment by `CLOCK_BOOTTIME`: the same for all processes of the machine, whatever becomes of the wall clock.
pub fn boot_now() -> BootMillis {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    BootMillis(seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000))
}
