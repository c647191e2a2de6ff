//! What a request to fleet's API, and to what else steers the cluster, needs while users are asked for.
//!
//! A right is a role of that name which a user holds; the role needs no permissions. Who has the role `root` may everything.

use hyper::Method;

use crate::kv::auth::{Auth, AuthError};

/// What somebody must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// To look at machines, units, their states and their output.
    View,
    /// To start, stop, change and destroy units, which run as root where they say nothing else.
    Operate,
    /// To run commands on machines.
    Exec,
    /// To take machines out of service, move units between them and change their metadata.
    Admin,
    /// To say who belongs to the cluster.
    Root,
}

impl Right {
    /// What a request needs. What is not known here is root's.
    pub fn needed(method: &Method, path: &str) -> Self {
        let reads = *method == Method::GET || *method == Method::HEAD;
        if reads && path.starts_with("/v2/keys/_coreos.com/fleet") {
            return Self::View;
        }
        if path == "/secrets/v1" || path.starts_with("/secrets/v1/") {
            // Whoever may start a unit may give it any secret.
            return if reads { Self::View } else { Self::Operate };
        }
        let rest = ["/fleet/v1", "/v1-alpha"].iter().find_map(|base| path.strip_prefix(base));
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) else { return Self::Root };
        let first = rest.split('/').nth(1).unwrap_or_default();
        match (first, reads) {
            ("exec", _) => Self::Exec,
            (_, true) => Self::View,
            ("units" | "restart" | "apply" | "rollback", _) => Self::Operate,
            ("machines" | "cordons" | "rebalance", _) => Self::Admin,
            _ => Self::Root,
        }
    }

    /// The roles that give it.
    fn roles(self) -> &'static [&'static str] {
        match self {
            Self::View => &["fleet-view", "fleet-operate", "fleet-exec", "fleet-admin"],
            Self::Operate => &["fleet-operate", "fleet-admin"],
            Self::Exec => &["fleet-exec", "fleet-admin"],
            Self::Admin => &["fleet-admin"],
            Self::Root => &[],
        }
    }

    /// Whether a user has it.
    pub fn check(self, auth: &Auth, user: &str) -> Result<(), AuthError> {
        auth.administers(user).or_else(|refusal| {
            let held =
                auth.user(user).is_some_and(|user| user.roles.iter().any(|role| self.roles().contains(&&**role)));
            if held { Ok(()) } else { Err(refusal) }
        })
    }

    /// For a refusal: what would do.
    pub fn told(self) -> String {
        match self.roles().first() {
            Some(role) => format!("the role {role} or root"),
            None => "the role root".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_needs_its_right() {
        let cases = [
            ("GET", "/fleet/v1/units", Right::View),
            ("GET", "/v1-alpha/machines", Right::View),
            ("GET", "/fleet/v1/journal/a.service", Right::View),
            ("GET", "/fleet/v1/simulate", Right::View),
            ("HEAD", "/fleet/v1/state", Right::View),
            ("PUT", "/fleet/v1/units/a.service", Right::Operate),
            ("DELETE", "/v1-alpha/units/a.service", Right::Operate),
            ("POST", "/fleet/v1/restart/a.service", Right::Operate),
            ("POST", "/fleet/v1/apply", Right::Operate),
            ("POST", "/fleet/v1/rollback", Right::Operate),
            ("PATCH", "/fleet/v1/machines", Right::Admin),
            ("PUT", "/fleet/v1/cordons/m", Right::Admin),
            ("DELETE", "/fleet/v1/cordons/m", Right::Admin),
            ("POST", "/fleet/v1/rebalance", Right::Admin),
            ("GET", "/fleet/v1/exec/m", Right::Exec),
            ("POST", "/fleet/v1/exec/m", Right::Exec),
            ("POST", "/fleet/v1/new", Right::Root),
            ("POST", "/fleet/v1", Right::Root),
            ("GET", "/fleet/v10/units", Right::Root),
            ("GET", "/v2/keys/_coreos.com/fleet/unit", Right::View),
            ("PUT", "/v2/keys/_coreos.com/fleet/unit", Right::Root),
            ("GET", "/secrets/v1", Right::View),
            ("PUT", "/secrets/v1/db", Right::Operate),
            ("DELETE", "/secrets/v1/db", Right::Operate),
            ("PUT", "/secrets/v10", Right::Root),
            ("GET", "/node/v1/tokens", Right::Root),
            ("POST", "/node/v1/tokens", Right::Root),
        ];
        for (method, path, expected) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
            assert_eq!(Right::needed(&method, path), expected, "{method} {path}");
        }
    }
}
