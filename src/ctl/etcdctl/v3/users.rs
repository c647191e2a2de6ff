//! `etcdctl user`, `role` and `auth`.

use bytes::Bytes;
use tonic::Code;

use super::format::{shown, told};
use super::{Context, Failed, arguments, connected, within};
use crate::ctl::etcdctl::password;
use crate::kv::prefix_end;
use crate::remote::Line;
use crate::wire::authpb::permission::Type;
use crate::wire::authpb::{Permission, UserAddOptions};
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::auth_client::AuthClient;

/// The words behind a command, exactly so many.
fn words<'a, const N: usize>(context: &'a Context, what: &str) -> Result<[&'a str; N], Failed> {
    let given: Vec<&str> = context.parsed.words.iter().skip(2).map(String::as_str).collect();
    given.try_into().map_err(|_| Failed::usage(format!("{what} command requires {N} argument(s)")))
}

fn verb(context: &Context) -> &str {
    context.parsed.words.get(1).map(String::as_str).unwrap_or_default()
}

async fn client(context: &Context) -> Result<AuthClient<Line>, Failed> {
    Ok(AuthClient::new(connected(context).await?))
}

/// A new password for somebody: asked for twice, unless `--interactive=false` says that it comes through a pipe.
fn new_password(context: &Context, name: &str) -> Result<String, Failed> {
    let empty = |password: String| {
        if password.is_empty() { Err(Failed::usage("empty password")) } else { Ok(password) }
    };
    let twice = context.parsed.value("interactive").is_none() || context.parsed.truth("interactive")?;
    let first = empty(password::ask(&format!("Password of {name}: "))?)?;
    if !twice {
        return Ok(first);
    }
    let again = password::ask(&format!("Type password of {name} again for confirmation: "))?;
    if first == again { Ok(first) } else { Err(Failed::usage("given passwords are different")) }
}

pub async fn user(context: &Context) -> Result<u8, Failed> {
    match verb(context) {
        "add" => add(context).await?,
        "delete" => {
            let [name] = words(context, "user delete")?;
            let request = pb::AuthUserDeleteRequest { name: name.to_owned() };
            let done = within(context, client(context).await?.user_delete(request)).await?;
            told(context, &done, format_args!("User {name} deleted"))?;
        }
        "get" => get(context).await?,
        "list" => {
            let [] = words(context, "user list")?;
            let list = within(context, client(context).await?.user_list(pb::AuthUserListRequest {})).await?;
            if shown(context, &list)? {
                return Ok(0);
            }
            list.users.iter().for_each(|name| println!("{name}"));
        }
        "passwd" => {
            let [name] = words(context, "user passwd")?;
            let password = new_password(context, name)?;
            let request = pb::AuthUserChangePasswordRequest { name: name.to_owned(), password, ..Default::default() };
            let done = within(context, client(context).await?.user_change_password(request)).await?;
            told(context, &done, format_args!("Password updated"))?;
        }
        "grant-role" => {
            let [name, role] = words(context, "user grant-role")?;
            let request = pb::AuthUserGrantRoleRequest { user: name.to_owned(), role: role.to_owned() };
            let done = within(context, client(context).await?.user_grant_role(request)).await?;
            told(context, &done, format_args!("Role {role} is granted to user {name}"))?;
        }
        "revoke-role" => {
            let [name, role] = words(context, "user revoke-role")?;
            let request = pb::AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() };
            let done = within(context, client(context).await?.user_revoke_role(request)).await?;
            told(context, &done, format_args!("Role {role} is revoked from user {name}"))?;
        }
        _ => return Err(Failed::usage("write `user add`, delete, get, list, passwd, grant-role or revoke-role")),
    }
    Ok(0)
}

async fn add(context: &Context) -> Result<(), Failed> {
    let [given] = words(context, "user add")?;
    let no_password = context.parsed.truth("no-password")?;
    let (name, password) = match (given.split_once(':'), context.parsed.value("new-user-password")) {
        _ if no_password => (given, String::new()),
        (_, Some(password)) => (given, password.to_owned()),
        (Some(("", _)), None) => return Err(arguments("empty user name is not allowed")),
        (Some((name, password)), None) => (name, password.to_owned()),
        (None, None) => (given, new_password(context, given)?),
    };
    let options = Some(UserAddOptions { no_password });
    let request = pb::AuthUserAddRequest { name: name.to_owned(), password, options, ..Default::default() };
    let done = within(context, client(context).await?.user_add(request)).await?;
    told(context, &done, format_args!("User {name} created"))?;
    Ok(())
}

