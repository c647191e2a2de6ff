//! A machine joins: its token is spent, it becomes a member, and it gets its certificate and what members share.

use axum::body::Body;
use hyper::Request;

use super::certificates::note;
use super::{Failure, read};
use crate::api::Shared;
use crate::base::limits::{JOIN_SPEND_ATTEMPTS_MAX, MEMBER_CERTIFICATE_DAYS};
use crate::jobs::first_token;
use crate::kv::{Consistency, Member, MemberChange, MemberChanged, Op, Reply, StoreError};
use crate::net::tls::ClusterIdentity;
use crate::trust::{self, Pass, Refusal};
use crate::wire::joining::{Join, Joined, Peer};

/// Carries out a request to join.
pub async fn join(shared: &Shared, identity: &ClusterIdentity, request: Request<Body>) -> Result<Joined, Failure> {
    let asked: Join = read(request).await?;
    let outcome = admit(shared, identity, &asked).await;
    let (token, name) = (shown(&asked.token), shown(&asked.name));
    match &outcome {
        Ok(joined) => tracing::info!(token, name, member = %joined.member, "a machine joins"),
        Err(failure) => tracing::warn!(token, name, "a machine is not let in: {failure}"),
    }
    outcome
}

/// Of what a stranger says, as much as may be written to a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

async fn admit(shared: &Shared, identity: &ClusterIdentity, asked: &Join) -> Result<Joined, Failure> {
    let secret = unhex(&asked.secret).ok_or(Refusal::Wrong)?;
    // Whoever has no token learns nothing, and costs nothing but this.
    let now = shared.clock.now();
    let spent = match change(shared, &asked.token, |pass| pass.spend(&secret, now)).await {
        Err(Failure::Token(Refusal::Unknown)) if first_token::file(identity).exists() => return Err(Failure::TooEarly),
        spent => spent?,
    };
    match take_in(shared, identity, asked).await {
        Ok(joined) => Ok(joined),
        Err(failure) => {
            if let Err(error) = change(shared, &spent.id, |pass| Ok(pass.given_back())).await {
                tracing::warn!(token = spent.id, "a token counts as used although nobody joined: {error}");
            }
            Err(failure)
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Changes a token's pass, unless `step` refuses; both see what nobody else has changed meanwhile.
pub(super) async fn change(
    shared: &Shared,
    id: &str,
    step: impl Fn(&Pass) -> Result<Pass, Refusal>,
) -> Result<Pass, Failure> {
    for _ in 0..JOIN_SPEND_ATTEMPTS_MAX {
        let (_, found) = shared.store.range(trust::find(id), Consistency::Linearizable).await?;
        let found = trust::read(&found.kvs);
        let (pass, revision) = found.first().ok_or(Refusal::Unknown)?;
        let next = step(pass)?;
        let applied = shared.store.write(Op::Txn(next.write(*revision, &[]))).await?;
        if let Reply::Txn(reply) = applied.result?
            && reply.succeeded
        {
            return Ok(next);
        }
    }
    Err(Failure::Store(StoreError::Overloaded("this token is used by many at this moment".to_owned())))
}

async fn take_in(shared: &Shared, identity: &ClusterIdentity, asked: &Join) -> Result<Joined, Failure> {
    if asked.name.is_empty() || asked.name.len() > 255 || asked.name.contains(['=', ',', '/']) {
        return Err(Failure::Bad("a member needs a name, without `=`, `,` and `/`".to_owned()));
    }
    if !asked.peer_urls.iter().all(|url| url.starts_with("https://")) {
        return Err(Failure::Bad("members of this cluster are reached by https://host:port".to_owned()));
    }
    let (authority, now) = (identity.authority()?, shared.clock.now());
    let certificate = authority
        .admit_member(&asked.request, now, MEMBER_CERTIFICATE_DAYS)
        .map_err(|error| Failure::Bad(format!("the certificate request: {error}")))?;
    let authority_key = identity.authority_key()?;
    let changed = become_member(shared, asked).await?;
    note(shared, &authority, &certificate, (&asked.name, Some(changed.id))).await?;
    let peer = |member: Member| {
        let name = if member.id == changed.id { asked.name.clone() } else { member.name };
        Peer { id: member.id, name, urls: member.peer_urls }
    };
    Ok(Joined {
        certificate,
        authorities: authority.trusted().to_owned(),
        authority_key,
        cluster: shared.ids().0,
        member: changed.id,
        peers: changed.members.into_iter().map(peer).collect(),
    })
}

async fn become_member(shared: &Shared, asked: &Join) -> Result<MemberChanged, Failure> {
    let silent = |member: &Member| {
        let status = shared.store.status();
        status.peers.iter().any(|peer| peer.id == member.id && peer.silent.is_some())
    };
    let members = shared.store.members_now().await?;
    let has_place = |member: &&Member| {
        member.name == asked.name || member.peer_urls.iter().any(|url| asked.peer_urls.contains(url))
    };
    for former in members.iter().filter(has_place) {
        // One without a name has never started: its machine was killed before it had what the cluster gave, and asks again.
        if !former.name.is_empty() && !silent(former) {
            let (name, urls) = (&former.name, former.peer_urls.join(" "));
            return Err(Failure::Taken(format!(
                "a member {name} runs at {urls}: choose another --name and --peer-listen, or stop that one if this machine is \
                 to take its place"
            )));
        }
        // This machine in another life, or one that it replaces. What would cost the quorum is refused.
        tracing::info!(member = %former.id, name = former.name, "a member that is gone gives its place to a machine that joins");
        shared.store.change_members(MemberChange::Remove { id: former.id }).await?;
    }
    let join = MemberChange::Join { peer_urls: asked.peer_urls.clone() };
    Ok(shared.store.change_members(join).await?)
}
