//! `GET /doctor/v1`: a node looks at itself and says what it finds, as [`NodeReport`]. While users are asked for it is root's, as
//! all routes that are given to the doors: it writes a little to the disk, to see how long that takes.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hyper::StatusCode;

use super::http::{encoded, json};
use crate::base::BoxFuture;
use crate::wire::checkup::NodeReport;

/// Who looks.
pub trait Examine: Send + Sync + 'static {
    /// The report as of now. Takes as long as a few syncs of the disk, within a bound.
    fn examine(&self) -> BoxFuture<'_, NodeReport>;
}

/// The path of this file.
pub fn routes(examine: Arc<dyn Examine>) -> Router {
    Router::new()
        .route("/doctor/v1", get(move || async move { json(StatusCode::OK, encoded(&examine.examine().await)) }))
}
