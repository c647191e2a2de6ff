//! `/v2/auth/users`: who may log in, and with which roles.

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::response::Response;
use hyper::{Method, StatusCode};

use super::{Door, Refused, bad, broken, nothing, read, refused, roles, shown};
use crate::api::users::Credentials;
use crate::kv::auth::{Auth, Change, PasswordHash, ROOT};
use crate::wire::v2 as wire;

/// All users with what their roles permit.
pub fn all(auth: &Auth) -> wire::AuthUsers {
    let all: Vec<_> = auth.users().filter_map(|name| one(auth, name)).collect();
    wire::AuthUsers { users: (!all.is_empty()).then_some(all) }
}

fn one(auth: &Auth, name: &str) -> Option<wire::AuthUserShown> {
    let roles = auth.user(name)?.roles.iter().filter_map(|role| roles::one(auth, role)).collect();
    Some(wire::AuthUserShown { user: name.to_owned(), roles })
}

fn missing(name: &str) -> Refused {
    refused(StatusCode::NOT_FOUND, format!("User {name} does not exist."))
}

impl Door {
    pub(super) async fn user(&self, who: &Credentials, name: &str, request: Request) -> Result<Response, Refused> {
        match *request.method() {
            Method::GET => {
                let found = one(&self.shared.store.auth(), name).ok_or_else(|| missing(name))?;
                Ok(shown(StatusCode::OK, &found))
            }
            Method::PUT => self.put_user(who, name, request).await,
            _ => {
                self.change(who, |auth| {
                    if auth.enabled() && name == ROOT {
                        let what = "Cannot delete root user while auth is enabled.";
                        return Err(refused(StatusCode::FORBIDDEN, what));
                    }
                    if auth.user(name).is_none() {
                        return Err(refused(StatusCode::NOT_FOUND, format!("User {name} does not exist")));
                    }
                    Ok((vec![Change::UserDelete { name: name.to_owned() }], ()))
                })
                .await?;
                Ok(nothing())
            }
        }
    }

    async fn put_user(&self, who: &Credentials, name: &str, request: Request) -> Result<Response, Refused> {
        let asked: wire::AuthUser = read(request).await?;
        if asked.user != name {
            return Err(bad("User JSON name does not match the name in the URL"));
        }
        let [roles, grant, revoke] =
            [&asked.roles, &asked.grant, &asked.revoke].map(|list| list.as_deref().unwrap_or_default());
        let merge = !grant.is_empty() || !revoke.is_empty();
        if merge && !roles.is_empty() {
            return Err(bad("User JSON contains both roles and grant/revoke"));
        }
        let given = asked.password.as_deref().filter(|password| !password.is_empty());
        let password = match given {
            Some(given) => Some(self.shared.hash_password(given).await.map_err(|error| broken(&error))?),
            None => None,
        };
        let (code, roles) = self
            .change(who, |auth| match auth.user(name) {
                Some(user) if merge || roles.is_empty() => {
                    let now: BTreeSet<String> = user.roles.iter().cloned().collect();
                    let (changes, roles) = merged(auth, name, &now, password.as_ref(), [grant, revoke])?;
                    Ok((changes, (StatusCode::OK, Some(roles))))
                }
                None if merge => Err(missing(name)),
                user => {
                    let changes = created(auth, name, password.as_ref(), roles, user.is_some())?;
                    let mut told = asked.roles.clone();
                    if name == ROOT && !roles.iter().any(|role| role == ROOT) {
                        told.get_or_insert_default().push(ROOT.to_owned());
                    }
                    // As etcd: who comes with roles is not told that it is new.
                    Ok((changes, (if roles.is_empty() { StatusCode::CREATED } else { StatusCode::OK }, told)))
                }
            })
            .await?;
        Ok(shown(code, &wire::AuthUser { user: name.to_owned(), roles, ..wire::AuthUser::default() }))
    }
}

/// What makes a user.
fn created(
    auth: &Auth,
    name: &str,
    password: Option<&PasswordHash>,
    roles: &[String],
    exists: bool,
) -> Result<Vec<Change>, Refused> {
    let Some(password) = password else {
        let what = format!("Cannot create user {name} with an empty password");
        return Err(refused(StatusCode::BAD_REQUEST, what));
    };
    if exists {
        return Err(refused(StatusCode::CONFLICT, format!("User {name} already exists.")));
    }
    let mut changes = vec![Change::UserAdd { name: name.to_owned(), password: Some(password.clone()) }];
    let root = (name == ROOT).then(|| ROOT.to_owned());
    let roles: BTreeSet<String> = roles.iter().cloned().chain(root).collect();
    for role in roles {
        roles::known(auth, &role)?;
        changes.push(Change::UserGrant { name: name.to_owned(), role });
    }
    Ok(changes)
}

/// What gives a user another password and other roles, and the roles after it.
fn merged(
    auth: &Auth,
    name: &str,
    now: &BTreeSet<String>,
    password: Option<&PasswordHash>,
    [grant, revoke]: [&[String]; 2],
) -> Result<(Vec<Change>, Vec<String>), Refused> {
    let (mut changes, mut roles) = (Vec::new(), now.clone());
    if let Some(password) = password {
        changes.push(Change::UserPassword { name: name.to_owned(), password: password.clone() });
    }
    for role in grant {
        if !roles.insert(role.clone()) {
            let what = format!("Granting duplicate role {role} for user {name}");
            return Err(refused(StatusCode::CONFLICT, what));
        }
        roles::known(auth, role)?;
        changes.push(Change::UserGrant { name: name.to_owned(), role: role.clone() });
    }
    for role in revoke {
        if !roles.remove(role) {
            let what = format!("Revoking ungranted role {role} for user {name}");
            return Err(refused(StatusCode::CONFLICT, what));
        }
        changes.push(Change::UserRevoke { name: name.to_owned(), role: role.clone() });
    }
    if password.is_none() && roles == *now {
        let what = "User not updated. Use grant/revoke/password to update the user.";
        return Err(refused(StatusCode::BAD_REQUEST, what));
    }
    Ok((changes, roles.into_iter().collect()))
}
