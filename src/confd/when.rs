//! When: how long changes gather before they are rendered, and when a reload may follow another. Moments are times since
//! any one moment; whoever asks has the clock.

use std::time::Duration;

/// How many times its silence a debounce lasts at most, where the resource does not say.
const MAX_TO_QUIET: u32 = 4;

/// How long changes may gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// They are rendered after this silence …
    pub quiet: Duration,
    /// … and in any case so long after the first one.
    pub max: Duration,
}

impl Debounce {
    /// A debounce of which only the silence is known.
    pub fn of(quiet: Duration) -> Self {
        Self { quiet, max: quiet * MAX_TO_QUIET }
    }

    /// When changes are rendered of which the first came at `first` and the last, so far, at `last`.
    pub fn due(&self, first: Duration, last: Duration) -> Duration {
        (last + self.quiet).min(first + self.max)
    }
}

/// How long a reload must still wait that would come at `now`; zero: it may run.
pub fn reload_in(last: Option<Duration>, interval: Option<Duration>, now: Duration) -> Duration {
    match (last, interval) {
        (Some(last), Some(interval)) => (last + interval).saturating_sub(now),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_gather_until_silence_or_the_bound() {
        let second = Duration::from_secs;
        let debounce = Debounce { quiet: second(2), max: second(5) };
        for (first, last, due) in [(10, 10, 12), (10, 11, 13), (10, 13, 15), (10, 14, 15)] {
            assert_eq!(debounce.due(second(first), second(last)), second(due), "{first} {last}");
        }
        assert_eq!(Debounce::of(second(2)).max, second(8));
    }

    #[test]
    fn reloads_keep_their_distance() {
        let second = Duration::from_secs;
        let cases = [
            (None, Some(10), 5, 0),
            (Some(1), None, 5, 0),
            (Some(1), Some(10), 5, 6),
            (Some(1), Some(10), 11, 0),
            (Some(1), Some(10), 30, 0),
        ];
        for (last, interval, now, wait) in cases {
            assert_eq!(reload_in(last.map(second), interval.map(second), second(now)), second(wait));
        }
    }
}
