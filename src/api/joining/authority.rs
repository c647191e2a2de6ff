//! Another authority takes over from the one that vouches for members and clients. Here it is only made and written down: every member
//! goes over by itself (`jobs::certificates`).

use std::time::Duration;

use axum::body::Body;
use hyper::Request;

use super::certificates::known;
use super::{Failure, read};
use crate::api::Shared;
use crate::base::limits::{AUTHORITY_CHANGE_WAIT_MS, AUTHORITY_KEPT_MS_MAX};
use crate::kv::{Consistency, Member, Op, Reply, Space, WatchRequest, WatchStart, prefix_end};
use crate::net::tls::{ClusterIdentity, Successor, about_pem, fingerprint_of};
use crate::trust::succession::{self, Succession};
use crate::trust::{self, hex};
use crate::wire::joining::{AuthorityState, Finish, Former, Peer, Rotate};

/// The state as of now, or after the next change behind `changed=REVISION`, where one comes in time.
pub async fn show(shared: &Shared, identity: &ClusterIdentity, query: Option<&str>) -> Result<AuthorityState, Failure> {
    if let Some(revision) = query.and_then(|query| query.strip_prefix("changed=")) {
        let revision: i64 = revision.parse().map_err(|_| Failure::Bad("changed= takes a revision".to_owned()))?;
        let (key, range_end) = (trust::PREFIX.as_bytes().into(), prefix_end(trust::PREFIX.as_bytes()));
        let start = WatchStart::Revision(revision.saturating_add(1));
        let mut watch = shared.store.watch(WatchRequest { space: Space::System, key, range_end, start }).await?;
        // Whether something has come or not, what there is now is the answer.
        let _ = tokio::time::timeout(Duration::from_millis(AUTHORITY_CHANGE_WAIT_MS), watch.next()).await;
    }
    state(shared, identity).await
}

async fn kept(shared: &Shared) -> Result<(i64, Option<Succession>, i64), Failure> {
    let (position, found) = shared.store.range(succession::find(), Consistency::Linearizable).await?;
    let (succession, revision) = succession::read(&found.kvs, shared.ids().0);
    Ok((position.system_revision, succession, revision))
}

async fn state(shared: &Shared, identity: &ClusterIdentity) -> Result<AuthorityState, Failure> {
    let (revision, succession, _) = kept(shared).await?;
    let Some(succession) = succession.filter(|succession| !succession.over) else {
        let authority = identity.authority()?;
        let (hash, until) = (hex(&authority.fingerprint()?), about_pem(authority.certificate())?.ends);
        return Ok(AuthorityState { revision, hash, until, trusted: authority.trusted().to_owned(), former: None });
    };
    let missing = missing(shared, &succession).await?;
    let peer = |member: &Member| Peer { id: member.id, name: member.name.clone(), urls: member.peer_urls.clone() };
    let former = Former {
        hash: succession.former_hash.clone(),
        begun: succession.begun,
        keep_until: succession.keep_former_until,
        missing: missing.iter().map(peer).collect(),
    };
    let (until, trusted) = (about_pem(&succession.certificate)?.ends, succession.trusted());
    Ok(AuthorityState { revision, hash: succession.hash, until, trusted, former: Some(former) })
}

/// Members that have not gone over.
async fn missing(shared: &Shared, succession: &Succession) -> Result<Vec<Member>, Failure> {
    let (given, members) = (known(shared).await?, shared.store.members_now().await?);
    let ids: Vec<_> = members.iter().map(|member| member.id).collect();
    let missing = succession.missing(&ids, &given);
    Ok(members.into_iter().filter(|member| missing.contains(&member.id)).collect())
}

/// Makes another authority; where one is on its way already, that one goes on.
pub async fn rotate(
    shared: &Shared,
    identity: &ClusterIdentity,
    request: Request<Body>,
) -> Result<AuthorityState, Failure> {
    let asked: Rotate = read(request).await?;
    if !(0..=AUTHORITY_KEPT_MS_MAX).contains(&asked.keep_former_ms) {
        let days = AUTHORITY_KEPT_MS_MAX / 86_400_000;
        return Err(Failure::Bad(format!("a former authority stays trusted for {days} days at most")));
    }
    let (_, succession, revision) = kept(shared).await?;
    let under_way = succession.as_ref().filter(|succession| !succession.over);
    if under_way.is_some() && !asked.anew {
        return state(shared, identity).await;
    }
    let (authority, now, cluster) = (identity.authority()?, shared.clock.now(), shared.ids().0);
    let former_hash = hex(&authority.fingerprint()?);
    let current = under_way.map(|succession| &succession.former_hash).or(succession.as_ref().map(|now| &now.hash));
    if current.is_some_and(|current| *current != former_hash) {
        return Err(Failure::Authority(match under_way {
            Some(_) => "this member has the key of the new authority: nothing is lost, go on without --anew".to_owned(),
            None => "this member has not gone over to the present authority yet; ask another one, or again in a moment"
                .to_owned(),
        }));
    }
    let Successor { certificate, key, bridge } = authority.succeed(&cluster.to_string(), now)?;
    let hash = fingerprint_of(&certificate)?;
    // The key is on the disk before anybody hears of it.
    identity.keep_successor_key(&hash, &key)?;
    let next = Succession {
        cluster,
        hash: hex(&hash),
        certificate,
        former_hash,
        former: authority.certificate().to_owned(),
        bridge,
        begun: now,
        keep_former_until: now.plus_ms(asked.keep_former_ms),
        over: false,
    };
    replace(shared, &next, revision).await?;
    tracing::info!(authority = next.hash, "another authority takes over");
    state(shared, identity).await
}

/// Ends the time of the former authority.
pub async fn finish(
    shared: &Shared,
    identity: &ClusterIdentity,
    request: Request<Body>,
) -> Result<AuthorityState, Failure> {
    let asked: Finish = read(request).await?;
    let (_, succession, revision) = kept(shared).await?;
    let Some(succession) = succession.filter(|succession| !succession.over) else {
        return Err(Failure::Authority("no authority is being replaced".to_owned()));
    };
    let missing: Vec<String> = missing(shared, &succession).await?.into_iter().map(|member| member.name).collect();
    if !missing.is_empty() && !asked.force {
        return Err(Failure::Authority(format!(
            "{} would be shut out: no certificate of the new authority is there yet. Bring them back, or use --force: they then have \
             to be removed and to join again",
            missing.join(", ")
        )));
    }
    replace(shared, &Succession { over: true, ..succession }, revision).await?;
    tracing::info!(left_out = missing.join(" "), "the former authority is trusted no more");
    state(shared, identity).await
}

async fn replace(shared: &Shared, next: &Succession, revision: i64) -> Result<(), Failure> {
    match shared.store.write(Op::Txn(next.write(revision))).await?.result? {
        Reply::Txn(reply) if reply.succeeded => Ok(()),
        _ => Err(Failure::Authority("somebody else has changed it at this moment; look again".to_owned())),
    }
}
