//! Floor 3: the executor that drives systemd over D-Bus.
//!
//! A unit that this executor holds is a file in its directory, linked into `/run/systemd/system`; after a restart of the
//! node the files say what is held. systemd runs the units, the node only asks for jobs: whatever becomes of the node, no
//! unit is touched. States come from systemd's signals and are read anew only where signals may have been missed: after a
//! new connection, a new systemd on the bus, or a reload of its configuration. (`org.freedesktop.systemd1(5)`.)

mod board;
mod bus;
mod caller;
mod child;
mod executor;
mod fence;
mod files;
mod guard;
mod journal;
mod load;
mod reload;
mod shared;
mod signals;
mod states;
mod timer;
mod unload;
mod watcher;

pub use executor::{SystemdExecutor, SystemdOptions};
pub use fence::GUARD_ARGUMENT;
pub use guard::guard_main;
