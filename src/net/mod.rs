//! Connections: names to addresses without the C library, TCP, TLS and unix sockets, and frames with a length in front.
//!
//! The static binary has no NSS, so names resolve through hickory (`/etc/hosts` first, then the name servers of
//! `/etc/resolv.conf`). Whoever opens a connection anywhere in the crate opens it here.

pub mod address;
pub mod connect;
pub mod frame;
#[cfg(feature = "api")]
pub mod http;
#[cfg(feature = "template")]
pub mod interfaces;
#[cfg(feature = "api")]
mod lines;
pub mod resolve;
pub mod tls;

pub use address::{Address, AddressError};
pub use connect::{ConnectError, Connection, connect, connect_speaking};
pub use frame::{FrameError, FrameReader, FrameWriter};
