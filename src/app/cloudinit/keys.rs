//! SSH keys of a user: lines between two comments in his authorized_keys; all else in the file stays.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::host::{below, own};
use crate::files::{Owner, Staged};

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub owner: Owner,
    pub home: PathBuf,
}

/// The account of a name; `None`: there is none.
///
/// # Errors
/// `/etc/passwd` cannot be read.
pub fn account(root: &Path, name: &str) -> anyhow::Result<Option<Account>> {
    let file = below(root, Path::new("/etc/passwd"));
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    Ok(text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [login, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let owner = Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (*login == name).then(|| Account { owner, home: PathBuf::from(home) })
    }))
}

/// The file, and what it is to hold; `None`: it holds that already.
///
/// # Errors
/// A place that is not the user's own: nothing is read or written through links that he may have made.
pub fn due(root: &Path, account: &Account, name: &str, keys: &[String]) -> anyhow::Result<Option<(PathBuf, String)>> {
    let file = below(root, &account.home).join(".ssh/authorized_keys");
    for path in file.ancestors().take(2) {
        let Ok(metadata) = fs::symlink_metadata(path) else { continue };
        let fits = if path == file { metadata.is_file() } else { metadata.is_dir() };
        anyhow::ensure!(fits, "{} is a link or not what it should be; remove it", path.display());
        let owned = metadata.uid() == account.owner.uid || metadata.uid() == rustix::process::geteuid().as_raw();
        anyhow::ensure!(owned, "{} belongs to another user; give it to its own", path.display());
    }
    let old = match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    let new = with_keys(&old, name, keys);
    Ok((new != old).then_some((file, new)))
}

/// Writes what [`due`] found, to be the user's own.
///
/// # Errors
/// A home that is not there, a full disk.
pub fn write(account: &Account, file: &Path, text: String) -> anyhow::Result<()> {
    let folder = file.parent().context("the file has no folder")?;
    let home = folder.parent().context("the folder has no home")?;
    anyhow::ensure!(home.is_dir(), "{} is not there: make the user's home first", home.display());
    if !folder.is_dir() {
        fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
        own(folder, account.owner, 0o700)?;
    }
    let staged = Staged::create(file, text.into_bytes(), 0o600, account.owner)?;
    staged.sync()?;
    Ok(staged.replace()?)
}

/// The file with these keys as the ones of this name, where those of before stood or else at the end.
fn with_keys(old: &str, name: &str, keys: &[String]) -> String {
    let begin = format!("# {name}: written by `node cloudinit`, replaced at each boot");
    let end = format!("# {name}: end");
    let mut block = vec![begin.as_str()];
    block.extend(keys.iter().flat_map(|key| key.lines()).map(str::trim).filter(|line| !line.is_empty()));
    block.push(&end);
    let mut lines = Vec::new();
    let (mut inside, mut placed) = (false, false);
    for line in old.lines() {
        if line == begin {
            inside = true;
            if !placed {
                lines.extend(&block);
                placed = true;
            }
        }
        if !inside {
            lines.push(line);
        }
        inside &= line != end;
    }
    if !placed {
        lines.extend(&block);
    }
    lines.join("\n") + "\n"
}

/// The keys of github.com's API, or one key a line.
///
/// # Errors
/// What is neither.
pub fn fetched(text: &str) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct UserKey {
        key: String,
    }
    if let Ok(keys) = serde_json::from_str::<Vec<UserKey>>(text) {
        return Ok(keys.into_iter().map(|key| key.key).collect());
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let are_keys =
        lines.iter().all(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-"));
    anyhow::ensure!(are_keys, "what came is neither a list of keys in JSON nor one key a line");
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn other_keys_stay_and_a_second_time_changes_nothing() {
        let keys = ["ssh-rsa A a\nssh-rsa B b".to_owned(), " ssh-rsa C c ".to_owned()];
        let once = with_keys("ssh-rsa OWN own", "n", &keys);
        assert!(once.starts_with("ssh-rsa OWN own\n# n: "), "{once}");
        assert!(once.contains("\nssh-rsa B b\nssh-rsa C c\n# n: end\n"), "{once}");
        assert_eq!(with_keys(&once, "n", &keys), once);
        let fewer = with_keys(&once, "n", &keys[1..]);
        assert!(!fewer.contains("ssh-rsa A") && fewer.contains("ssh-rsa C") && fewer.contains("OWN"), "{fewer}");
        let other = with_keys(&fewer, "m", &keys[..1]);
        assert!(other.contains("ssh-rsa A") && other.contains("ssh-rsa C"), "{other}");
        assert_eq!(with_keys(&other, "n", &keys[1..]), other);
    }

    #[test]
    fn what_is_fetched_is_json_or_lines() {
        assert_eq!(fetched(r#"[{"id":1,"key":"ssh-rsa A"}]"#).unwrap(), ["ssh-rsa A"]);
        assert_eq!(fetched("ssh-ed25519 A\necdsa-sha2-nistp256 B\n").unwrap().len(), 2);
        assert!(fetched("<html>").is_err());
        assert!(fetched("").unwrap().is_empty());
    }

    #[test]
    fn nothing_is_written_through_links() {
        let root = tempfile::tempdir().unwrap();
        let me = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let account = Account { owner: me, home: PathBuf::from("/home/core") };
        let home = root.path().join("home/core");
        let keys = ["ssh-rsa A".to_owned()];
        assert!(write(&account, &home.join(".ssh/authorized_keys"), String::new()).is_err(), "there is no home");
        fs::create_dir_all(&home).unwrap();
        let (file, text) = due(root.path(), &account, "n", &keys).unwrap().unwrap();
        write(&account, &file, text).unwrap();
        assert_eq!(due(root.path(), &account, "n", &keys).unwrap(), None);
        fs::rename(home.join(".ssh"), home.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", home.join(".ssh")).unwrap();
        assert!(due(root.path(), &account, "n", &keys).is_err());
    }
}
