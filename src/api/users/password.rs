//! Passwords: hashing and comparing takes a core for tens of milliseconds, so few do it at a time, where blocking is allowed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::Mac;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::token::keyed;
use crate::base::Random;
use crate::base::limits::{PASSWORD_WAIT_MS_MAX, PASSWORDS_AT_ONCE_MAX, PASSWORDS_REMEMBERED_MAX};
use crate::kv::StoreError;
use crate::kv::auth::PasswordHash;

/// Compared with where there is no such user, so that the time does not tell: no password fits.
const NOBODYS: &str = "$2b$10$.....................................................";

/// Hashes and compares.
pub struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
    /// Names and passwords that fitted, under a key that is drawn anew at each start: the v2 API sends them with
    /// every request.
    fitted: Mutex<HashSet<[u8; 32]>>,
    key: [u8; 32],
}

/// 32 bytes of chance.
pub fn draw(random: &dyn Random) -> [u8; 32] {
    let mut drawn = [0; 32];
    for eight in drawn.chunks_exact_mut(8) {
        eight.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    drawn
}

impl Passwords {
    pub fn new(cost: u32, random: &dyn Random) -> Self {
        Self {
            cost,
            turns: Arc::new(Semaphore::new(PASSWORDS_AT_ONCE_MAX)),
            fitted: Mutex::default(),
            key: draw(random),
        }
    }

    /// Does slow work when its turn has come.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        let bound = Duration::from_millis(PASSWORD_WAIT_MS_MAX);
        let turn = match timeout(bound, self.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(StoreError::Stopping),
            Err(_) => return Err(StoreError::Overloaded("passwords wait to be looked at".to_owned())),
        };
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.map_err(|error| StoreError::Broken(error.to_string()))
    }

    /// A new password, as it is kept.
    pub async fn hash(&self, password: &str, random: &dyn Random) -> Result<PasswordHash, StoreError> {
        let (password, cost) = (password.to_owned(), self.cost);
        let mut salt = [0; 16];
        salt.copy_from_slice(&draw(random)[..16]);
        let hashed = self.work(move || bcrypt::hash_with_salt(password, cost, salt)).await?;
        let hashed = hashed.map_err(|error| StoreError::Broken(format!("hashing a password: {error}")))?;
        Ok(PasswordHash(hashed.to_string()))
    }

    /// Whether a password is the one that is kept. Takes as long where there is none.
    pub async fn fit(&self, password: &str, kept: Option<&PasswordHash>) -> Result<bool, StoreError> {
        let hash = kept.map_or_else(|| NOBODYS.to_owned(), |hash| hash.0.clone());
        let (password, known) = (password.to_owned(), kept.is_some());
        // What is no hash fits nothing.
        self.work(move || bcrypt::verify(password, &hash).unwrap_or(false) && known).await
    }

    /// As [`Passwords::fit`], at once for what fitted before.
    pub async fn fits_again(
        &self,
        user: &str,
        password: &str,
        kept: Option<&PasswordHash>,
    ) -> Result<bool, StoreError> {
        let mark = kept.map(|kept| self.mark(user, password, kept));
        let remembered = |mark| self.fitted.lock().unwrap_or_else(PoisonError::into_inner).contains(mark);
        if mark.as_ref().is_some_and(remembered) {
            return Ok(true);
        }
        let fits = self.fit(password, kept).await?;
        if let Some(mark) = mark.filter(|_| fits) {
            let mut fitted = self.fitted.lock().unwrap_or_else(PoisonError::into_inner);
            if fitted.len() >= PASSWORDS_REMEMBERED_MAX {
                fitted.clear();
            }
            fitted.insert(mark);
        }
        Ok(fits)
    }

    fn mark(&self, user: &str, password: &str, kept: &PasswordHash) -> [u8; 32] {
        let mut mac = keyed(&self.key);
        for part in [user, password, &kept.0] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}
