//! What the first start was told of the cluster. As with etcd, later starts go by that and not by their flags.

use std::io;
use std::path::{Path, PathBuf};

use crate::app::settings::fragment::{Entry, Fragment};

/// The settings that are kept, by which a member and its cluster are known for good.
const KEPT: [&str; 3] = ["name", "initial_cluster", "cluster_token"];

fn file(data_dir: &Path) -> PathBuf {
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

/// Lays what the first start was told over the settings; gives back what is overruled by it, a line each.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn recall(data_dir: &Path, settings: &mut Fragment) -> Result<Vec<String>, String> {
    let file = file(data_dir);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let kept: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut overruled = Vec::new();
    for key in KEPT {
        let Some(value) = kept[key].as_str() else { continue };
        let entry = Entry { value: value.to_owned(), origin: file.display().to_string() };
        let given = settings.entries.insert(key, entry);
        if let Some(given) = given.filter(|given| given.value != value && given.origin != "default") {
            overruled.push(format!("{} is not used: this member was made with {key} `{value}`", given.origin));
        }
    }
    Ok(overruled)
}

/// Keeps the settings for later starts, if none are kept yet.
///
/// # Errors
/// A file that cannot be written.
pub fn keep(data_dir: &Path, settings: &Fragment) -> io::Result<()> {
    let file = file(data_dir);
    if file.exists() {
        return Ok(());
    }
    let kept: serde_json::Map<String, serde_json::Value> = KEPT
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), settings.entries.get(key)?.value.as_str().into())))
        .collect();
    let staged = data_dir.join("founding.json.new");
    let mut text = serde_json::Value::from(kept).to_string();
    text.push('\n');
    std::fs::write(&staged, text)?;
    std::fs::rename(&staged, &file)
}
