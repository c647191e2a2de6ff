//! Where backups lie: one of two kinds of places, behind the same few verbs.

use std::fmt;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::s3::S3;
use super::staged::Staged;
use super::{BackupError, Found, LOOKING, Listed, Name, check, staged};

/// A place for backups.
#[derive(Clone, Debug)]
pub enum Target {
    Folder(Folder),
    S3(S3),
}

/// How an S3-compatible store is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Terms {
    /// The store's URL; empty: Amazon's, of the region.
    pub endpoint: String,
    pub region: String,
    /// A file as Amazon's tools have it; `None`: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of the environment.
    pub credentials_file: Option<PathBuf>,
}

impl Target {
    /// A folder's absolute path, or `s3://BUCKET[/PREFIX]`.
    ///
    /// # Errors
    /// What is to be written instead.
    pub fn new(text: &str, terms: &S3Terms) -> Result<Self, String> {
        match text.strip_prefix("s3://") {
            Some(place) => S3::new(place, terms).map(Target::S3),
            None if text.starts_with('/') => Ok(Target::Folder(Folder(PathBuf::from(text)))),
            None => Err("write the absolute path of a folder, or s3://BUCKET/PREFIX".to_owned()),
        }
    }

    /// Where a copy is put together: in the folder itself, so that it can get its name in one step.
    pub(super) fn staging(&self, scratch: &Path) -> PathBuf {
        match self {
            Target::Folder(folder) => folder.0.clone(),
            Target::S3(_) => scratch.to_owned(),
        }
    }

    pub(super) async fn put(&self, name: &Name, staged: Staged) -> Result<(), BackupError> {
        match self {
            Target::Folder(folder) => folder.put(name, &staged),
            Target::S3(store) => store.put(name, staged.path()).await,
        }
    }

    /// The backups there, the oldest first.
    ///
    /// # Errors
    /// [`BackupError`] naming the place.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut found = match self {
            Target::Folder(folder) => folder.list()?,
            Target::S3(store) => store.list().await?,
        };
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Copies one into a file of this machine's, which need not be there.
    ///
    /// # Errors
    /// [`BackupError`] naming the place; what is in the file then is to be thrown away.
    pub async fn fetch(&self, name: &Name, into: &Path) -> Result<(), BackupError> {
        match self {
            Target::Folder(folder) => folder.copy(name, into),
            Target::S3(store) => store.fetch(name, into).await,
        }
    }

    /// Reads one from its beginning to its end and checks all of it; `scratch` is where it may be put meanwhile.
    ///
    /// # Errors
    /// [`BackupError`]: what is wrong with it.
    pub async fn verify(&self, name: &Name, scratch: &Path) -> Result<Found, BackupError> {
        match self {
            Target::Folder(folder) if !folder.file(name).exists() => Err(folder.absent(name)),
            Target::Folder(folder) => check(folder.file(name)).await,
            Target::S3(store) => {
                let staged = staged::within(scratch, LOOKING)?;
                store.fetch(name, staged.path()).await?;
                check(staged.path().to_owned()).await
            }
        }
    }

    pub(super) async fn remove(&self, name: &Name) -> Result<(), BackupError> {
        match self {
            Target::Folder(folder) => folder.remove(name),
            Target::S3(store) => store.remove(name).await,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Folder(folder) => folder.0.display().fmt(f),
            Target::S3(store) => store.fmt(f),
        }
    }
}
