//! Certificates for people and programs: everybody may have one of his own name, an administrator one of any.

use axum::body::Body;
use hyper::Request;

use super::{Failure, endpoints, read};
use crate::api::Shared;
use crate::api::users::{Credentials, administrator, anybody};
use crate::base::limits::CLIENT_CERTIFICATE_DAYS_MAX;
use crate::net::tls::ClusterIdentity;
use crate::wire::joining::{Certified, Certify};

/// Signs a request.
pub async fn certify(
    shared: &Shared,
    identity: &ClusterIdentity,
    who: &Credentials,
    request: Request<Body>,
) -> Result<Certified, Failure> {
    let asked: Certify = read(request).await?;
    if !(1..=CLIENT_CERTIFICATE_DAYS_MAX).contains(&asked.days) {
        return Err(Failure::Bad(format!("a certificate lasts 1 to {CLIENT_CERTIFICATE_DAYS_MAX} days")));
    }
    let own = shared.whoever(who, &anybody).await?;
    let user = match (&own, asked.user.is_empty()) {
        (Some(own), true) => own.clone(),
        (None, true) => return Err(Failure::Bad("say for whom: users are not asked for here".to_owned())),
        (Some(own), false) if *own == asked.user => own.clone(),
        (_, false) => {
            let needs = "a certificate of another name is an administrator's to give";
            shared
                .check(who, &administrator)
                .await
                .map_err(|error| Failure::NotAllowed(format!("{needs} ({error})")))?;
            asked.user.clone()
        }
    };
    let (authority, now) = (identity.authority()?, shared.clock.now());
    let certificate = authority.admit_client(&user, &asked.request, now, asked.days);
    let certificate = certificate.map_err(|error| Failure::Bad(error.to_string()))?;
    tracing::info!(user, days = asked.days, "a client's certificate was given out");
    let authorities = authority.certificate().to_owned();
    Ok(Certified { user, certificate, authorities, endpoints: endpoints(shared).await? })
}
