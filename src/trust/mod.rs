//! Who may join a cluster and whom it trusts: tokens as people pass them on, what the cluster keeps of each, the certificates that it gave
//! out, and how one authority follows another.

pub mod certificates;
mod ledger;
mod record;
pub mod succession;
mod token;

pub use ledger::{Pass, Refusal, all, find, read};
pub use record::PREFIX;
pub use token::{Token, TokenError, hex};

/// Asks for all that is kept.
pub fn everything() -> crate::kv::RangeRequest {
    record::below(PREFIX)
}
