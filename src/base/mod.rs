//! Floor 0: what every room shares — ids, traits for time and chance, limits, Go's glob, a cluster's first members, and errors told with their causes.

mod causes;
pub mod clock;
mod founders;
pub mod glob;
pub mod ids;
pub mod limits;

pub use causes::with_causes;
pub use clock::{BootMillis, Clock, Random, UnixMillis};
pub use founders::Founders;
pub use ids::{ClusterId, LeaseId, MachineId, MemberId};

use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that traits with async methods can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The format of what a node keeps on its disk and says to other members: a program reads data of its own format and of earlier
/// ones. Raised by a change after which an earlier program could not go on with the data.
pub const DATA_FORMAT: u32 = 1;

/// What a node tells whoever started it, beside systemd's `READY=1`, once it has a leader and is in the list of machines.
pub const SERVES_NOTICE: &str = "X_NODE_SERVES=1";