async fn get(context: &Context) -> Result<(), Failed> {
    let [name] = words(context, "user get")?;
    let mut client = client(context).await?;
    let found = within(context, client.user_get(pb::AuthUserGetRequest { name: name.to_owned() })).await?;
    let detail = context.parsed.truth("detail")?;
    if !detail && shown(context, &found)? {
        return Ok(());
    }
    println!("User: {name}");
    if detail {
        for role in found.roles {
            let request = pb::AuthRoleGetRequest { role: role.clone() };
            let permissions = within(context, client.role_get(request)).await?;
            println!();
            if !shown(context, &permissions)? {
                print_role(&role, &permissions.perm);
            }
        }
    } else {
        let roles: Vec<String> = found.roles.iter().map(|role| format!(" {role}")).collect();
        println!("Roles:{}", roles.concat());
    }
    Ok(())
}

pub async fn role(context: &Context) -> Result<u8, Failed> {
    match verb(context) {
        "add" => {
            let [name] = words(context, "role add")?;
            let done =
                within(context, client(context).await?.role_add(pb::AuthRoleAddRequest { name: name.to_owned() }))
                    .await?;
            told(context, &done, format_args!("Role {name} created"))?;
        }
        "delete" => {
            let [name] = words(context, "role delete")?;
            let request = pb::AuthRoleDeleteRequest { role: name.to_owned() };
            let done = within(context, client(context).await?.role_delete(request)).await?;
            told(context, &done, format_args!("Role {name} deleted"))?;
        }
        "get" => {
            let [name] = words(context, "role get")?;
            let request = pb::AuthRoleGetRequest { role: name.to_owned() };
            let role = within(context, client(context).await?.role_get(request)).await?;
            if !shown(context, &role)? {
                print_role(name, &role.perm);
            }
        }
        "list" => {
            let [] = words(context, "role list")?;
            let list = within(context, client(context).await?.role_list(pb::AuthRoleListRequest {})).await?;
            if shown(context, &list)? {
                return Ok(0);
            }
            list.roles.iter().for_each(|name| println!("{name}"));
        }
        "grant-permission" => grant(context).await?,
        "revoke-permission" => revoke(context).await?,
        _ => {
            return Err(Failed::usage("write `role add`, delete, get, list, grant-permission or revoke-permission"));
        }
    }
    Ok(0)
}

/// The key and the end that the words from number `at` on name, with `--prefix` and `--from-key`.
fn span(context: &Context, at: usize) -> Result<(Bytes, Bytes), Failed> {
    let (prefix, from_key) = (context.parsed.truth("prefix")?, context.parsed.truth("from-key")?);
    let given = context.parsed.words.get(at..).unwrap_or_default();
    let (key, end) = match given {
        [key] => (key, None),
        [key, end] => (key, Some(end)),
        _ => return Err(Failed::usage("a role, and a key or a range, are needed")),
    };
    let (key, all) = (Bytes::from(key.clone()), Bytes::from_static(b"\0"));
    match (end, prefix, from_key) {
        (_, true, true) => Err(arguments("--from-key and --prefix flags are mutually exclusive")),
        (Some(_), true, _) => Err(arguments("unexpected endkey argument with --prefix flag")),
        (Some(_), _, true) => Err(arguments("unexpected endkey argument with --from-key flag")),
        (Some(end), false, false) => Ok((key, Bytes::from(end.clone()))),
        // The empty key is no key; everything starts at \0.
        (None, true, false) if key.is_empty() => Ok((all.clone(), all)),
        (None, true, false) => Ok((key.clone(), prefix_end(&key))),
        (None, false, true) if key.is_empty() => Ok((all.clone(), all)),
        (None, false, true) => Ok((key, all)),
        (None, false, false) => Ok((key, Bytes::new())),
    }
}

