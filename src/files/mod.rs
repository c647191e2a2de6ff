//! Files that are staged beside their place, checked and put there in one step; and the commands that check and reload.
//!
//! A reader of the destination sees the old file or the new one, whole, at any moment, also after a power cut. The
//! exception is a destination that is a mount point of its own: that one is written in place.

mod command;
#[cfg(feature = "template")]
mod facts;
#[cfg(feature = "template")]
mod folders;
#[cfg(feature = "template")]
mod links;
#[cfg(feature = "template")]
mod owner;
#[cfg(feature = "template")]
mod pending;
#[cfg(feature = "template")]
mod stage;
#[cfg(feature = "template")]
mod watch;

pub use command::{CommandError, shell};
#[cfg(feature = "template")]
pub use facts::{facts, mode_of};
#[cfg(feature = "template")]
use folders::split;
#[cfg(feature = "template")]
pub use folders::{FileError, create_folders, has_folder};
#[cfg(feature = "template")]
pub use links::{back_up, remove_unchanged, resolve_links};
#[cfg(feature = "template")]
pub use owner::{Owner, resolve_owner, resolve_owner_below};
#[cfg(feature = "template")]
pub use pending::Pending;
#[cfg(feature = "template")]
pub use stage::Staged;
#[cfg(feature = "template")]
pub use watch::FolderWatch;

#[cfg(all(test, feature = "template"))]
mod tests;
