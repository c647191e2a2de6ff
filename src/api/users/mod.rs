//! Who asks, and whether that is believed: tokens, passwords and certificates, and the one way from a door to the store that checks them.
//!
//! While users are not asked for, requests pass as they are. Else a write goes into the log under its user's name and is
//! checked where it is applied; a read is checked against users and roles that are never older than what it read.

mod credentials;
mod password;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

pub use credentials::{CertificateName, Credentials, Vouched};
use password::Passwords;
pub use password::draw;
use token::Tokens;

use super::Shared;
use crate::base::Random;
use crate::kv::auth::{Access, Auth, AuthError, NOBODY, PasswordHash};
use crate::kv::{Applied, Consistency, KvError, Op, StoreError};

/// How often a write is sent again that met newer users and roles than it was asked under.
pub(super) const ATTEMPTS_MAX: usize = 5;

/// How users are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsersOptions {
    /// A token that is not used for so long is void.
    pub token_ttl_seconds: u64,
    /// bcrypt's cost of new passwords: each step doubles the work.
    pub password_cost: u32,
}

impl Default for UsersOptions {
    fn default() -> Self {
        Self { token_ttl_seconds: 300, password_cost: 10 }
    }
}

/// What this node keeps in memory of those who log in.
pub(super) struct Users {
    tokens: Tokens,
    passwords: Passwords,
}

impl Users {
    pub fn new(options: UsersOptions, random: &dyn Random) -> Self {
        Self {
            tokens: Tokens::new(options.token_ttl_seconds),
            passwords: Passwords::new(options.password_cost, random),
        }
    }
}

/// What somebody must be allowed, given users and roles and the user's name.
pub(super) type Needs<'a> = &'a (dyn Fn(&Auth, &str) -> Result<(), AuthError> + Sync);

fn refused(refusal: AuthError) -> StoreError {
    StoreError::Refused(KvError::Auth(refusal))
}

/// Any user will do.
pub(super) fn anybody(auth: &Auth, user: &str) -> Result<(), AuthError> {
    auth.user(user).map(drop).ok_or(AuthError::Denied)
}

/// Only who has the role `root` will do.
pub(super) fn administrator(auth: &Auth, user: &str) -> Result<(), AuthError> {
    auth.administers(user)
}

impl Shared {
    /// The user behind the credentials.
    async fn user(&self, auth: &Auth, who: &Credentials) -> Result<String, StoreError> {
        match who {
            Credentials::None => Err(refused(AuthError::UserEmpty)),
            Credentials::Guest if auth.admits(NOBODY) => Ok(NOBODY.to_owned()),
            Credentials::Guest => Err(refused(AuthError::UserEmpty)),
            Credentials::Believed(user) | Credentials::Certificate(user) => Ok(user.clone()),
            Credentials::Token(token) => {
                self.users.tokens.user(auth, token, self.clock.now()).ok_or_else(|| refused(AuthError::InvalidToken))
            }
            Credentials::Basic { user, password } => {
                let known = auth.user(user).and_then(|user| user.password.as_ref());
                match self.users.passwords.fits_again(user, password, known).await? {
                    true => Ok(user.clone()),
                    false => Err(refused(AuthError::Failed)),
                }
            }
        }
    }

