//! Who this machine is: its id, its address, the owner of its data, and whether systemd runs it.

use std::io;
use std::path::Path;

use super::StartError;
use super::host::SystemRandom;
use crate::base::{MachineId, Random as _};
use crate::disk;

/// The id in `/etc/machine-id`.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub fn machine_id() -> Result<MachineId, String> {
    let file = "/etc/machine-id";
    let remedy = "write one with `systemd-machine-id-setup` or set fleet.machine_id";
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}; {remedy}"))?;
    let id = text.trim();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(MachineId(id.to_lowercase()))
    } else {
        Err(format!("{file} does not hold 32 hex digits; {remedy}"))
    }
}

/// The kernel's id of this boot, without dashes.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().replace('-', "")
}

/// Whether systemd is PID 1 here. Source: sd_booted(3).
pub fn systemd_is_pid_1() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Tells data directories apart: made once, kept with the data.
pub fn owner(data_dir: &Path) -> Result<String, StartError> {
    let file = data_dir.join("owner");
    let failed = |cause| StartError::DataDir { path: file.display().to_string(), cause };
    match std::fs::read_to_string(&file) {
        Ok(owner) if !owner.trim().is_empty() => Ok(owner.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => {
            let owner = format!("{:016x}", SystemRandom.next_u64());
            disk::replace(&file, owner.as_bytes()).map_err(failed)?;
            Ok(owner)
        }
    }
}
