//! One node's life as a recipe: settings → build → run → close in reverse.

#[cfg(feature = "scheduler")]
mod answer;
#[cfg(feature = "api")]
mod backups;
#[cfg(feature = "api")]
mod birth;
#[cfg(feature = "api")]
mod checkup;
#[cfg(feature = "cloudinit")]
mod cloudinit;
#[cfg(feature = "api")]
mod discovery;
#[cfg(feature = "api")]
mod discovery_srv;
#[cfg(feature = "api")]
mod doors;
#[cfg(feature = "api")]
mod etcd;
#[cfg(all(feature = "scheduler", feature = "api"))]
mod fleetd;
mod format;
#[cfg(feature = "api")]
mod founding;
mod host;
#[cfg(feature = "scheduler")]
mod identity;
#[cfg(all(feature = "scheduler", feature = "api"))]
mod inspect;
mod listeners;
#[cfg(feature = "scheduler")]
mod machine;
mod node;
mod place;
#[cfg_attr(not(feature = "api"), path = "no_program.rs")]
mod program;
mod run;
#[cfg(feature = "scheduler")]
mod sessions;
pub mod settings;
#[cfg(feature = "api")]
mod sockets;
#[cfg(feature = "template")]
mod templates;

#[cfg(feature = "api")]
pub use birth::{init, join};
#[cfg(feature = "cloudinit")]
pub use cloudinit::cloudinit;
#[cfg(feature = "api")]
pub use etcd::etcd;
#[cfg(all(feature = "scheduler", feature = "api"))]
pub use fleetd::fleetd;
pub use node::{Node, StartError, Teardown};
#[cfg(feature = "api")]
pub use program::{TRIAL_ARGUMENT, trial_main};
pub use run::{config, run};
pub use settings::Settings;
