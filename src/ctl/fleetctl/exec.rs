//! Commands on machines and in units by way of the nodes' API.

use super::client::{ApiError, Client, escape};
use super::{Context, Failed};
use crate::ctl::terminal;
use crate::fleet::session::Command;

/// A shell or a command on a machine for `ssh`; `None`: nodes run none while users are not asked for, or what is asked is a
/// fleetd of old.
pub async fn on_machine(context: &Context, machine: &str, words: &[String]) -> Result<Option<u8>, Failed> {
    let command = match words {
        [] => Command { words: Vec::new(), stdin: true, terminal: terminal::own() },
        words => Command { words: words.to_vec(), stdin: true, terminal: None },
    };
    match context.client.session(&format!("exec?machine={machine}&roles=true"), &command).await {
        Ok(code) => Ok(Some(code)),
        Err(error) if error.is_unknown_path() || error.is_conflict() => Ok(None),
        Err(error) => Err(Failed::new(format!("Error running a command on machine {machine}: {error}"))),
    }
}

/// A command in a unit.
pub async fn in_unit(client: &Client, unit: &str, machine: Option<&str>, command: &Command) -> Result<u8, ApiError> {
    let machine = machine.map(|id| format!("?machine={id}")).unwrap_or_default();
    client.session(&format!("exec/{}{machine}", escape(unit)), command).await
}
