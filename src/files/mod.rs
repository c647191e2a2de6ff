//! Files that are staged beside their place, checked and put there in one step.
//!
//! A reader of the destination sees the old file or the new one, whole, at any moment, also after a power cut. The
//! exception is a destination that is a mount point of its own: that one is written in place.

mod facts;
mod folders;
mod links;
mod owner;
mod pending;
mod stage;
mod syncs;
mod watch;

pub use facts::{facts, mode_of};
use folders::split;
pub use folders::{FileError, create_folders, has_folder};
pub use links::{back_up, remove_unchanged, resolve_links};
pub use owner::{Owner, resolve_owner, resolve_owner_below};
pub use pending::Pending;
pub use stage::{Replaced, Staged};
pub use syncs::Syncs;
pub use watch::FolderWatch;

#[cfg(test)]
mod tests;
