//! Who may join a cluster and whom it trusts: tokens as people pass them on, what the cluster keeps of each, the certificates that it gave
//! out, and how one authority follows another.

pub mod certificates;
#[cfg(feature = "api")]
mod ledger;
mod record;
pub mod succession;
#[cfg(feature = "api")]
mod token;

#[cfg(feature = "api")]
pub use ledger::{Pass, Refusal, all, find, read};
pub use record::{PREFIX, hex};
#[cfg(feature = "api")]
pub use token::{Token, TokenError};

/// Asks for all that is kept.
pub fn everything() -> crate::kv::RangeRequest {
    record::below(PREFIX)
}
