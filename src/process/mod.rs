//! Floor 3: the executor for machines where systemd is not PID 1 — a small supervisor of `.service` units.
//!
//! Each unit that runs has one detached shim process (the same binary): it owns the unit's processes, its journal and a
//! socket, and knows nothing of other units. The executor in the node orders units among each other, tells shims to start
//! and stop, and hears what has become of it. The node may be killed at any moment; when it comes back, it finds the shims
//! by their directories. Decisions are pure (`machine`: one service; `jobs`: services among each other; `spec`: what a text
//! asks for), the rest carries them out.
//!
//! `session` runs commands for people beside a process of this machine, whichever executor that one belongs to.

mod clock;
mod conditions;
mod doors;
mod executor;
mod fd;
mod jobs;
mod journal;
mod keeper;
mod launch;
mod link;
mod machine;
mod notify;
mod output;
mod pid_file;
mod power_cut;
mod processes;
mod protocol;
mod service;
pub mod session;
mod shim;
mod show;
mod spawn;
mod spec;
mod spec_values;
mod store;
mod stream;
mod surroundings;
mod terminal;
mod users;

pub use clock::boot_now;
pub use conditions::holds;
pub use executor::{ProcessExecutor, ProcessOptions};
pub use power_cut::kill_all;
pub use shim::{SHIM_ARGUMENT, shim_main};
pub use store::Host;
