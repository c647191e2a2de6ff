//! When timers have last elapsed: systemd tells it over the bus, and reads it from a file's time where a timer with `Persistent=` is started.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use zbus::{OwnedVariant, Variant};

use super::files;
use crate::base::UnixMillis;
use crate::fleet::executor::ActiveState;

/// The property of a timer.
pub const LAST_TRIGGER: &str = "LastTriggerUSec";

/// Where systemd keeps those files.
pub const STAMPS_DIR: &str = "/var/lib/systemd/timers";

/// The moment that a property tells in microseconds; `None`: there was none yet.
pub fn moment(property: &Variant<'_>) -> Option<UnixMillis> {
    match property {
        Variant::U64(micros @ 1..) => i64::try_from(micros / 1_000).ok().map(UnixMillis),
        _ => None,
    }
}

/// Adds to the states of timers when they have last elapsed. One that cannot be asked keeps what is known of it.
pub async fn read_all<'a, F>(states: &'a mut [(String, ActiveState)], ask: impl Fn(&'a str) -> F)
where
    F: Future<Output = zbus::Result<OwnedVariant>>,
{
    for (name, state) in states.iter_mut().filter(|(name, _)| name.ends_with(".timer")) {
        state.elapsed = ask(name).await.ok().and_then(|property| moment(&property));
    }
}

/// Has systemd take `at` for the moment at which a timer has last elapsed, when that is started next.
pub fn stamp(dir: &Path, timer: &str, at: UnixMillis) -> io::Result<()> {
    files::make_dir(dir)?;
    let file: File =
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(format!("stamp-{timer}")))?;
    let since_epoch = Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    file.set_modified(SystemTime::UNIX_EPOCH + since_epoch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stamp_has_the_time_of_the_last_run_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("timers");
        for ms in [1_700_000_000_123, 1_600_000_000_000] {
            stamp(&dir, "a@1.timer", UnixMillis(ms)).unwrap();
            let modified = std::fs::metadata(dir.join("stamp-a@1.timer")).unwrap().modified().unwrap();
            let since_epoch = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since_epoch.as_millis(), u128::try_from(ms).unwrap());
        }
    }
}
