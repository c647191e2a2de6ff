//! What the cluster keeps of a token, in the system space: `/trust/tokens/ID` → [`Pass`] as JSON. Its secret is not there, only a
//! hash of it. What has ended is kept for a while, so that whoever comes with it is told what is wrong.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::record::{self, hex};
use super::token::Token;
use crate::base::UnixMillis;
use crate::base::limits::JOIN_TOKEN_REMEMBERED_MS;
use crate::kv::{KeyValue, RangeRequest, TxnRequest};

const PREFIX: &str = "/trust/tokens/";

/// A token as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    pub id: String,
    /// SHA-256 of the secret, in hex.
    pub digest: String,
    pub made: UnixMillis,
    pub until: UnixMillis,
    /// How many machines may still join with it.
    pub uses_left: u32,
    /// How many have.
    pub used: u32,
    pub revoked: bool,
}

/// Why somebody with a token is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the cluster does not know this token; make one with `node ctl token create` on a member")]
    Unknown,
    #[error("the secret of this token is wrong")]
    Wrong,
    #[error("this token was revoked; make one with `node ctl token create` on a member")]
    Revoked,
    #[error("this token has expired; make one with `node ctl token create` on a member")]
    Expired,
    #[error(
        "this token is used up: {0} machines have joined with it. If you have not used it, somebody else has: look at \
         `etcdctl member list`. Make one with `node ctl token create` on a member"
    )]
    Used(u32),
}

impl Pass {
    /// What is kept of a new token.
    pub fn of(token: &Token, made: UnixMillis, uses: u32) -> Self {
        let (id, digest, until) = (token.id.clone(), token.digest(), token.until);
        Self { id, digest, made, until, uses_left: uses, used: 0, revoked: false }
    }

    /// The pass after one more machine has joined with this secret.
    ///
    /// # Errors
    /// Why none may.
    pub fn spend(&self, secret: &[u8], now: UnixMillis) -> Result<Self, Refusal> {
        if hex(&Sha256::digest(secret)) != self.digest {
            return Err(Refusal::Wrong);
        }
        if self.revoked {
            return Err(Refusal::Revoked);
        }
        if now >= self.until {
            return Err(Refusal::Expired);
        }
        if self.uses_left == 0 {
            return Err(Refusal::Used(self.used));
        }
        Ok(Self { uses_left: self.uses_left - 1, used: self.used + 1, ..self.clone() })
    }

    /// The pass where a machine that was let in did not become a member after all.
    #[must_use]
    pub fn given_back(&self) -> Self {
        Self { uses_left: self.uses_left.saturating_add(1), used: self.used.saturating_sub(1), ..self.clone() }
    }

    /// How it stands, in a word.
    pub fn state(&self, now: UnixMillis) -> &'static str {
        match self {
            _ if self.revoked => "revoked",
            _ if now >= self.until => "expired",
            Self { uses_left: 0, .. } => "used",
            _ => "good",
        }
    }

    /// Whether nobody needs to be told of it any more.
    pub fn is_forgotten(&self, now: UnixMillis) -> bool {
        now.0.saturating_sub(self.until.0) > JOIN_TOKEN_REMEMBERED_MS
    }

    /// Writes it over what was read at `mod_revision` (0: there was none), and takes away what is forgotten.
    pub fn write(&self, mod_revision: i64, forgotten: &[Pass]) -> TxnRequest {
        let forgotten = forgotten.iter().map(|pass| record::remove(key(&pass.id))).collect();
        record::put_over(key(&self.id), self, mod_revision, forgotten)
    }
}

fn key(id: &str) -> Bytes {
    format!("{PREFIX}{id}").into()
}

/// Asks for one pass.
pub fn find(id: &str) -> RangeRequest {
    record::one(key(id))
}

/// Asks for all of them.
pub fn all() -> RangeRequest {
    record::below(PREFIX)
}

/// The passes among what a range has found, each with the revision of its last change.
pub fn read(found: &[KeyValue]) -> Vec<(Pass, i64)> {
    record::read(PREFIX, found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_lets_in_as_many_as_it_says_for_as_long_as_it_says() {
        let now = UnixMillis(1_000);
        let token = Token::drawn(Vec::new(), [0; 32], UnixMillis(5_000), [1, 2, 3]);
        let pass = Pass::of(&token, now, 2);
        let once = pass.spend(&token.secret, now).unwrap();
        let twice = once.spend(&token.secret, UnixMillis(4_999)).unwrap();
        assert_eq!((twice.uses_left, twice.used, twice.state(now)), (0, 2, "used"));
        assert_eq!(twice.given_back(), once);
        let revoked = Pass { revoked: true, ..pass.clone() };
        let cases = [
            (&twice, &token.secret[..], now, Refusal::Used(2)),
            (&pass, &token.secret[..], UnixMillis(5_000), Refusal::Expired),
            (&revoked, &token.secret[..], now, Refusal::Revoked),
            (&pass, &[0; 16][..], now, Refusal::Wrong),
            // Whoever does not know the secret is told nothing of the token.
            (&revoked, &[0; 16][..], now, Refusal::Wrong),
            (&pass, b"", now, Refusal::Wrong),
        ];
        for (pass, secret, at, expected) in cases {
            assert_eq!(pass.spend(secret, at), Err(expected));
        }
        assert_eq!(pass.state(UnixMillis(5_000)), "expired");
        assert!(!pass.is_forgotten(UnixMillis(5_000)));
        assert!(pass.is_forgotten(UnixMillis(5_001 + JOIN_TOKEN_REMEMBERED_MS)));
    }
}
