//! Floor 3: the executor of `.container` units, over the API of Docker's engine or of what speaks it too.
//!
//! The engine creates and runs; everything else is decided here, so that all units behave alike: when a container is started
//! again, when it counts as started, how long it may take to stop. What an engine says in its events only wakes the unit's
//! keeper, which then looks at the container itself: an event that is lost costs nothing. Containers carry labels by which
//! the next life of the node knows its own.

mod checks;
mod create;
mod engine;
mod exec;
mod executor;
mod host;
mod image;
mod keeper;
mod logs;
mod notices;
mod report;
mod secrets;
mod shared;
mod store;
mod watcher;

pub use executor::{DockerExecutor, DockerOptions};
pub use secrets::{Found, Secrets};
