//! `/v2/auth/roles`: which paths may be read and written.

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::response::Response;
use hyper::{Method, StatusCode};

use super::{Door, EVERYTHING, Refused, bad, nothing, read, refused, shown};
use crate::api::users::Credentials;
use crate::kv::auth::{Auth, Change, Patterns, ROOT};
use crate::wire::v2 as wire;

/// All roles; the one that permits everything is always there.
pub fn all(auth: &Auth) -> wire::AuthRoles {
    let root = ROOT.to_owned();
    let names: BTreeSet<&String> = auth.roles().chain([&root]).collect();
    wire::AuthRoles { roles: names.into_iter().filter_map(|name| one(auth, name)).collect() }
}

/// A role as the API shows it, if there is one of that name.
pub fn one(auth: &Auth, name: &str) -> Option<wire::AuthRole> {
    let patterns = match auth.role(name) {
        _ if name == ROOT => {
            let everything = [EVERYTHING.to_owned()];
            Patterns { read: everything.clone().into(), write: everything.into() }
        }
        Some(role) => Patterns::of(role),
        None => return None,
    };
    Some(role(name, patterns))
}

fn role(name: &str, patterns: Patterns) -> wire::AuthRole {
    let list = |patterns: BTreeSet<String>| Some(patterns.into_iter().collect());
    let kv = wire::KeyPermissions { read: list(patterns.read), write: list(patterns.write) };
    wire::AuthRole { role: name.to_owned(), permissions: wire::Permissions { kv }, ..wire::AuthRole::default() }
}

/// Refuses roles that users cannot have because they do not exist.
pub fn known(auth: &Auth, name: &str) -> Result<(), Refused> {
    if name == ROOT || auth.role(name).is_some() { Ok(()) } else { Err(missing(name)) }
}

fn missing(name: &str) -> Refused {
    refused(StatusCode::NOT_FOUND, format!("Role {name} does not exist."))
}

fn is_root(name: &str) -> Result<(), Refused> {
    let what = format!("Cannot modify role {name}: is root role.");
    if name == ROOT { Err(refused(StatusCode::FORBIDDEN, what)) } else { Ok(()) }
}

impl Door {
    pub(super) async fn role(&self, who: &Credentials, name: &str, request: Request) -> Result<Response, Refused> {
        match *request.method() {
            Method::GET => {
                let found = one(&self.shared.store.auth(), name).ok_or_else(|| missing(name))?;
                Ok(shown(StatusCode::OK, &found))
            }
            Method::PUT => self.put_role(who, name, request).await,
            _ => {
                is_root(name)?;
                self.change(who, |auth| {
                    if auth.role(name).is_none() {
                        return Err(refused(StatusCode::NOT_FOUND, format!("Role {name} doesn't exist.")));
                    }
                    Ok((vec![Change::RoleDelete { name: name.to_owned() }], ()))
                })
                .await?;
                Ok(nothing())
            }
        }
    }

    async fn put_role(&self, who: &Credentials, name: &str, request: Request) -> Result<Response, Refused> {
        let asked: wire::AuthRole = read(request).await?;
        if asked.role != name {
            return Err(bad("Role JSON name does not match the name in the URL"));
        }
        let (grant, revoke) = (asked.grant.unwrap_or_default().kv, asked.revoke.unwrap_or_default().kv);
        let merge = [&grant, &revoke].into_iter().any(|lists| !is_empty(lists));
        if merge && !is_empty(&asked.permissions.kv) {
            return Err(bad("Role JSON contains both permissions and grant/revoke"));
        }
        is_root(name)?;
        if merge {
            let after = self.change(who, |auth| merged(auth, name, &grant, &revoke)).await?;
            return Ok(shown(StatusCode::OK, &role(name, after)));
        }
        let wanted = Patterns { read: set(&asked.permissions.kv.read)?, write: set(&asked.permissions.kv.write)? };
        self.change(who, |auth| {
            if auth.role(name).is_some() {
                return Err(refused(StatusCode::CONFLICT, format!("Role {name} already exists.")));
            }
            let mut changes = vec![Change::RoleAdd { name: name.to_owned() }];
            changes.extend(Patterns::default().changes_to(&wanted, name));
            Ok((changes, ()))
        })
        .await?;
        let told =
            wire::AuthRole { role: name.to_owned(), permissions: asked.permissions, ..wire::AuthRole::default() };
        Ok(shown(StatusCode::CREATED, &told))
    }
}

/// What adds patterns to a role and takes some away, and the role's patterns after it.
fn merged(
    auth: &Auth,
    name: &str,
    grant: &wire::KeyPermissions,
    revoke: &wire::KeyPermissions,
) -> Result<(Vec<Change>, Patterns), Refused> {
    let now = Patterns::of(auth.role(name).ok_or_else(|| missing(name))?);
    let mut after = now.clone();
    for (kind, patterns, granted) in
        [("read", &mut after.read, set(&grant.read)?), ("write", &mut after.write, set(&grant.write)?)]
    {
        for pattern in granted {
            if !patterns.insert(pattern.clone()) {
                let what = format!("Granting duplicate {kind} permission {pattern}");
                return Err(refused(StatusCode::CONFLICT, what));
            }
        }
    }
    let (read, write) = (set(&revoke.read)?, set(&revoke.write)?);
    after.read.retain(|pattern| !read.contains(pattern));
    after.write.retain(|pattern| !write.contains(pattern));
    if after == now {
        let what = "Role not updated. Use grant/revoke to update the role.";
        return Err(refused(StatusCode::BAD_REQUEST, what));
    }
    Ok((now.changes_to(&after, name), after))
}

fn is_empty(lists: &wire::KeyPermissions) -> bool {
    [&lists.read, &lists.write].into_iter().all(|list| list.as_deref().unwrap_or_default().is_empty())
}

/// Patterns of a request. An empty one means nothing.
fn set(list: &Option<Vec<String>>) -> Result<BTreeSet<String>, Refused> {
    let list = list.as_deref().unwrap_or_default();
    match list.iter().any(String::is_empty) {
        true => Err(bad("a pattern is empty; \"*\" means all keys")),
        false => Ok(list.iter().cloned().collect()),
    }
}
