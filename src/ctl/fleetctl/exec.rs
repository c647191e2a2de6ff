//! Commands and shells on machines by way of the nodes' API, for `ssh`.

use super::{Context, Failed};
use crate::ctl::terminal;
use crate::fleet::session::Command;

/// A shell or a command on a machine; `None`: nodes run none while users are not asked for, or what is asked is a fleetd of old.
pub async fn on_machine(context: &Context, machine: &str, words: &[String]) -> Result<Option<u8>, Failed> {
    let terminal = if words.is_empty() { terminal::own() } else { None };
    let command = Command { words: words.to_vec(), stdin: true, terminal };
    match context.client.session(&format!("exec?machine={machine}&roles=true"), &command).await {
        Ok(code) => Ok(Some(code)),
        Err(error) if error.is_unknown_path() || error.is_conflict() => Ok(None),
        Err(error) => Err(Failed::new(format!("Error running a command on machine {machine}: {error}"))),
    }
}
