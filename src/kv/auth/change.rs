//! Changes of users and roles, with etcd's refusals.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::model::{Auth, GUEST, NOBODY, PasswordHash, Permission, ROOT, Role, User};
use crate::kv::stop::Stop;
use crate::kv::writer::Writer;

/// One change. Who may make it is checked before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// From now on requests must name a user. `secret` is drawn by the proposer.
    Enable {
        secret: [u8; 32],
    },
    Disable,
    /// `password`: `None` makes a user whom no password lets in.
    UserAdd {
        name: String,
        password: Option<PasswordHash>,
    },
    UserDelete {
        name: String,
    },
    /// Of a user whom no password lets in nothing changes but the revision, as in etcd.
    UserPassword {
        name: String,
        password: PasswordHash,
    },
    UserGrant {
        name: String,
        role: String,
    },
    UserRevoke {
        name: String,
        role: String,
    },
    RoleAdd {
        name: String,
    },
    RoleDelete {
        name: String,
    },
    RoleGrant {
        name: String,
        permission: Permission,
    },
    /// Takes back what was granted on exactly this key and end.
    RoleRevoke {
        name: String,
        key: Bytes,
        range_end: Bytes,
    },
    /// All of these or none, if users and roles are still those of `revision`.
    All {
        revision: u64,
        changes: Vec<Change>,
    },
}

/// Whose records a change wrote.
#[derive(Default)]
pub(super) struct Touched {
    users: Vec<String>,
    roles: Vec<String>,
}

/// Makes a change, in memory and in the tables, or refuses it without a trace.
pub(in crate::kv) fn apply(writer: &mut Writer<'_>, change: &Change) -> Result<(), Stop> {
    let mut auth = Auth::clone(&writer.state.auth);
    let changes = match change {
        Change::All { revision, .. } if *revision != auth.revision() => return Err(AuthError::OldRevision.into()),
        Change::All { changes, .. } => &changes[..],
        one => std::slice::from_ref(one),
    };
    let touched = auth.change_all(changes).map_err(|refusal| Stop::Refused(refusal.into()))?;
    let Some(touched) = touched else { return Ok(()) };
    let written = auth.save(writer.tables, &touched.users, &touched.roles)?;
    for (key, record) in &written {
        writer.state.marks.add_to_checksum(key, record);
    }
    writer.state.auth = Arc::new(auth);
    Ok(())
}

impl Auth {
    /// One after the other. `None`: it is so already.
    pub(super) fn change_all(&mut self, changes: &[Change]) -> Result<Option<Touched>, AuthError> {
        let mut all: Option<Touched> = None;
        for change in changes {
            if let Some(touched) = self.change(change)? {
                let all = all.get_or_insert_default();
                all.users.extend(touched.users);
                all.roles.extend(touched.roles);
            }
        }
        Ok(all)
    }

    /// `None`: it is so already.
    fn change(&mut self, change: &Change) -> Result<Option<Touched>, AuthError> {
        let mut touched = Touched::default();
        match change {
            Change::Enable { secret } => {
                if self.enabled() {
                    return Ok(None);
                }
                let root = self.users.get(ROOT).ok_or(AuthError::RootUserMissing)?;
                if !root.roles.iter().any(|role| role == ROOT) {
                    return Err(AuthError::RootRoleMissing);
                }
                self.marks.secret = Some(*secret);
                // As in etcd: this alone is no change of users and roles.
                return Ok(Some(touched));
            }
            Change::Disable => {
                if self.marks.secret.take().is_none() {
                    return Ok(None);
                }
            }
            Change::UserAdd { name, password } => {
                if name.is_empty() {
                    return Err(AuthError::UserEmpty);
                }
                if self.users.contains_key(name) {
                    return Err(AuthError::UserExists);
                }
                let user = User { password: password.clone(), roles: Vec::new(), since: self.marks.revision + 1 };
                self.users.insert(name.clone(), user);
                touched.users.push(name.clone());
            }
            Change::UserDelete { name } => {
                if self.enabled() && name == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                self.users.remove(name).ok_or(AuthError::UserNotFound)?;
                touched.users.push(name.clone());
            }
            Change::UserPassword { name, password } => {
                let since = self.marks.revision + 1;
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                if user.password.is_some() {
                    user.password = Some(password.clone());
                }
                user.since = since;
                touched.users.push(name.clone());
            }
            Change::UserGrant { name, role } => {
                let known = role == ROOT || self.roles.contains_key(role);
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                if !known {
                    return Err(AuthError::RoleNotFound);
                }
                let Err(place) = user.roles.binary_search(role) else { return Ok(None) };
                user.roles.insert(place, role.clone());
                touched.users.push(name.clone());
            }
            Change::UserRevoke { name, role } => {
                if self.enabled() && name == ROOT && role == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
                let place = user.roles.binary_search(role).map_err(|_| AuthError::RoleNotGranted)?;
                user.roles.remove(place);
                touched.users.push(name.clone());
            }
            Change::RoleAdd { name } => {
                if name.is_empty() {
                    return Err(AuthError::RoleEmpty);
                }
                if self.roles.contains_key(name) {
                    return Err(AuthError::RoleExists);
                }
                self.roles.insert(name.clone(), Role::default());
                touched.roles.push(name.clone());
            }
            Change::RoleDelete { name } => {
                if self.enabled() && name == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
                for (user_name, user) in &mut self.users {
                    if let Ok(place) = user.roles.binary_search(name) {
                        user.roles.remove(place);
                        touched.users.push(user_name.clone());
                    }
                }
                touched.roles.push(name.clone());
            }
            Change::RoleGrant { name, permission } => {
                self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?.grant(permission);
                touched.roles.push(name.clone());
            }
            Change::RoleRevoke { name, key, range_end } => {
                let role = self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?;
                let before = role.permissions.len();
                role.permissions.retain(|one| one.key != key || one.range_end != range_end);
                if role.permissions.len() == before {
                    return Err(AuthError::PermissionNotGranted);
                }
                touched.roles.push(name.clone());
            }
            // Never within another.
            Change::All { .. } => return Err(AuthError::InvalidManagement),
        }
        self.marks.revision += 1;
        self.settle_touched(&touched);
        Ok(Some(touched))
    }

    fn settle_touched(&mut self, touched: &Touched) {
        let holds = |user: &User| touched.roles.iter().any(|role| user.roles.binary_search(role).is_ok());
        let holders = self.users.iter().filter(|(_, user)| holds(user)).map(|(name, _)| name.clone());
        let names: Vec<String> = holders.chain(touched.users.iter().cloned()).collect();
        names.iter().for_each(|name| self.settle(name));
        if touched.roles.iter().any(|role| role == GUEST) {
            self.settle(NOBODY);
        }
    }
}

impl Role {
    /// Adds a permission, or changes the one on the same key and end.
    fn grant(&mut self, permission: &Permission) {
        let same = |one: &&mut Permission| one.key == permission.key && one.range_end == permission.range_end;
        match self.permissions.iter_mut().find(same) {
            Some(present) => present.access = permission.access,
            None => {
                let place = self.permissions.partition_point(|one| one.key <= permission.key);
                self.permissions.insert(place, permission.clone());
            }
        }
    }
}