async fn grant(context: &Context) -> Result<(), Failed> {
    let [name, kind] = match context.parsed.words.get(2..4) {
        Some([name, kind]) => [name, kind],
        _ => {
            return Err(Failed::usage(
                "role grant-permission command requires role name, permission type, and key [endkey] as its argument",
            ));
        }
    };
    let perm_type = match kind.to_lowercase().as_str() {
        "read" => Type::Read,
        "write" => Type::Write,
        "readwrite" => Type::Readwrite,
        _ => return Err(arguments(format!("invalid permission type: {kind}"))),
    };
    let (key, range_end) = span(context, 4)?;
    let perm = Some(Permission { perm_type: perm_type.into(), key, range_end });
    let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
    let done = within(context, client(context).await?.role_grant_permission(request)).await?;
    told(context, &done, format_args!("Role {name} updated"))?;
    Ok(())
}

async fn revoke(context: &Context) -> Result<(), Failed> {
    let name = context.parsed.words.get(2).ok_or_else(|| {
        Failed::usage("role revoke-permission command requires role name and key [endkey] as its argument")
    })?;
    let (key, range_end) = span(context, 3)?;
    let request =
        pb::AuthRoleRevokePermissionRequest { role: name.clone(), key: key.clone(), range_end: range_end.clone() };
    let revoked = within(context, client(context).await?.role_revoke_permission(request)).await?;
    if shown(context, &revoked)? {
        return Ok(());
    }
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match &range_end[..] {
        [] => println!("Permission of key {} is revoked from role {name}", text(&key)),
        [0] => println!("Permission of range [{}, <open ended> is revoked from role {name}", text(&key)),
        _ => println!("Permission of range [{}, {}) is revoked from role {name}", text(&key), text(&range_end)),
    }
    Ok(())
}

fn print_role(name: &str, permissions: &[Permission]) {
    println!("Role {name}");
    for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
        println!("{title}");
        let both = Type::Readwrite;
        for permission in permissions.iter().filter(|one| [kind, both].contains(&one.perm_type())) {
            println!("\t{}", range_line(permission));
        }
    }
}

fn range_line(permission: &Permission) -> String {
    let (key, end) = (String::from_utf8_lossy(&permission.key), String::from_utf8_lossy(&permission.range_end));
    let prefix = !key.is_empty() && prefix_end(&permission.key) == permission.range_end;
    let note = if prefix { format!(" (prefix {key})") } else { String::new() };
    match &permission.range_end[..] {
        [] => key.into_owned(),
        [0] => format!("[{key}, <open ended>{note}"),
        _ => format!("[{key}, {end}){note}"),
    }
}

pub async fn auth(context: &Context) -> Result<u8, Failed> {
    let mut client = client(context).await?;
    match verb(context) {
        "enable" => {
            let mut enabled = client.auth_enable(pb::AuthEnableRequest {}).await;
            let lacks_role = |status: &tonic::Status| {
                status.code() == Code::FailedPrecondition && status.message().ends_with("does not have root role")
            };
            if enabled.as_ref().is_err_and(lacks_role) {
                // As etcdctl does: the role is made and given first.
                let root = || "root".to_owned();
                within(context, client.role_add(pb::AuthRoleAddRequest { name: root() })).await?;
                let request = pb::AuthUserGrantRoleRequest { user: root(), role: root() };
                within(context, client.user_grant_role(request)).await?;
                enabled = client.auth_enable(pb::AuthEnableRequest {}).await;
            }
            within(context, async { enabled }).await?;
            println!("Authentication Enabled");
        }
        "disable" => {
            within(context, client.auth_disable(pb::AuthDisableRequest {})).await?;
            println!("Authentication Disabled");
        }
        "status" => {
            let status = within(context, client.auth_status(pb::AuthStatusRequest {})).await?;
            println!("Authentication Status: {}\nAuthRevision: {}", status.enabled, status.auth_revision);
        }
        _ => return Err(Failed::usage("write `auth enable`, disable or status")),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_etcdctl_does() {
        let cases = [
            ("a", "", "a"),
            ("b/", "b0", "[b/, b0) (prefix b/)"),
            ("c", "e", "[c, e)"),
            ("x", "\0", "[x, <open ended>"),
            ("", "\0", "[, <open ended>"),
        ];
        for (key, range_end, expected) in cases {
            let permission = Permission { perm_type: 0, key: key.into(), range_end: range_end.into() };
            assert_eq!(range_line(&permission), expected);
        }
    }
}
