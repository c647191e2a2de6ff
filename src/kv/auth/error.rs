//! Refusals that speak of users, roles and permissions.

use serde::{Deserialize, Serialize};

/// Why something is not allowed, or a change of users and roles cannot be made. Source of the texts: etcd's `rpctypes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AuthError {
    #[error("root user does not exist")]
    RootUserMissing,
    #[error("root user does not have root role")]
    RootRoleMissing,
    #[error("user name already exists")]
    UserExists,
    /// A user without a name is to be made, or nobody is named where somebody is needed.
    #[error("user name is empty")]
    UserEmpty,
    #[error("user name not found")]
    UserNotFound,
    #[error("role name already exists")]
    RoleExists,
    #[error("role name is empty")]
    RoleEmpty,
    #[error("role name not found")]
    RoleNotFound,
    #[error("permission not given")]
    PermissionNotGiven,
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    #[error("permission denied")]
    Denied,
    #[error("role is not granted to the user")]
    RoleNotGranted,
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    #[error("authentication is not enabled")]
    NotEnabled,
    /// Users or roles changed between the request and its place in the log.
    #[error("revision of auth store is old")]
    OldRevision,
    #[error("invalid auth token")]
    InvalidToken,
    /// What would lock everybody out.
    #[error("invalid auth management")]
    InvalidManagement,
}
