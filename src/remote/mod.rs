//! An etcd v3 endpoint of somebody else's: channels to it, through our own connector, and the store over them.

mod convert;
mod error;
mod login;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use login::{Line, LineError, Login, Token, line};
pub use shared::{Candidacy, SharedStore};
pub use store::RemoteStore;

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Error};

use crate::base::limits::{REMOTE_PING_SECONDS, REMOTE_SILENT_SECONDS_MAX};
use crate::net::tls::Protocol;
use crate::net::{Address, connect_speaking};

/// A gRPC channel to `address`, opened now. One that goes silent while calls are under way is closed, and they fail.
///
/// # Errors
/// The connection's own error as the source.
pub async fn channel(address: &Address, connect_within: Duration) -> Result<Channel, Error> {
    let target = address.clone();
    // The authority is only a name here: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://node")
        .connect_timeout(connect_within)
        .http2_keep_alive_interval(Duration::from_secs(REMOTE_PING_SECONDS))
        .keep_alive_timeout(Duration::from_secs(REMOTE_SILENT_SECONDS_MAX));
    let connector = tower::service_fn(move |_| {
        let target = target.clone();
        async move { connect_speaking(Protocol::Http2, &target, connect_within).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}
