//! Reading an HTTP request's body within limits of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::base::limits::BODY_WAIT_MS_MAX;

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request's body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the request's body ended early: {0}")]
    Broken(String),
}

/// The whole body.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let announced = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > bytes_max) {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let bound = Duration::from_millis(BODY_WAIT_MS_MAX);
    match tokio::time::timeout(bound, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(bytes_max)),
        Ok(Err(error)) => Err(BodyError::Broken(error.to_string())),
        Err(_) => Err(BodyError::TooSlow(bound)),
    }
}
