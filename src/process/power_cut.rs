//! What a power cut does to the units of one node: every shim and everything below it dies at once, and no word is written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::processes::{signal, signal_descendants, with_arguments};
use super::shim::SHIM_ARGUMENT;

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

/// Kills all that runs for the units of `state_dir`, as a machine does that loses its power. What is on disk stays.
pub fn kill_all(state_dir: &Path) {
    // What is stored is canonical, so what is looked for is too; a folder that is gone has no units.
    let Ok(state_dir) = state_dir.canonicalize() else { return };
    let ours = |arguments: &[&[u8]]| match arguments {
        [.., argument, dir] => {
            *argument == SHIM_ARGUMENT.as_bytes() && Path::new(OsStr::from_bytes(dir)).parent() == Some(&state_dir)
        }
        _ => false,
    };
    for shim in with_arguments(ours) {
        // Held still first: a shim that lives on would answer the death of a process by starting it again.
        signal(shim, SIGSTOP);
        signal_descendants(shim, SIGKILL);
        signal(shim, SIGKILL);
    }
}
