//! The service `etcdserverpb.Auth`: users, roles, and tokens for those who log in.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::kv::write;
use crate::api::users::{Credentials, Needs, administrator, draw};
use crate::api::{Shared, status};
use crate::kv::auth::{self, AuthError, Change};
use crate::kv::{Consistency, KvError, Op, Position, StoreError};
use crate::wire::authpb;
use crate::wire::etcdserverpb as pb;

#[derive(Clone)]
pub struct Auth(pub Arc<Shared>);

impl Auth {
    /// Makes a change, if whoever asks may. Returns the answer's header.
    async fn change<T>(&self, request: &Request<T>, change: Change) -> Result<Option<pb::ResponseHeader>, Status> {
        let who = Credentials::of_call(request);
        let (position, _) = write(&self.0, &who, Op::Auth(change)).await?;
        Ok(Some(self.0.header(&position)))
    }

    /// Users and roles with every change that was acknowledged before.
    async fn look<T, R>(
        &self,
        request: &Request<T>,
        needs: Needs<'_>,
        look: impl FnOnce(&auth::Auth) -> Result<R, AuthError> + Send,
    ) -> Result<(Option<pb::ResponseHeader>, R), Status> {
        let who = Credentials::of_call(request);
        let looked = self.0.read_as(&who, Consistency::Linearizable, needs, |consistency| async move {
            if consistency == Consistency::Linearizable {
                self.0.store.catch_up().await?;
            }
            let position: Position = self.0.store.status().position;
            let found = look(&self.0.store.auth());
            let found = found.map_err(|refusal| StoreError::Refused(KvError::Auth(refusal)))?;
            Ok((Some(self.0.header(&position)), found))
        });
        looked.await.map_err(|error| status::failed(&error))
    }

    async fn hash(&self, password: &str) -> Result<auth::PasswordHash, Status> {
        self.0.hash_password(password).await.map_err(|error| status::failed(&error))
    }
}

/// What etcd calls a permission; an unknown kind is none.
fn permission(asked: Option<authpb::Permission>) -> Result<auth::Permission, Status> {
    use authpb::permission::Type;
    let missing = || status::refused(&KvError::Auth(AuthError::PermissionNotGiven));
    let asked = asked.ok_or_else(missing)?;
    let access = match asked.perm_type() {
        Type::Read => auth::Access::Read,
        Type::Write => auth::Access::Write,
        Type::Readwrite => auth::Access::ReadWrite,
    };
    Ok(auth::Permission { access, key: asked.key, range_end: asked.range_end })
}

fn shown(permission: &auth::Permission) -> authpb::Permission {
    use authpb::permission::Type;
    let perm_type = match permission.access {
        auth::Access::Read => Type::Read,
        auth::Access::Write => Type::Write,
        auth::Access::ReadWrite => Type::Readwrite,
    };
    authpb::Permission {
        perm_type: perm_type.into(),
        key: permission.key.clone(),
        range_end: permission.range_end.clone(),
    }
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Auth {
    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let look = |auth: &auth::Auth| Ok((auth.enabled(), auth.revision()));
        let (header, (enabled, auth_revision)) = self.look(&request, &administrator, look).await?;
        Ok(Response::new(pb::AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let request = request.into_inner();
        let token = self.0.log_in(&request.name, &request.password).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(pb::AuthenticateResponse { header: Some(self.0.header_now()), token }))
    }

    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let header = self.change(&request, Change::Enable { secret: draw(&*self.0.random) }).await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let header = self.change(&request, Change::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let pb::AuthUserAddRequest { name, password, options, .. } = request.get_ref();
        if name.is_empty() {
            return Err(status::refused(&KvError::Auth(AuthError::UserEmpty)));
        }
        let password = match options.is_some_and(|options| options.no_password) {
            true => None,
            false => {
                // Only who may add users has this node work for him.
                self.0.need(&request, &administrator).await?;
                Some(self.hash(password).await?)
            }
        };
        let header = self.change(&request, Change::UserAdd { name: name.clone(), password }).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let name = request.get_ref().name.clone();
        let needs = |auth: &auth::Auth, user: &str| if user == name { Ok(()) } else { administrator(auth, user) };
        let roles = |auth: &auth::Auth| auth.user(&name).map(|user| user.roles.clone()).ok_or(AuthError::UserNotFound);
        let (header, roles) = self.look(&request, &needs, roles).await?;
        Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let names = |auth: &auth::Auth| Ok(auth.users().cloned().collect());
        let (header, users) = self.look(&request, &administrator, names).await?;
        Ok(Response::new(pb::AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let name = request.get_ref().name.clone();
        let header = self.change(&request, Change::UserDelete { name }).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let pb::AuthUserChangePasswordRequest { name, password, .. } = request.get_ref();
        let change = Change::UserPassword { name: name.clone(), password: self.hash(password).await? };
        let header = self.change(&request, change).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let pb::AuthUserGrantRoleRequest { user, role } = request.get_ref().clone();
        let header = self.change(&request, Change::UserGrant { name: user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let pb::AuthUserRevokeRoleRequest { name, role } = request.get_ref().clone();
        let header = self.change(&request, Change::UserRevoke { name, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let name = request.get_ref().name.clone();
        let header = self.change(&request, Change::RoleAdd { name }).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let name = request.get_ref().role.clone();
        let needs = |auth: &auth::Auth, user: &str| {
            let has = auth.user(user).is_some_and(|user| user.roles.contains(&name));
            if has { Ok(()) } else { administrator(auth, user) }
        };
        let permissions = |auth: &auth::Auth| {
            let role = auth.role(&name).ok_or(AuthError::RoleNotFound)?;
            // The role root has none written down, and needs none.
            Ok(role.permissions.iter().map(shown).collect())
        };
        let (header, perm) = self.look(&request, &needs, permissions).await?;
        Ok(Response::new(pb::AuthRoleGetResponse { header, perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let names = |auth: &auth::Auth| Ok(auth.roles().cloned().collect());
        let (header, roles) = self.look(&request, &administrator, names).await?;
        Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let name = request.get_ref().role.clone();
        let header = self.change(&request, Change::RoleDelete { name }).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let pb::AuthRoleGrantPermissionRequest { name, perm } = request.get_ref().clone();
        let change = Change::RoleGrant { name, permission: permission(perm)? };
        let header = self.change(&request, change).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = request.get_ref().clone();
        let header = self.change(&request, Change::RoleRevoke { name: role, key, range_end }).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }
}
