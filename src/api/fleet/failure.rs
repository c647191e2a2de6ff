//! Why a request to fleet's API was not carried out. The texts are fleet's where fleet has one; the HTTP status is
//! decided in `api/status.rs`.

use axum::response::Response;

use super::model::{ErrorBody, ErrorDetail};
use crate::api::{http, status};
use crate::fleet::inspect::InspectError;
use crate::kv::StoreError;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum Failure {
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Method(&'static str),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    MediaType(String),
    /// What scripts look for in fleet's words, then what is really the matter.
    #[error("fleet server unable to communicate with etcd: {0}")]
    Store(#[from] StoreError),
    #[error("{unit} was changed by others {attempts} times in a row while this request was to change it; try again")]
    Contended { unit: String, attempts: usize },
    #[error("this node is reading the cluster's state just now; try again")]
    NotReady,
    #[error(transparent)]
    Inspect(InspectError),
}

impl From<InspectError> for Failure {
    /// What a node cannot look at is no path of its own, so that clients go the old way.
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Elsewhere => Self::NotFound(String::new()),
            other => Self::Inspect(other),
        }
    }
}

impl Failure {
    /// There is no such unit, in fleet's words.
    pub fn no_unit() -> Self {
        Self::NotFound("unit does not exist".to_owned())
    }

    /// The answer.
    pub fn response(&self) -> Response {
        let code = status::fleet(self);
        if code.is_server_error() {
            tracing::warn!(error = %self, "a request to fleet's API failed");
        }
        let body = ErrorBody { error: ErrorDetail { code: code.as_u16(), message: self.to_string() } };
        http::json(code, serde_json::to_vec(&body).unwrap_or_default())
    }
}
