//! `Secret=NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`: what the cluster keeps for containers only.

/// A secret that a container is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Under which the cluster keeps it.
    pub name: String,
    pub how: SecretAs,
}

/// How the container finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretAs {
    /// A file, which no engine's own records hold.
    File { target: String, uid: u32, gid: u32, mode: u32 },
    /// A variable, which whoever may inspect the container can read.
    Variable(String),
}

/// Where files are that are named without a path.
const FOLDER: &str = "/run/secrets";
/// As Podman has it.
const NAME_BYTES_MAX: usize = 253;
const MODE: u32 = 0o444;

/// Whether the cluster may keep a secret under this name. It is the name of a file, too.
pub fn is_secret_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(fits)
}

/// Reads the value of `Secret=`.
pub(super) fn read(text: &str) -> Result<Vec<Secret>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut words = text.split(',');
    let name = words.next().unwrap_or_default().to_owned();
    if !is_secret_name(&name) {
        return Err(format!("{name:?} is no secret's name; use letters, digits, \"_\", \".\" and \"-\""));
    }
    let (mut variable, mut target) = (false, None);
    let (mut uid, mut gid, mut mode) = (None, None, None);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = |radix| {
            let number = u32::from_str_radix(value, radix).ok().filter(|_| !value.starts_with('+'));
            number.ok_or_else(|| format!("{word:?}: {value:?} is no such number"))
        };
        match (key, value) {
            ("type", "mount") => variable = false,
            ("type", "env") => variable = true,
            ("target", target_of) if !target_of.is_empty() => target = Some(target_of.to_owned()),
            ("uid", _) => uid = Some(number(10)?),
            ("gid", _) => gid = Some(number(10)?),
            ("mode", _) => mode = Some(number(8)?).filter(|mode| *mode <= 0o777),
            _ => return Err(format!("{word:?}: write type=mount, type=env, target=…, uid=…, gid=… or mode=0…")),
        }
        if key == "mode" && mode.is_none() {
            return Err(format!("{word:?}: write an octal number up to 0777"));
        }
    }
    let how = match (variable, target) {
        (true, _) if uid.or(gid).or(mode).is_some() => {
            return Err("uid=, gid= and mode= are a file's, and type=env makes a variable".to_owned());
        }
        (true, target) => SecretAs::Variable(target.unwrap_or_else(|| name.clone())),
        (false, target) => {
            let target = target.unwrap_or_else(|| name.clone());
            let target = if target.starts_with('/') { target } else { format!("{FOLDER}/{target}") };
            let (uid, gid, mode) = (uid.unwrap_or(0), gid.unwrap_or(0), mode.unwrap_or(MODE));
            SecretAs::File { target, uid, gid, mode }
        }
    };
    Ok(vec![Secret { name, how }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_and_variables() {
        let file = |target: &str, uid, gid, mode| SecretAs::File { target: target.to_owned(), uid, gid, mode };
        for (text, name, how) in [
            ("db", "db", file("/run/secrets/db", 0, 0, 0o444)),
            ("db,type=mount,target=pw,uid=7,gid=8,mode=0400", "db", file("/run/secrets/pw", 7, 8, 0o400)),
            ("db,target=/etc/pw", "db", file("/etc/pw", 0, 0, 0o444)),
            ("db,type=env", "db", SecretAs::Variable("db".into())),
            ("db-1.x,type=env,target=DB_PASSWORD", "db-1.x", SecretAs::Variable("DB_PASSWORD".into())),
        ] {
            assert_eq!(read(text).unwrap(), [Secret { name: name.to_owned(), how }], "{text}");
        }
        assert_eq!(read("").unwrap(), []);
        for (text, expected) in [
            ("a/b", "\"a/b\" is no secret's name"),
            (".a", "\".a\" is no secret's name"),
            (",type=env", "\"\" is no secret's name"),
            ("a,type=file", "\"type=file\": write type=mount, type=env"),
            ("a,mode=0999", "\"mode=0999\": \"0999\" is no such number"),
            ("a,mode=1777", "\"mode=1777\": write an octal number up to 0777"),
            ("a,uid=root", "\"uid=root\": \"root\" is no such number"),
            ("a,target=", "\"target=\": write type=mount"),
            ("a,type=env,uid=1", "uid=, gid= and mode= are a file's"),
        ] {
            assert!(read(text).unwrap_err().starts_with(expected), "{text}: {:?}", read(text));
        }
    }
}
