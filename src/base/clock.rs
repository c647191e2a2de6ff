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
