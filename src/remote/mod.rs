//! An etcd v3 endpoint of somebody else's: channels to it, through our own connector.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Error};

use crate::net::{Address, connect};

/// A gRPC channel to `address`, opened now.
///
/// # Errors
/// The connection's own error as the source.
pub async fn channel(address: &Address, connect_within: Duration) -> Result<Channel, Error> {
    let target = address.clone();
    // The authority is only a name here: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://node").connect_timeout(connect_within);
    let connector = tower::service_fn(move |_| {
        let target = target.clone();
        async move { connect(&target, connect_within).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}