    /// The user behind the credentials, and users and roles of that moment; `None` while users are not asked for.
    async fn believe(&self, who: &Credentials) -> Result<(Arc<Auth>, Option<String>), StoreError> {
        let auth = self.store.auth();
        if !auth.enabled() {
            return Ok((auth, None));
        }
        match (self.user(&auth, who).await, who) {
            (Ok(user), _) => Ok((auth, Some(user))),
            // The user may have come in by another node, with what is not known here yet.
            (Err(StoreError::Refused(_)), Credentials::Token(_) | Credentials::Basic { .. }) => {
                self.store.catch_up().await?;
                let auth = self.store.auth();
                let user = if auth.enabled() { Some(self.user(&auth, who).await?) } else { None };
                Ok((auth, user))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether whoever asks may, as far as this node knows. While users are not asked for, everybody may.
    pub async fn check(&self, who: &Credentials, needs: Needs<'_>) -> Result<(), StoreError> {
        self.whoever(who, needs).await.map(drop)
    }

    /// The user behind the credentials, if he may; `None` while users are not asked for.
    pub async fn whoever(&self, who: &Credentials, needs: Needs<'_>) -> Result<Option<String>, StoreError> {
        match self.believe(who).await? {
            (_, None) => Ok(None),
            (auth, Some(user)) => needs(&auth, &user).map_err(refused).map(|()| Some(user)),
        }
    }

    /// As [`Shared::check`], for what goes on for longer than a token lasts: its user is believed from now on.
    pub async fn admit(&self, who: &Credentials, needs: Needs<'_>) -> Result<Credentials, StoreError> {
        match self.believe(who).await? {
            (_, None) => Ok(who.clone()),
            (auth, Some(user)) => {
                needs(&auth, &user).map_err(refused)?;
                Ok(Credentials::Believed(user))
            }
        }
    }

    /// Reads for whoever asks. What was read is given only to whom users and roles of that moment, or of a later one, allow it.
    pub async fn read_as<T, F>(
        &self,
        who: &Credentials,
        consistency: Consistency,
        needs: Needs<'_>,
        read: impl FnOnce(Consistency) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut consistency = consistency;
        let mut before = self.store.auth();
        if before.enabled() {
            if consistency == Consistency::Linearizable {
                // Neither users nor keys may be behind: after this, what this node has is fresh enough for both.
                self.store.catch_up().await?;
                consistency = Consistency::Serializable;
                before = self.store.auth();
            }
            self.check(who, needs).await?;
        }
        let answer = read(consistency).await?;
        let after = self.store.auth();
        if !Arc::ptr_eq(&before, &after) {
            self.check(who, needs).await?;
        }
        Ok(answer)
    }

    /// Writes for whoever asks; checked where it is applied. The refusal of a request is in [`Applied::result`].
    pub async fn write_as(&self, who: &Credentials, op: Op) -> Result<Applied, StoreError> {
        if !self.store.auth().enabled() && matches!(who, Credentials::None | Credentials::Guest) {
            return self.store.write(op).await;
        }
        let mut attempts = 1;
        loop {
            let (sent, outdated) = match self.believe(who).await? {
                (_, None) => (op.clone(), AuthError::UserEmpty),
                (auth, Some(user)) => {
                    let op = Box::new(op.clone());
                    (Op::As { user, auth_revision: auth.revision(), op }, AuthError::OldRevision)
                }
            };
            let applied = self.store.write(sent).await?;
            if applied.result != Err(KvError::Auth(outdated)) || attempts == ATTEMPTS_MAX {
                return Ok(applied);
            }
            // A refusal leaves no trace: asked again under the users and roles of now, it may be another answer.
            self.store.catch_up().await?;
            attempts += 1;
        }
    }

    /// A token for who knows the password.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<String, StoreError> {
        self.store.catch_up().await?;
        let auth = self.store.auth();
        if !auth.enabled() {
            return Err(refused(AuthError::NotEnabled));
        }
        let known = auth.user(user);
        let hash = known.and_then(|user| user.password.as_ref());
        if known.is_some() && hash.is_none() {
            return Err(refused(AuthError::NoPasswordUser));
        }
        if !self.users.passwords.fit(password, hash).await? {
            tracing::info!(user, "a password does not fit");
            return Err(refused(AuthError::Failed));
        }
        let token = self.users.tokens.issue(&auth, user, self.clock.now(), &*self.random);
        token.ok_or_else(|| refused(AuthError::Failed))
    }

    /// A new password, as it is kept.
    pub async fn hash_password(&self, password: &str) -> Result<PasswordHash, StoreError> {
        self.users.passwords.hash(password, &*self.random).await
    }
}

/// Reading a range of keys.
pub(super) fn reading(
    key: bytes::Bytes,
    range_end: bytes::Bytes,
) -> impl Fn(&Auth, &str) -> Result<(), AuthError> + Send + Sync {
    move |auth, user| auth.may(user, Access::Read, &key, &range_end)
}
