//! Tokens are made, listed and revoked by administrators.

use axum::body::Body;
use hyper::Request;

use super::join::change;
use super::{Failure, endpoints, read};
use crate::api::Shared;
use crate::base::limits::{JOIN_TOKEN_USES_MAX, JOIN_TOKENS_MAX};
use crate::kv::{Consistency, Op, StoreError};
use crate::net::tls::ClusterIdentity;
use crate::trust::{self, Pass, Refusal, Token};
use crate::wire::joining::{ListedToken, MadeToken, MakeToken, Tokens};

/// A year.
const TTL_MS_MAX: i64 = 365 * 86_400_000;

async fn passes(shared: &Shared) -> Result<Vec<Pass>, Failure> {
    let (_, found) = shared.store.range(trust::all(), Consistency::Linearizable).await?;
    Ok(trust::read(&found.kvs).into_iter().map(|(pass, _)| pass).collect())
}

/// All tokens that are not forgotten.
pub async fn list(shared: &Shared) -> Result<Tokens, Failure> {
    let now = shared.clock.now();
    let listed = |pass: Pass| ListedToken {
        state: pass.state(now).to_owned(),
        id: pass.id,
        made: pass.made,
        until: pass.until,
        uses_left: pass.uses_left,
        used: pass.used,
    };
    Ok(Tokens { tokens: passes(shared).await?.into_iter().map(listed).collect() })
}

/// One more token; it is told this once.
pub async fn make(shared: &Shared, identity: &ClusterIdentity, request: Request<Body>) -> Result<MadeToken, Failure> {
    let asked: MakeToken = read(request).await?;
    if !(1..=TTL_MS_MAX).contains(&asked.ttl_ms) || !(1..=JOIN_TOKEN_USES_MAX).contains(&asked.uses) {
        let why = format!("a token lasts up to a year, and lets in 1 to {JOIN_TOKEN_USES_MAX} machines");
        return Err(Failure::Bad(why));
    }
    let now = shared.clock.now();
    let forgotten: Vec<Pass> = passes(shared).await?.into_iter().filter(|pass| pass.is_forgotten(now)).collect();
    let kept = passes(shared).await?.len() - forgotten.len();
    if kept >= JOIN_TOKENS_MAX {
        return Err(Failure::Store(StoreError::Overloaded(format!("{kept} tokens are kept already"))));
    }
    let chance = [(); 3].map(|()| shared.random.next_u64());
    let authority = identity.authority()?.fingerprint()?;
    let token = Token::drawn(endpoints(shared).await?, authority, now.plus_ms(asked.ttl_ms), chance);
    let pass = Pass::of(&token, now, asked.uses);
    shared.store.write(Op::Txn(pass.write(0, &forgotten))).await?.result?;
    tracing::info!(token = token.id, uses = asked.uses, "a token to join with was made");
    Ok(MadeToken { id: token.id.clone(), token: token.to_string(), until: token.until })
}

/// Ends a token. Who has joined with it stays.
pub async fn revoke(shared: &Shared, id: &str) -> Result<(), Failure> {
    match change(shared, id, |pass| Ok(Pass { revoked: true, ..pass.clone() })).await {
        Err(Failure::Token(Refusal::Unknown)) => Err(Failure::NoToken),
        outcome => outcome.map(|pass| tracing::info!(token = pass.id, "a token was revoked")),
    }
}
