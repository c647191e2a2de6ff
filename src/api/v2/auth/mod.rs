//! `/v2/auth`: the users and roles of the store in the words of etcd's v2 API. They are those of the v3 API.
//!
//! One switch asks for users in both dialects. Where nobody is named, the v2 API goes by the role `guest`; switching on by
//! `/v2/auth/enable` makes that role, with everything permitted, unless it is there. Roles that users have must exist, and a
//! role that is deleted is taken from its users, as in v3. How patterns of paths are ranges of keys: `kv::auth::Patterns`.

mod roles;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use hyper::{Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::INSUFFICIENT;
use super::members::message;
use crate::api::http::{decode, encoded, json, method_not_allowed};
use crate::api::users::{ATTEMPTS_MAX, Credentials, administrator, draw};
use crate::api::{Shared, body, status};
use crate::base::limits::AUTH_BODY_BYTES_MAX;
use crate::kv::auth::{Auth, AuthError, Change, GUEST, Patterns, ROOT};
use crate::kv::{KvError, Op, StoreError};
use crate::wire::v2 as wire;

/// The pattern of a role that permits everything.
const EVERYTHING: &str = "/*";

pub fn routes(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for path in ["enable", "users", "users/{*name}", "users/", "roles", "roles/{*name}", "roles/"] {
        let door = Door { shared: shared.clone() };
        let handler = any(async move |request: Request| door.answer(request).await);
        router = router.route(&format!("/v2/auth/{path}"), handler);
    }
    router
}

/// Why a request is not carried out.
struct Refused {
    code: StatusCode,
    message: String,
}

/// As etcd words what its users and roles refuse.
fn refused(code: StatusCode, what: impl AsRef<str>) -> Refused {
    Refused { code, message: format!("auth: {}", what.as_ref()) }
}

fn bad(what: &str) -> Refused {
    Refused { code: StatusCode::BAD_REQUEST, message: what.to_owned() }
}

/// The store did not do it.
fn broken(error: &StoreError) -> Refused {
    match error {
        StoreError::Refused(KvError::Auth(AuthError::Denied)) => {
            Refused { code: StatusCode::UNAUTHORIZED, message: INSUFFICIENT.to_owned() }
        }
        StoreError::Refused(KvError::Auth(refusal)) => refused(StatusCode::CONFLICT, refusal.to_string()),
        other => Refused { code: status::v2(status::v2_failed(other)).1, message: other.to_string() },
    }
}

impl Refused {
    fn answer(&self) -> Response {
        message(self.code, &self.message)
    }
}

#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
}

impl Door {
    async fn answer(&self, request: Request) -> Response {
        let path = decode(request.uri().path()).unwrap_or_default();
        let path = path.strip_prefix("/v2/auth/").unwrap_or_default().trim_end_matches('/').to_owned();
        let (kind, name) = path.split_once('/').map_or((path.as_str(), None), |(kind, name)| (kind, Some(name)));
        if name.is_some_and(|name| name.contains('/')) {
            return bad("Invalid path").answer();
        }
        let list = name.is_none() && kind != "enable";
        let known = match *request.method() {
            Method::GET => true,
            Method::PUT | Method::DELETE => !list,
            _ => false,
        };
        if !known {
            return method_not_allowed(if list { "GET" } else { "GET,PUT,DELETE" });
        }
        let who = Credentials::of_v2(&request);
        let open = kind == "enable" && *request.method() == Method::GET;
        // What was acknowledged before must be known, whichever node was asked for it.
        if let Err(error) = self.shared.store.catch_up().await {
            return broken(&error).answer();
        }
        if !open && self.shared.check(&who, &administrator).await.is_err() {
            return message(StatusCode::UNAUTHORIZED, INSUFFICIENT);
        }
        let done = match (kind, name) {
            ("users", None) => Ok(shown(StatusCode::OK, &users::all(&self.shared.store.auth()))),
            ("roles", None) => Ok(shown(StatusCode::OK, &roles::all(&self.shared.store.auth()))),
            ("users", Some(name)) => self.user(&who, name, request).await,
            ("roles", Some(name)) => self.role(&who, name, request).await,
            _ => self.switch(&who, request.method()).await,
        };
        self.shared.name_cluster(done.unwrap_or_else(|refused| refused.answer()))
    }

    async fn switch(&self, who: &Credentials, method: &Method) -> Result<Response, Refused> {
        if method == Method::GET {
            return Ok(shown(StatusCode::OK, &wire::AuthEnabled { enabled: self.shared.store.auth().enabled() }));
        }
        let enable = method == Method::PUT;
        let secret = draw(&*self.shared.random);
        self.change(who, |auth| match (enable, auth.enabled()) {
            (true, true) => Err(refused(StatusCode::CONFLICT, "already enabled")),
            (false, false) => Err(refused(StatusCode::CONFLICT, "already disabled")),
            (false, true) => Ok((vec![Change::Disable], ())),
            (true, false) => {
                let root = auth.user(ROOT).is_some_and(|root| root.roles.iter().any(|role| role == ROOT));
                if !root {
                    return Err(refused(StatusCode::CONFLICT, "No root user available, please create one"));
                }
                let mut changes = Vec::new();
                if auth.role(GUEST).is_none() {
                    changes.push(Change::RoleAdd { name: GUEST.to_owned() });
                    let everything = [EVERYTHING.to_owned()];
                    let wanted = Patterns { read: everything.clone().into(), write: everything.into() };
                    changes.extend(Patterns::default().changes_to(&wanted, GUEST));
                }
                changes.push(Change::Enable { secret });
                Ok((changes, ()))
            }
        })
        .await?;
        Ok(nothing())
    }

    /// Changes users and roles as `plan` says, given those of now: all of it, or nothing. Planned anew where they change meanwhile.
    async fn change<T>(
        &self,
        who: &Credentials,
        plan: impl Fn(&Auth) -> Result<(Vec<Change>, T), Refused>,
    ) -> Result<T, Refused> {
        let outdated = StoreError::Refused(KvError::Auth(AuthError::OldRevision));
        let mut result = Err(outdated.clone());
        for _ in 0..ATTEMPTS_MAX {
            let auth = self.shared.store.auth();
            let (changes, told) = plan(&auth)?;
            let change = Change::All { revision: auth.revision(), changes };
            let applied = self.shared.write_as(who, Op::Auth(change)).await;
            result = applied.and_then(|applied| applied.result.map(|_| told).map_err(StoreError::Refused));
            if result.as_ref().err() != Some(&outdated) {
                break;
            }
            self.shared.store.catch_up().await.map_err(|error| broken(&error))?;
        }
        result.map_err(|error| broken(&error))
    }
}

/// The JSON at the beginning of a request's body; what comes behind it is of no account, as in etcd.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let invalid = || bad("Invalid JSON in request body.");
    let bytes = body::read(request.into_body(), AUTH_BODY_BYTES_MAX).await.map_err(|_| invalid())?;
    let first = serde_json::Deserializer::from_slice(&bytes).into_iter::<serde_json::Value>().next();
    let object = first.and_then(Result::ok).filter(serde_json::Value::is_object).ok_or_else(invalid)?;
    serde_json::from_value(object).map_err(|_| invalid())
}

fn shown<T: Serialize>(code: StatusCode, body: &T) -> Response {
    json(code, encoded(body))
}

/// Done, and nothing to tell.
fn nothing() -> Response {
    let mut response = json(StatusCode::OK, Bytes::new());
    response.headers_mut().insert(header::CONTENT_LENGTH, 0.into());
    response
}
