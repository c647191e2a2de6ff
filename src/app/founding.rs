//! What the first start was told of the cluster. As with etcd, later starts go by that and not by their flags.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::settings::fragment::{Entry, Fragment};
use crate::disk;

/// By which a member and its cluster are known for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Founding {
    pub name: String,
    pub initial_cluster: String,
    pub cluster_token: String,
}

/// Why the first members cannot be those that were found, now or by an earlier start.
#[derive(Debug, thiserror::Error)]
pub enum FoundersError {
    #[error(
        "{by}: data_dir holds a member that was not founded by it; take the setting out, or name another data_dir for a new member"
    )]
    FoundedOtherwise { by: String },
    #[error("{0}")]
    Kept(String),
}

/// Where it is kept.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("founding.json")
}

/// Whether a member's data is in the folder.
pub fn is_member(data_dir: &Path) -> bool {
    data_dir.join("store").join("identity").exists()
}

/// Whether etcd itself has kept its data in the folder.
pub fn is_of_etcd(data_dir: &Path) -> bool {
    data_dir.join("member").join("wal").exists() || data_dir.join("member").join("snap").exists()
}

impl Founding {
    /// What is kept in the folder, if something is.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, String> {
        let file = file(data_dir);
        let failed = |error: &dyn std::error::Error| format!("{}: {error}", file.display());
        match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| failed(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Keeps it for later starts.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        disk::replace(&file(data_dir), &text)
    }

    fn entries(&self) -> [(&'static str, &str); 3] {
        [("name", &self.name), ("initial_cluster", &self.initial_cluster), ("cluster_token", &self.cluster_token)]
    }
}

/// Lays what the first start was told over the settings; gives back what is overruled by it, a line each.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn recall(data_dir: &Path, settings: &mut Fragment) -> Result<Vec<String>, String> {
    let Some(kept) = Founding::read(data_dir)? else { return Ok(Vec::new()) };
    let origin = file(data_dir).display().to_string();
    let mut overruled = Vec::new();
    for (key, value) in kept.entries().into_iter().filter(|(_, value)| !value.is_empty()) {
        let entry = Entry { value: value.to_owned(), origin: origin.clone() };
        let given = settings.entries.insert(key, entry);
        if let Some(given) = given.filter(|given| given.value != value && given.origin != "default") {
            overruled.push(format!("{} is not used: this member was made with {key} `{value}`", given.origin));
        }
    }
    // The members are known: nobody is asked for them again.
    for key in ["discovery", "discovery_srv", "peer.advertise"] {
        settings.entries.insert(key, Entry { value: String::new(), origin: origin.clone() });
    }
    Ok(overruled)
}

/// Gives the settings the first members: those that an earlier start found, else what `found` completes with, which is kept. `by`: the
/// setting that has them found; `is_member`: there is data.
///
/// # Errors
/// [`FoundersError`], and those of `found`.
pub async fn settle<E: From<FoundersError>>(
    settings: &mut Settings,
    by: String,
    cluster_token: &str,
    is_member: bool,
    found: impl Future<Output = Result<String, E>>,
) -> Result<(), E> {
    let kept = Founding::read(&settings.data_dir).map_err(FoundersError::Kept)?;
    let founding = match kept {
        Some(kept) if is_member || (kept.cluster_token == cluster_token && kept.name == settings.name) => kept,
        _ if is_member => return Err(FoundersError::FoundedOtherwise { by }.into()),
        _ => {
            let (name, initial_cluster) = (settings.name.clone(), found.await?);
            let founding = Founding { name, initial_cluster, cluster_token: cluster_token.to_owned() };
            let failed = |error| FoundersError::Kept(format!("{}: {error}", settings.data_dir.display()));
            founding.write(&settings.data_dir).map_err(failed)?;
            founding
        }
    };
    let taken = settings.take_founders(&founding.initial_cluster, &founding.cluster_token);
    let file = file(&settings.data_dir);
    taken.map_err(|why| FoundersError::Kept(format!("{}: {why}", file.display())).into())
}

/// Keeps the settings for later starts, if none are kept yet.
///
/// # Errors
/// A file that cannot be written.
pub fn keep(data_dir: &Path, settings: &Fragment) -> io::Result<()> {
    if file(data_dir).exists() {
        return Ok(());
    }
    let value = |key: &str| settings.entries.get(key).map(|entry| entry.value.clone()).unwrap_or_default();
    let founding = Founding {
        name: value("name"),
        initial_cluster: value("initial_cluster"),
        cluster_token: value("cluster_token"),
    };
    founding.write(data_dir)
}
