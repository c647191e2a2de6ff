//! Users, roles and what they may do, as etcd's v3 `auth` has them: values in, values out.
//!
//! The v2 API's patterns are ranges ([`Patterns`]); what its requests need is in `check`; who names nobody over it is [`NOBODY`],
//! with the role [`GUEST`].
//!
//! Passwords come hashed and are compared elsewhere. A change goes through the log as [`Op::Auth`](super::Op::Auth); what a
//! user asks for goes through it as [`Op::As`](super::Op::As) and is checked where it is applied, against the users and
//! roles of that moment. Operations without a user come from inside the cluster: while users are asked for, those
//! that only clients make are refused.

mod change;
mod check;
mod error;
mod model;
mod patterns;
mod ranges;
#[cfg(test)]
mod tests;

pub use change::Change;
pub(super) use change::apply as apply_change;
pub use check::v2_reads;
pub(super) use check::{needs_user, permit};
pub use error::AuthError;
pub use model::{Access, Auth, GUEST, NOBODY, PasswordHash, Permission, ROOT, Role, User};
pub use patterns::Patterns;
