//! Conditions with a bound: what a test waits for, and what must stay as it is.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until `condition` is true, looking at it again and again for at most `bound`.
///
/// `Ok(false)` and an error both mean "not yet"; the last one is part of the message when time is up, so a
/// condition that uses `ensure!` tells what it saw.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let looked = condition();
        let late = started.elapsed() > bound;
        let seen = match looked {
            Ok(true) if late => format!("it came true only after {:.1?}", started.elapsed()),
            Ok(true) => return Ok(()),
            Ok(false) => "the condition is false".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if late {
            bail!("waited {bound:?} for {what}; last seen: {seen}");
        }
        sleep(LOOK_EVERY);
    }
}

/// Checks that `condition` holds at every look for the whole of `period`.
pub fn holds_for(what: &str, period: Duration, mut condition: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < period {
        condition().with_context(|| format!("{what} was to hold for {period:?}"))?;
        sleep(LOOK_EVERY);
    }
    Ok(())
}
