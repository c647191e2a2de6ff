//! Users and groups out of the text of `/etc/passwd` and `/etc/group`: no name service is asked, so that a static binary needs none.

/// Who a unit's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
    /// Groups that list the user as a member.
    pub groups: Vec<u32>,
}

/// Why a name means nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    #[error("User={0}: no such user in /etc/passwd")]
    NoUser(String),
    #[error("Group={0}: no such group in /etc/group")]
    NoGroup(String),
}

/// The user of a name or a number. A number that `/etc/passwd` does not list is taken as it is, with the group of the same number.
///
/// # Errors
/// A name that is not listed.
pub fn user(wanted: &str, passwd: &str, group: &str) -> Result<User, UsersError> {
    let number: Option<u32> = wanted.parse().ok();
    let listed = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, uid, gid, _, home, shell] = fields.as_slice() else {
            return None;
        };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (name == wanted || number == Some(uid)).then(|| User {
            name: name.to_owned(),
            uid,
            gid,
            home: home.to_owned(),
            shell: shell.to_owned(),
            groups: memberships(name, group),
        })
    });
    match (listed, number) {
        (Some(user), _) => Ok(user),
        (None, Some(uid)) => Ok(User {
            name: wanted.to_owned(),
            uid,
            gid: uid,
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
            groups: Vec::new(),
        }),
        (None, None) => Err(UsersError::NoUser(wanted.to_owned())),
    }
}

/// The number of a group's name, or the number that it is.
///
/// # Errors
/// A name that is not listed.
pub fn group(wanted: &str, group: &str) -> Result<u32, UsersError> {
    if let Ok(number) = wanted.parse() {
        return Ok(number);
    }
    groups(group)
        .find_map(|(name, gid, _)| (name == wanted).then_some(gid))
        .ok_or_else(|| UsersError::NoGroup(wanted.to_owned()))
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    groups(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# nonsense\ncore:x:500:501::/home/core:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndocker:x:233:core,other\ncore:x:501:\nshort:x\n";

    #[test]
    fn resolves_names_and_numbers() {
        let core = user("core", PASSWD, GROUP).unwrap();
        assert_eq!((core.uid, core.gid, core.groups.clone()), (500, 501, vec![233]));
        assert_eq!(user("500", PASSWD, GROUP).unwrap(), core);
        let nameless = user("4711", PASSWD, GROUP).unwrap();
        assert_eq!((nameless.uid, nameless.gid), (4711, 4711));
        assert_eq!(user("nobody-here", PASSWD, GROUP), Err(UsersError::NoUser("nobody-here".to_owned())));
        assert_eq!(group("docker", GROUP), Ok(233));
        assert_eq!(group("7", GROUP), Ok(7));
        assert!(group("short", GROUP).is_err());
    }
}
