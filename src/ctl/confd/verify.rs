//! `confd check` and `confd validate`: what is wrong with resources and templates, before any of it is used.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::files::keys_of;
use crate::confd::View;
use crate::jobs::templates::{Loaded, Machine, Target, outputs, parsed};

/// Parses every resource and template. The last thing that is wrong is the answer; each is told when it is found.
pub(super) fn check(loaded: &Loaded) -> Result<(), String> {
    loaded.tell();
    let mut last = loaded.broken.last().map(|broken| broken.reason.clone());
    for target in &loaded.targets {
        match parsed(target) {
            Ok(()) => println!("{}: ok", target.file.display()),
            Err(error) => {
                tracing::error!("{}: {error}", target.file.display());
                last = Some(error.to_string());
            }
        }
    }
    last.map_or(Ok(()), Err)
}

/// Renders every template with the keys of a file, and writes nothing.
pub(super) async fn validate(loaded: &Loaded, mock: Option<PathBuf>) -> Result<(), String> {
    check(loaded)?;
    let snapshot = match mock {
        Some(file) => keys_of(&[file], "*")?,
        None => return Err("validate needs keys: give -mock FILE, of YAML or JSON".to_owned()),
    };
    let mut last = None;
    for target in &loaded.targets {
        let view = View::new(&target.selection, &snapshot.keys);
        match render(target.clone(), view).await {
            Ok(files) => {
                for (dest, bytes) in files {
                    println!("{}: {dest}: {bytes} bytes", target.file.display());
                }
            }
            Err(error) => {
                tracing::error!("{}: {error}", target.file.display());
                last = Some(error);
            }
        }
    }
    last.map_or(Ok(()), Err)
}

/// The files and their sizes.
async fn render(target: Arc<Target>, view: View) -> Result<Vec<(String, usize)>, String> {
    let machine = Machine { handle: Handle::current(), templates: target.templates.clone() };
    let work = move || outputs(&target, &view, &machine);
    let rendered = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    let rendered = rendered.map_err(|error| error.to_string())?;
    Ok(rendered.into_iter().map(|(dest, content)| (dest, content.len())).collect())
}
