//! A histogram that keeps nothing, in the place of the crate of this name.
//!
//! openraft records the sizes of its batches in histograms and shows them under its feature `runtime-stats` alone, which
//! this project does not turn on. The crate itself (0.2.3) prepares tables for all its resolutions at the first use, 26 MB
//! of memory in each process. Names and signatures are those that openraft calls.

use std::fmt;
use std::marker::PhantomData;

/// Forgets what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    pub fn record(&mut self, _value: u64) {}

    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// All zeros.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// Zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}

/// An empty chart.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    pub fn new() -> Self {
        Self
    }

    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not recorded")
    }
}
