//! Tokens: signed, so that every member knows them without a log entry and across restarts.
//!
//! etcd's simple tokens are random names that every member keeps in memory. Here a token says whose it is and since when, and
//! is signed with a secret that the store draws each time that users begin to be asked for: that ends with it,
//! a new password and the end of the user void it. It lasts from its last use on the member that is asked, or else from
//! when it was issued.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::base::limits::{TOKEN_BYTES_MAX, TOKENS_REMEMBERED_MAX};
use crate::base::{Random, UnixMillis};
use crate::kv::auth::Auth;

/// Bytes of the signature: HMAC-SHA-256, cut in half.
const SIGNATURE_BYTES: usize = 16;

type Signature = [u8; SIGNATURE_BYTES];

#[derive(Serialize, Deserialize)]
struct Claims {
    user: String,
    /// [`User::since`](crate::kv::auth::User::since).
    since: u64,
    issued: UnixMillis,
    /// Tells apart what one user was given in one millisecond.
    number: u64,
}

/// When tokens were last used here.
pub struct Tokens {
    ttl_ms: i64,
    used: Mutex<HashMap<Signature, UnixMillis>>,
}

/// HMAC-SHA-256 under a key.
pub fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    // A key shorter than a block stands for itself with zeros behind it: RFC 2104.
    Hmac::new(&block.into())
}

fn sign(secret: &[u8; 32], claims: &[u8]) -> Signature {
    let mut mac = keyed(secret);
    mac.update(claims);
    let full = mac.finalize().into_bytes();
    let mut signature = Signature::default();
    signature.copy_from_slice(&full[..SIGNATURE_BYTES]);
    signature
}

fn signed_by(secret: &[u8; 32], claims: &[u8], signature: &[u8]) -> bool {
    let mut mac = keyed(secret);
    mac.update(claims);
    mac.verify_truncated_left(signature).is_ok()
}

impl Tokens {
    pub fn new(ttl_seconds: u64) -> Self {
        let ttl_ms = i64::try_from(ttl_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        Self { ttl_ms, used: Mutex::default() }
    }

    /// A token for a user; `None` if there is no such user or nobody is asked for.
    pub fn issue(&self, auth: &Auth, user: &str, now: UnixMillis, random: &dyn Random) -> Option<String> {
        let since = auth.user(user)?.since;
        let claims = Claims { user: user.to_owned(), since, issued: now, number: random.next_u64() };
        let mut bytes = postcard::to_allocvec(&claims).ok()?;
        let signature = sign(auth.secret()?, &bytes);
        bytes.extend_from_slice(&signature);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whose token it is; `None` if it is none, or void. Counts as a use of it.
    pub fn user(&self, auth: &Auth, token: &str, now: UnixMillis) -> Option<String> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (claims, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>()?;
        if !signed_by(auth.secret()?, claims, signature) {
            return None;
        }
        let claims: Claims = postcard::from_bytes(claims).ok()?;
        let known = auth.user(&claims.user).is_some_and(|user| user.since == claims.since);
        (known && self.lasts(*signature, claims.issued, now)).then_some(claims.user)
    }

    fn lasts(&self, signature: Signature, issued: UnixMillis, now: UnixMillis) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: UnixMillis| now.0.saturating_sub(at.0) < self.ttl_ms;
        let last = used.get(&signature).map_or(issued, |at| issued.max(*at));
        // A clock that is ahead elsewhere is borne with as far as a token lasts.
        if !fresh(last) || last.0.saturating_sub(now.0) > self.ttl_ms {
            used.remove(&signature);
            return false;
        }
        if used.len() >= TOKENS_REMEMBERED_MAX && !used.contains_key(&signature) {
            used.retain(|_, at| fresh(*at));
        }
        if used.len() < TOKENS_REMEMBERED_MAX || used.contains_key(&signature) {
            used.insert(signature, now.max(last));
        }
        true
    }
}
