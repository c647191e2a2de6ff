//! `Exclusive=true` under systemd: until when each such unit may run is a file, in memory, and a service of its own watches over the files, so
//! that nothing of it needs the node. systemd starts such a unit only while its time is not over (`ExecCondition=` in a drop-in).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files;
use crate::base::BootMillis;
use crate::unit::{Placement, UnitText};

/// The first argument that makes the binary the guard, or answers whether a unit may be started.
pub const GUARD_ARGUMENT: &str = "__fence";
/// The guard's unit.
pub const GUARD: &str = "node-fence.service";

/// Where systemd reads what lasts until the next boot.
const SYSTEM_DIR: &str = "/run/systemd/system";
const DROP_IN: &str = "90-exclusive.conf";

/// Where it is kept until when exclusive units may run.
#[derive(Clone, Debug)]
pub struct Fence {
    dir: PathBuf,
    /// The program that is the guard.
    program: PathBuf,
}

impl Fence {
    /// Beside the directory of units.
    ///
    /// # Errors
    /// This program's path cannot be found out.
    pub fn beside(units_dir: &Path) -> io::Result<Self> {
        Ok(Self { dir: units_dir.with_file_name("fence"), program: std::env::current_exe()? })
    }

    /// Has systemd ask before it starts a unit, if that is exclusive; else no longer. To be followed by a reload.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn prepare(&self, unit: &str, text: &str) -> io::Result<()> {
        let folder = Path::new(SYSTEM_DIR).join(format!("{unit}.d"));
        if !is_exclusive(unit, text) {
            return self.forget(unit);
        }
        files::make_dir(&self.dir)?;
        files::make_dir(&folder)?;
        let (program, dir) = (self.program.display(), self.dir.display());
        let asks = format!(
            "# Written by node: Exclusive=true.\n[Unit]\nAfter={GUARD}\n[Service]\n\
             ExecCondition=+{program} {GUARD_ARGUMENT} may-start {dir} %n\n"
        );
        files::write(&folder, DROP_IN, &asks)?;
        let guard = format!(
            "[Unit]\nDescription=Ends exclusive units when the lease of this machine has run out\nStartLimitIntervalSec=0\n\
             [Service]\nExecStart={program} {GUARD_ARGUMENT} guard {dir}\nRestart=always\nRestartSec=100ms\nOOMScoreAdjust=-1000\n"
        );
        files::write(Path::new(SYSTEM_DIR), GUARD, &guard)
    }

    /// Takes away what was there for a unit.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget(&self, unit: &str) -> io::Result<()> {
        let folder = Path::new(SYSTEM_DIR).join(format!("{unit}.d"));
        files::remove(&folder, DROP_IN)?;
        // Others may have put drop-ins of their own there.
        let _ = fs::remove_dir(&folder);
        files::remove(&self.dir, unit)
    }

    /// Notes until when a unit may run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn allow_until(&self, unit: &str, until: BootMillis) -> io::Result<()> {
        match allowance(&self.dir, unit) {
            Some(known) if known >= until => Ok(()),
            _ => files::write(&self.dir, unit, &until.0.to_string()),
        }
    }
}

/// Until when a unit may run; `None`: nobody said that it may, or what was said cannot be read.
pub fn allowance(dir: &Path, unit: &str) -> Option<BootMillis> {
    files::read(dir, unit).ok()??.parse().ok().map(BootMillis)
}

fn is_exclusive(unit: &str, text: &str) -> bool {
    UnitText::parse(text).is_ok_and(|text| Placement::of(&text, unit).exclusive)
}
