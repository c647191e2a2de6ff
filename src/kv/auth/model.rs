//! Users, roles, permissions, and the whole of them with what follows for each user.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::ranges::Ranges;
use crate::kv::layout;
use crate::kv::tables::{Table, Tables, TablesError, TablesMut, try_scan};

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

/// The role of those who ask over the v2 API without a name. Where there is none they are refused.
pub const GUEST: &str = "guest";

/// The user who stands for them. No other has an empty name.
pub const NOBODY: &str = "";

/// Key of the marks in `Table::Auth`.
const MARKS: &[u8] = b"m";
/// First byte of the keys of users and of roles in `Table::Auth`; the name follows.
const USER: u8 = b'u';
const ROLE: u8 = b'r';

/// A password, hashed by bcrypt, in its modular crypt format.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `None`: no password fits; such a user comes in by other means.
    pub password: Option<PasswordHash>,
    /// Names of roles, sorted.
    pub roles: Vec<String>,
    /// The auth revision in which the user was made or got its password. What was issued to an earlier one is void.
    pub since: u64,
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

/// A key, or a range of keys (as in a range request), and what may be done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub access: Access,
    pub key: Bytes,
    pub range_end: Bytes,
}

/// A named set of permissions, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub permissions: Vec<Permission>,
}

/// What holds for all users.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// What tokens are signed with while users are asked for; another one each time that this begins.
    pub secret: Option<[u8; 32]>,
    /// Rises with every change of users and roles; starts at 1.
    pub revision: u64,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marks {{ enabled: {}, revision: {} }}", self.secret.is_some(), self.revision)
    }
}

/// A key of `Table::Auth`, and its record; empty if it was removed.
pub(super) type Written = (Vec<u8>, Vec<u8>);

/// What follows from a user's roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rights {
    everything: bool,
    read: Ranges,
    write: Ranges,
}

/// All users and roles at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub(super) marks: Marks,
    pub(super) users: BTreeMap<String, User>,
    pub(super) roles: BTreeMap<String, Role>,
    /// For each user. Follows from the rest.
    rights: BTreeMap<String, Rights>,
}

impl Default for Auth {
    /// Nobody, and nobody is asked for.
    fn default() -> Self {
        Self {
            marks: Marks { secret: None, revision: 1 },
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            rights: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// What the tables hold.
    pub(in crate::kv) fn load<T: Tables + ?Sized>(tables: &T) -> Result<Self, TablesError> {
        let mut auth = Self::default();
        try_scan(tables, Table::Auth, Bound::Unbounded, Bound::Unbounded, |key, value| {
            let what = "a record of table auth";
            match key {
                MARKS => auth.marks = layout::decode(value, what)?,
                [USER, name @ ..] => {
                    auth.users.insert(text(name)?, layout::decode(value, what)?);
                }
                [ROLE, name @ ..] => {
                    auth.roles.insert(text(name)?, layout::decode(value, what)?);
                }
                _ => return Err(TablesError("table auth holds a record of an unknown kind".to_owned())),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let names: Vec<String> = auth.users.keys().cloned().collect();
        names.iter().for_each(|name| auth.settle(name));
        auth.settle(NOBODY);
        Ok(auth)
    }

    /// Writes the marks and what is there of the named users and roles. Returns what was written.
    pub(super) fn save(
        &self,
        tables: &mut dyn TablesMut,
        users: &[String],
        roles: &[String],
    ) -> Result<Vec<Written>, TablesError> {
        let mut records = vec![(MARKS.to_vec(), Some(layout::encode(&self.marks)?))];
        for name in users {
            let record = self.users.get(name).map(layout::encode).transpose()?;
            records.push((table_key(USER, name), record));
        }
        for name in roles {
            let record = self.roles.get(name).map(layout::encode).transpose()?;
            records.push((table_key(ROLE, name), record));
        }
        let mut written = Vec::new();
        for (key, record) in records {
            match &record {
                Some(record) => tables.put(Table::Auth, &key, record)?,
                None => tables.delete(Table::Auth, &key)?,
            }
            written.push((key, record.unwrap_or_default()));
        }
        Ok(written)
    }

    /// Works out what a user may do.
    pub(super) fn settle(&mut self, name: &str) {
        let held = match self.users.get(name) {
            Some(user) => &user.roles[..],
            None if name == NOBODY && self.roles.contains_key(GUEST) => &[GUEST.to_owned()],
            None => {
                self.rights.remove(name);
                return;
            }
        };
        let given = |wanted: Access| {
            let roles = held.iter().filter_map(|role| self.roles.get(role));
            let all = roles.flat_map(|role| &role.permissions);
            let fitting = all.filter(move |one| one.access == wanted || one.access == Access::ReadWrite);
            Ranges::union(fitting.map(|one| (&one.key, &one.range_end)))
        };
        let rights = Rights {
            everything: held.iter().any(|role| role == ROOT),
            read: given(Access::Read),
            write: given(Access::Write),
        };
        self.rights.insert(name.to_owned(), rights);
    }

    /// Whether requests must name a user.
    pub fn enabled(&self) -> bool {
        self.marks.secret.is_some()
    }

    /// The number of the last change.
    pub fn revision(&self) -> u64 {
        self.marks.revision
    }

    /// What tokens are signed with; `None` while nobody is asked for.
    pub fn secret(&self) -> Option<&[u8; 32]> {
        self.marks.secret.as_ref()
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Whether the user is one, or stands for all who need no name.
    pub fn admits(&self, user: &str) -> bool {
        self.rights.contains_key(user)
    }

    pub fn users(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    pub fn roles(&self) -> impl Iterator<Item = &String> {
        self.roles.keys()
    }

    /// Whether the user may do this with every key of the range. An empty key is no key: what names it is refused for that.
    ///
    /// # Errors
    /// [`AuthError::Denied`], also for a user that does not exist.
    pub fn may(&self, user: &str, access: Access, key: &Bytes, range_end: &Bytes) -> Result<(), AuthError> {
        let rights = self.rights.get(user).ok_or(AuthError::Denied)?;
        let covered = |ranges: &Ranges| rights.everything || key.is_empty() || ranges.cover(key, range_end);
        let allowed = match access {
            Access::Read => covered(&rights.read),
            Access::Write => covered(&rights.write),
            Access::ReadWrite => covered(&rights.read) && covered(&rights.write),
        };
        if allowed { Ok(()) } else { Err(AuthError::Denied) }
    }

    /// Whether the user has the role `root`.
    ///
    /// # Errors
    /// As etcd: another one for a user that does not exist.
    pub fn administers(&self, user: &str) -> Result<(), AuthError> {
        match self.rights.get(user) {
            None => Err(AuthError::UserNotFound),
            Some(rights) if rights.everything => Ok(()),
            Some(_) => Err(AuthError::Denied),
        }
    }
}

fn table_key(kind: u8, name: &str) -> Vec<u8> {
    [&[kind], name.as_bytes()].concat()
}

fn text(name: &[u8]) -> Result<String, TablesError> {
    String::from_utf8(name.to_vec()).map_err(|_| TablesError("table auth holds a name that is no text".to_owned()))
}
