//! Users and groups of this machine by name, from its own files: a static binary has no other directory.

use std::fs;
use std::path::Path;

use super::FileError;
use crate::confd::Identity;

/// Who a file shall belong to, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The numbers of a user and a group; where one is not given, those of this process.
///
/// # Errors
/// A name that `/etc/passwd` or `/etc/group` does not have.
pub fn resolve_owner(user: Option<&Identity>, group: Option<&Identity>) -> Result<Owner, FileError> {
    resolve_owner_below(Path::new("/"), user, group)
}

/// The same by the files of a system that lies below `root`.
///
/// # Errors
/// A name that its `etc/passwd` or `etc/group` does not have.
pub fn resolve_owner_below(root: &Path, user: Option<&Identity>, group: Option<&Identity>) -> Result<Owner, FileError> {
    let (uid, gid) =
        (resolve(user, &root.join("etc/passwd"), "owner")?, resolve(group, &root.join("etc/group"), "group")?);
    Ok(Owner {
        uid: uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
        gid: gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
    })
}

fn resolve(identity: Option<&Identity>, file: &Path, what: &str) -> Result<Option<u32>, FileError> {
    let name = match identity {
        None => return Ok(None),
        Some(Identity::Id(id)) => return Ok(Some(*id)),
        Some(Identity::Name(name)) => name,
    };
    let error = |source| FileError::new("looking in", file, source);
    let text = fs::read_to_string(file).map_err(error)?;
    let missing = || error(std::io::Error::other(format!("there is no {what} `{name}`; create it or give its number")));
    number_of(&text, name).map(Some).ok_or_else(missing)
}

/// The third field of the line that begins with `name`.
fn number_of(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_numbers_by_name() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nnginx:x:101:102::/:/bin/false\nodd:x:no\n";
        for (name, expected) in
            [("root", Some(0)), ("nginx", Some(101)), ("ngin", None), ("broken", None), ("odd", None)]
        {
            assert_eq!(number_of(text, name), expected, "{name}");
        }
        let me = resolve_owner(None, Some(&Identity::Id(7))).unwrap();
        assert_eq!(me, Owner { uid: rustix::process::geteuid().as_raw(), gid: 7 });
        assert_eq!(resolve_owner(Some(&Identity::Name("root".into())), None).unwrap().uid, 0);
        let error = resolve_owner(Some(&Identity::Name("no such".into())), None).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd") && error.contains("`no such`"), "{error}");
    }
}
