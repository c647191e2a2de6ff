//! How much room is left where the state lies, and what follows from it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Usage;

/// Sizes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this program could use in all, were the file system empty.
    pub total: u64,
    /// Bytes that are free for it.
    pub free: u64,
}

/// Who looks how much room there is.
pub trait RoomProbe: Send + Sync + 'static {
    /// The room now. May block.
    ///
    /// # Errors
    /// What the system says.
    fn look(&self) -> io::Result<Room>;
}

/// Looks at the file system of a folder.
#[derive(Clone, Debug)]
pub struct FileSystem(pub PathBuf);

impl RoomProbe for FileSystem {
    fn look(&self) -> io::Result<Room> {
        let sizes = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(sizes.f_frsize);
        // As df counts: what is reserved for root is no room.
        let reserved = sizes.f_bfree.saturating_sub(sizes.f_bavail);
        Ok(Room { total: bytes(sizes.f_blocks.saturating_sub(reserved)), free: bytes(sizes.f_bavail) })
    }
}

/// When the room is worth a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomRules {
    /// A warning is due where so much is used.
    pub warn_percent: u64,
    /// Nothing that grows is taken where so much is used.
    pub full_percent: u64,
    /// Nor where less than this is free; on a small file system less than an eighth of it.
    pub free_bytes_min: u64,
}

/// What the rules make of the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Roomy,
    Filling,
    Full,
}

impl RoomRules {
    /// Judges the room. Pages of the state file that are free count as room, since that is where the state grows first;
    /// but some room must be free outside of it, for the log. Who was full needs a little more to be so no longer.
    pub fn judge(&self, room: Room, state: Usage, before: Level) -> Level {
        let share = |percent: u64| room.total / 100 * 100u64.saturating_sub(percent);
        let least = self.free_bytes_min.min(room.total / 8);
        let margin = |bytes: u64| if before == Level::Full { bytes + bytes / 10 } else { bytes };
        // Keys and values fill half of their pages or more.
        let reusable = state.on_disk.saturating_sub(state.in_use.saturating_mul(2));
        let usable = room.free.saturating_add(reusable);
        if usable < margin(share(self.full_percent).max(least)) || room.free < margin(least / 2) {
            Level::Full
        } else if usable < share(self.warn_percent) {
            Level::Filling
        } else {
            Level::Roomy
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = u128::from(self.total.saturating_sub(self.free)) * 100 / u128::from(self.total.max(1));
        let mib = |bytes: u64| bytes >> 20;
        write!(f, "{used} % full, {} of {} MiB are free", mib(self.free), mib(self.total))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GIB: u64 = 1 << 30;
    const RULES: RoomRules = RoomRules { warn_percent: 80, full_percent: 95, free_bytes_min: 128 << 20 };

    #[test]
    fn the_rules_judge_by_share_and_by_bytes() {
        let used = |total: u64, percent: u64| Room { total, free: total / 100 * (100 - percent) };
        let none = Usage::default();
        let cases = [
            (used(100 * GIB, 79), Level::Roomy, Level::Roomy),
            (used(100 * GIB, 81), Level::Roomy, Level::Filling),
            (used(100 * GIB, 94), Level::Roomy, Level::Filling),
            (used(100 * GIB, 96), Level::Filling, Level::Full),
            // Half a percent is not enough to be sure.
            (Room { total: 1000 * GIB, free: 51 * GIB }, Level::Full, Level::Full),
            (Room { total: 1000 * GIB, free: 51 * GIB }, Level::Filling, Level::Filling),
            (Room { total: 1000 * GIB, free: 56 * GIB }, Level::Full, Level::Filling),
            // 6 % of two GiB are less than the log needs.
            (used(2 * GIB, 94), Level::Roomy, Level::Full),
            (used(GIB / 8, 85), Level::Roomy, Level::Filling),
            (used(GIB / 8, 90), Level::Roomy, Level::Full),
            (Room::default(), Level::Roomy, Level::Roomy),
        ];
        for (room, before, expected) in cases {
            assert_eq!(RULES.judge(room, none, before), expected, "{room} after {before:?}");
        }
    }

    #[test]
    fn free_pages_of_the_state_are_room_but_not_for_the_log() {
        let emptied = Usage { on_disk: 50 * GIB, in_use: GIB, ..Usage::default() };
        let room = Room { total: 100 * GIB, free: 4 * GIB };
        assert_eq!(RULES.judge(room, emptied, Level::Full), Level::Roomy);
        let room = Room { total: 100 * GIB, free: 60 << 20 };
        assert_eq!(RULES.judge(room, emptied, Level::Roomy), Level::Full);
    }

    #[test]
    fn a_folder_has_room() {
        let room = FileSystem(std::env::temp_dir()).look().unwrap();
        assert!(room.total >= room.free && room.total > 0, "{room}");
        assert!(FileSystem("/nowhere/at/all".into()).look().is_err());
    }
}
