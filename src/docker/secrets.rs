//! Secrets on their way into a container: variables, and files in memory that are mounted into it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::base::BoxFuture;
use crate::fleet::executor::ExecutorError;
use crate::unit::container::{Secret, SecretAs};

/// A secret's bytes, with a number that is another one after each change; `None`: there is no such secret.
pub type Found = Option<(i64, Vec<u8>)>;

/// Where secrets come from.
pub trait Secrets: Send + Sync + 'static {
    /// Looks for a secret by its name.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Found, ExecutorError>>;
}

/// What the engine is told of a container's secrets.
#[derive(Default)]
pub struct Given {
    pub variables: Vec<(String, String)>,
    /// `SOURCE:TARGET:ro`
    pub binds: Vec<String>,
    /// Which they are, by name and number: a container that was made with others is not started again.
    pub versions: String,
}

/// Folders that are in memory on Linux machines of all kinds.
const IN_MEMORY: [&str; 2] = ["/run", "/dev/shm"];
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// The folder of one machine's secrets, a folder below it for each unit.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    dir: Result<PathBuf, String>,
}

impl SecretFiles {
    /// Of this machine; nothing is made yet.
    pub fn of(machine_id: &str) -> Self {
        let is_memory = |dir: &&str| statfs(*dir).is_ok_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found.f_type));
        let dir = IN_MEMORY.into_iter().find(is_memory);
        let missing = || format!("none of {} is in memory (tmpfs); mount one", IN_MEMORY.join(" and "));
        Self { dir: dir.map(|dir| Path::new(dir).join("corenode-secrets").join(machine_id)).ok_or_else(missing) }
    }

    fn of_unit(&self, unit: &str) -> Result<PathBuf, String> {
        self.dir.as_ref().map(|dir| dir.join(unit)).map_err(Clone::clone)
    }

    /// Gives a unit its secrets, in the order of its text, with their numbers and bytes. Files that a container has mounted already
    /// stay what they are: the new ones take their names.
    ///
    /// # Errors
    /// What is wrong with which, never a byte of it.
    pub fn give(&self, unit: &str, secrets: &[Secret], read: &[(i64, Vec<u8>)]) -> Result<Given, String> {
        let mut given = Given::default();
        for (at, (secret, (number, bytes))) in secrets.iter().zip(read).enumerate() {
            let Secret { name, how } = secret;
            given.versions.push_str(&format!("{name}@{number} "));
            match how {
                SecretAs::Variable(variable) => {
                    let text = String::from_utf8(bytes.clone()).ok().filter(|text| !text.contains('\0'));
                    let text = text.ok_or_else(|| format!("Secret={name}: type=env needs text, and it is none"))?;
                    given.variables.push((variable.clone(), text));
                }
                SecretAs::File { target, uid, gid, mode } => {
                    let dir = self.of_unit(unit)?;
                    let file = dir.join(format!("{at}-{name}"));
                    write(&dir, &file, bytes, (*uid, *gid), *mode)
                        .map_err(|error| format!("Secret={name}: {}: {error}", file.display()))?;
                    given.binds.push(format!("{}:{target}:ro", file.display()));
                }
            }
        }
        Ok(given)
    }

    /// Removes what a unit was given; what a container has mounted it keeps.
    pub fn take_back(&self, unit: &str) {
        if let Ok(dir) = self.of_unit(unit) {
            let _ = fs::remove_dir_all(dir);
        }
    }

    /// Removes what units were given that are not `known`.
    pub fn keep_only(&self, known: impl Fn(&str) -> bool) {
        let Some(entries) = self.dir.as_ref().ok().and_then(|dir| dir.read_dir().ok()) else { return };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(&known) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn write(dir: &Path, file: &Path, bytes: &[u8], owner: (u32, u32), mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = dir.join(".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = File::create_new(&new)?;
    opened.set_permissions(fs::Permissions::from_mode(0o600))?;
    opened.write_all(bytes)?;
    if owner != (0, 0) {
        fchown(&opened, Some(owner.0), Some(owner.1))?;
    }
    opened.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::unit::UnitText;
    use crate::unit::container::read_anywhere;

    fn secrets(lines: &str) -> Vec<Secret> {
        let text = UnitText::parse(&format!("[Container]\nImage=a\n{lines}")).unwrap();
        read_anywhere(&text, "a.container").unwrap().secrets
    }

    #[test]
    fn files_are_made_renewed_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = SecretFiles { dir: Ok(dir.path().join("m")) };
        let asked = secrets("Secret=db,mode=0400\nSecret=api,type=env,target=API\nSecret=db,target=/etc/pw");
        let bytes = |first: &str| [(7, first.into()), (8, b"key".to_vec()), (7, first.into())];
        let given = files.give("a.container", &asked, &bytes("one")).unwrap();
        assert_eq!(given.variables, [("API".to_owned(), "key".to_owned())]);
        assert_eq!(given.versions, "db@7 api@8 db@7 ");
        let file = dir.path().join("m/a.container/0-db");
        assert_eq!(given.binds[0], format!("{}:/run/secrets/db:ro", file.display()));
        assert!(given.binds[1].ends_with("a.container/2-db:/etc/pw:ro"), "{}", given.binds[1]);
        let held = File::open(&file).unwrap();
        assert_eq!(held.metadata().unwrap().permissions().mode() & 0o777, 0o400);
        files.give("a.container", &asked, &bytes("two")).unwrap();
        assert_eq!((fs::read(&file).unwrap(), io::read_to_string(held).unwrap()), (b"two".to_vec(), "one".to_owned()));
        files.keep_only(|unit| unit == "a.container");
        assert!(file.exists());
        files.keep_only(|_| false);
        assert!(!file.exists());
        files.take_back("a.container");
    }

    #[test]
    fn what_is_wrong_is_said_without_a_byte_of_it() {
        let nowhere = SecretFiles { dir: Err("nothing is in memory".to_owned()) };
        let said = |lines: &str, bytes: &[u8]| nowhere.give("a", &secrets(lines), &[(1, bytes.to_vec())]).err();
        assert_eq!(said("Secret=a", b"x").as_deref(), Some("nothing is in memory"));
        let binary = said("Secret=a,type=env", b"\xffsecret").unwrap();
        assert_eq!(binary, "Secret=a: type=env needs text, and it is none");
        assert_eq!(said("Secret=a,type=env", b"x"), None);
    }
}
