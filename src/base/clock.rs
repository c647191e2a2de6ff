//! Time and chance as arguments: decisions take these traits so that a simulation can drive them.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This instant moved by `ms` milliseconds, saturating at the ends of the range.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Milliseconds since this machine was started, its sleep included: it never goes back, and all processes of the machine have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootMillis(pub u64);

impl BootMillis {
    /// This instant moved by `ms` milliseconds, saturating at the end of the range.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from this instant until `later`; 0 where that is over.
    pub fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// Where a room that decides gets the wall clock from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> UnixMillis;
}

/// Where a room that decides gets chance from.
pub trait Random: Send + Sync + 'static {
    /// A uniformly distributed 64-bit number.
    fn next_u64(&self) -> u64;
}
