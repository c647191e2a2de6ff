//! Reading an HTTP request's body as a whole, and why it could not be.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::base::limits::GRPC_MESSAGE_BYTES_MAX;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("a message of {0} bytes is larger than {GRPC_MESSAGE_BYTES_MAX}")]
    MessageTooLarge(usize),
    #[error("the request's body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("nothing more of the request's body arrived within {0:?}")]
    Silent(Duration),
    #[error("{0} bytes of requests are arriving or waiting for their answers already; try again")]
    NoRoom(usize),
    #[error("the request's body ended early: {0}")]
    Broken(String),
}

/// The whole body. That it comes in time, the door has seen to.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let announced = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > bytes_max) {
        return Err(BodyError::TooLarge(bytes_max));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(bytes_max)),
        Err(error) => Err(BodyError::Broken(error.to_string())),
    }
}
