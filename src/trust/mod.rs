//! Who may join a cluster: tokens as people pass them on, and what the cluster keeps of each.

mod ledger;
mod token;

pub use ledger::{Pass, Refusal, all, find, read};
pub use token::{Token, TokenError, hex};
