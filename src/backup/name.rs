//! What a backup is called: when it was made and of which cluster, so that names in their order are backups in theirs.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::BackupError;
use crate::base::{ClusterId, UnixMillis};

const SUFFIX: &str = ".snapshot";
/// Year to millisecond, UTC.
const TIME: &str = "%Y%m%dT%H%M%S.%3f";

/// `20261121T112300.000Z-CLUSTER.snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub made: UnixMillis,
    pub cluster: ClusterId,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = Timestamp::from_millisecond(self.made.0).unwrap_or_default();
        write!(f, "{}Z-{:016x}{SUFFIX}", made.strftime(TIME), self.cluster.0)
    }
}

impl FromStr for Name {
    type Err = BackupError;

    fn from_str(text: &str) -> Result<Self, BackupError> {
        read(text).filter(|name| name.to_string() == text).ok_or_else(|| BackupError::Name(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Name> {
    let (time, cluster) = text.strip_suffix(SUFFIX)?.split_once("Z-")?;
    let time = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?;
    let cluster = ClusterId(u64::from_str_radix(cluster, 16).ok()?);
    Some(Name { made: UnixMillis(time.timestamp().as_millisecond()), cluster })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        let name = Name { made: UnixMillis(1_795_260_180_042), cluster: ClusterId(0xcd) };
        assert_eq!(name.to_string(), "20261121T112300.042Z-00000000000000cd.snapshot");
        assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        for text in [
            "",
            "a.snapshot",
            "20261121T112300.042Z-00000000000000cd",
            "20261121T112300Z-00000000000000cd.snapshot",
            "20261121T112300.042Z-cd.snapshot",
            "../20261121T112300.042Z-00000000000000cd.snapshot",
            "20261321T112300.042Z-00000000000000cd.snapshot",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_of_names_is_that_of_times() {
        let at = |made| Name { made: UnixMillis(made), cluster: ClusterId(1) }.to_string();
        assert!(at(999) < at(1_000) && at(1_000) < at(1_700_000_000_000));
    }
}
