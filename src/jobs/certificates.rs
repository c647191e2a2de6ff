//! A member's certificate is made anew when two thirds of its life are over; whoever reads the file takes the new one from then on.

use std::sync::Arc;
use std::time::Duration;

use super::{Job, JobError, Stop};
use crate::base::limits::CERTIFICATE_LOOK_SECONDS;
use crate::base::{BoxFuture, Clock};
use crate::net::tls::ClusterIdentity;

/// Looks now and then.
pub struct Renew {
    pub identity: ClusterIdentity,
    /// For whom the certificate is made: names and IP addresses.
    pub hosts: Vec<String>,
    pub clock: Arc<dyn Clock>,
}

impl Job for Renew {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            loop {
                let renewed = self.identity.renew(&self.hosts, self.clock.now());
                if renewed.map_err(|error| JobError::new("renewing this member's certificate", error))? {
                    tracing::info!("this member's certificate was renewed");
                }
                tokio::select! {
                    () = stop.wait() => return Ok(()),
                    () = tokio::time::sleep(Duration::from_secs(CERTIFICATE_LOOK_SECONDS)) => {}
                }
            }
        })
    }
}
