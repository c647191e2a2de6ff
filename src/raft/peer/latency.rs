//! How long a peer takes to answer messages with log entries, and how often it does not.

use std::time::Duration;

use crate::kv::store::Appends;

/// Figures of one peer since this node began to look at it.
#[derive(Debug, Default)]
pub struct Latency {
    told: Appends,
    sum_of_squares: f64,
}

impl Latency {
    pub fn succeeded(&mut self, took: Duration) {
        let told = &mut self.told;
        let ms = took.as_secs_f64() * 1_000.0;
        let before = told.succeeded as f64;
        told.succeeded += 1;
        let count = told.succeeded as f64;
        told.current_ms = ms;
        told.minimum_ms = if before > 0.0 { told.minimum_ms.min(ms) } else { ms };
        told.maximum_ms = told.maximum_ms.max(ms);
        told.average_ms = (told.average_ms * before + ms) / count;
        self.sum_of_squares += ms * ms;
        let variance = self.sum_of_squares / count - told.average_ms * told.average_ms;
        told.deviation_ms = variance.max(0.0).sqrt();
    }

    pub fn failed(&mut self) {
        self.told.failed += 1;
    }

    pub fn told(&self) -> Appends {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_all_answers() {
        let mut latency = Latency::default();
        assert_eq!(latency.told(), Appends::default());
        for ms in [2, 4, 4, 4, 5, 5, 7, 9] {
            latency.succeeded(Duration::from_millis(ms));
        }
        latency.failed();
        let told = latency.told();
        assert_eq!((told.succeeded, told.failed), (8, 1));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(told.average_ms, 5.0) && near(told.deviation_ms, 2.0), "{told:?}");
        assert!(near(told.minimum_ms, 2.0) && near(told.maximum_ms, 9.0) && near(told.current_ms, 9.0), "{told:?}");
    }
}
