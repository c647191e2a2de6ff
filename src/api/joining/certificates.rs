//! Certificates for people and programs: everybody may have one of his own name, an administrator one of any. Administrators list and
//! revoke them.

use axum::body::Body;
use hyper::Request;

use super::{Failure, endpoints, read};
use crate::api::Shared;
use crate::api::users::{Credentials, administrator, anybody};
use crate::base::limits::{CERTIFICATES_MAX, CERTIFICATES_OF_ONE_NAME_MAX, CLIENT_CERTIFICATE_DAYS_MAX};
use crate::base::{MemberId, UnixMillis};
use crate::kv::{Consistency, Op, StoreError};
use crate::net::tls::{Authority, ClusterIdentity, about_pem};
use crate::trust::certificates::{self as given, Given};
use crate::trust::hex;
use crate::wire::joining::{Certificates, Certified, Certify, ListedCertificate};

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
    note(shared, &authority, &certificate, (&user, None)).await?;
    tracing::info!(user, days = asked.days, "a client's certificate was given out");
    let authorities = authority.trusted().to_owned();
    Ok(Certified { user, certificate, authorities, endpoints: endpoints(shared).await? })
}

/// Has the cluster know a certificate that it gives out, to a user or a member: only what it knows can be revoked by name.
pub(super) async fn note(
    shared: &Shared,
    authority: &Authority,
    certificate: &str,
    (name, member): (&str, Option<MemberId>),
) -> Result<(), Failure> {
    let (about, now) = (about_pem(certificate)?, shared.clock.now());
    let known = known(shared).await?;
    let ended = given::ended(&known, now);
    let of_name = known.iter().filter(|(given, _)| given.name == name && given.state(now) == "good").count();
    if of_name >= CERTIFICATES_OF_ONE_NAME_MAX {
        let why =
            format!("{name} has {of_name} certificates that are good: use one of them, or `node ctl cert revoke` some");
        return Err(Failure::Store(StoreError::Overloaded(why)));
    }
    if known.len() - ended.len() >= CERTIFICATES_MAX {
        let why = format!("{CERTIFICATES_MAX} certificates are known that are still good");
        return Err(Failure::Store(StoreError::Overloaded(why)));
    }
    let (authority, until) = (hex(&authority.fingerprint()?), about.ends);
    let given =
        Given { serial: about.serial, name: name.to_owned(), member, authority, made: now, until, revoked: None };
    shared.store.write(Op::Txn(given.write(0, &ended))).await?.result?;
    Ok(())
}

/// All that the cluster knows.
pub(super) async fn known(shared: &Shared) -> Result<Vec<(Given, i64)>, Failure> {
    let (_, found) = shared.store.range(given::all(), Consistency::Linearizable).await?;
    Ok(given::read(&found.kvs))
}

/// All certificates that have not ended.
pub async fn list(shared: &Shared) -> Result<Certificates, Failure> {
    let now = shared.clock.now();
    let mut known: Vec<Given> = known(shared).await?.into_iter().map(|(given, _)| given).collect();
    known.sort_by(|a, b| (&a.name, a.made).cmp(&(&b.name, b.made)));
    let kept = known.into_iter().filter(|given| now < given.until);
    Ok(Certificates { certificates: kept.map(|given| listed(given, now)).collect() })
}

/// Takes the certificates of a name, or the one of a serial number, no more.
pub async fn revoke(shared: &Shared, word: &str) -> Result<Certificates, Failure> {
    let (known, members, now) = (known(shared).await?, shared.store.members_now().await?, shared.clock.now());
    let members: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    let named = given::named(&known, word, &members).map_err(Failure::InUse)?;
    let revoked: Vec<Given> = named.iter().map(|given| given.revoked_at(now)).collect();
    if revoked.is_empty() {
        return Err(Failure::NoCertificate);
    }
    shared.store.write(Op::Txn(given::rewrite(&revoked))).await?.result?;
    for given in &revoked {
        tracing::info!(name = given.name, serial = given.serial, "a certificate was revoked");
    }
    Ok(Certificates { certificates: revoked.into_iter().map(|given| listed(given, now)).collect() })
}

fn listed(given: Given, now: UnixMillis) -> ListedCertificate {
    ListedCertificate {
        state: given.state(now).to_owned(),
        serial: given.serial,
        name: given.name,
        member: given.member,
        made: given.made,
        until: given.until,
        revoked: given.revoked,
    }
}
