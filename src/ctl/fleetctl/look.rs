//! Looking at units: their text, what systemd says of them, what they print.

use super::client::{ApiError, escape};
use super::find::{is_global, is_pattern, text_of};
use super::{Context, Failed, find, remote, say, why};
use crate::api::fleet::model::{Status, UnitJson};
use crate::unit::name::from_argument;

/// `cat`
pub async fn cat(context: &Context) -> Result<u8, Failed> {
    let [word] = context.words.as_slice() else {
        return Err(Failed::new("One unit file must be provided"));
    };
    let name = from_argument(word);
    let found = context.client.unit(&name).await;
    let found = found.map_err(|error| Failed::new(format!("Error retrieving Unit {name}: {error}")))?;
    let unit = found.ok_or_else(|| Failed::new(format!("Unit {name} not found")))?;
    say::out(&text_of(&unit).to_string());
    Ok(0)
}

/// The units that a word means; a name that nobody has is an error, a pattern that nothing matches too.
async fn meant(context: &Context, word: &str, retrieving: impl Fn(&str) -> String) -> Result<Vec<UnitJson>, Failed> {
    let name = from_argument(word);
    let retrieving = |error: ApiError| Failed::new(format!("{}: {error}", retrieving(&name)));
    if let Some(unit) = context.client.unit(&name).await.map_err(retrieving)? {
        return Ok(vec![unit]);
    }
    let found = if is_pattern(word) { find::matching(context, word).await? } else { Vec::new() };
    if found.is_empty() { Err(Failed::new(format!("Unit {name} does not exist."))) } else { Ok(found) }
}

/// `status`
pub async fn status(context: &Context) -> Result<u8, Failed> {
    let mut first = true;
    for word in &context.words {
        for unit in meant(context, word, |_| "Error retrieving unit".to_owned()).await? {
            if !is_up(context, &unit).await {
                say_why(context, &unit).await;
                return Err(Failed::new(format!("Unit {} does not appear to be loaded.", unit.name)));
            }
            if !first {
                say::out("\n");
            }
            first = false;
            let code = status_of(context, &unit).await?;
            if code != 0 {
                return Ok(code);
            }
        }
    }
    Ok(0)
}

async fn status_of(context: &Context, unit: &UnitJson) -> Result<u8, Failed> {
    match context.client.get::<Status>(&format!("status/{}", escape(&unit.name))).await {
        Ok(status) => {
            say::out(&status.text);
            Ok(u8::try_from(status.exit_code).unwrap_or(1))
        }
        Err(error) if error.is_unknown_path() => {
            remote::on_machine(context, &unit.machine_id, &["systemctl", "status", "-l", &unit.name]).await
        }
        Err(error) => {
            say_why(context, unit).await;
            Err(Failed::new(format!("Error retrieving status of unit {}: {error}", unit.name)))
        }
    }
}

/// Whether a unit is where it can be looked at: on a machine that did not refuse its text. Of global ones machines tell.
async fn is_up(context: &Context, unit: &UnitJson) -> bool {
    if is_global(unit) {
        return true;
    }
    if unit.current_state == "inactive" {
        return false;
    }
    let state = context.client.state(&unit.name).await.ok().flatten();
    state.is_none_or(|state| state.load != "error" || state.problem.is_empty())
}

/// Tells what `start` would tell of a unit that does not run.
async fn say_why(context: &Context, unit: &UnitJson) {
    if let Some(reasons) = why::reasons(context, unit).await {
        say::warn(&reasons);
    }
}

/// `journal`
pub async fn journal(context: &Context) -> Result<u8, Failed> {
    let [word] = context.words.as_slice() else {
        return Err(Failed::new("One unit file must be provided."));
    };
    let lines: usize = context.parsed.number("lines")?.unwrap_or(10);
    let follow = context.parsed.truth("follow")?;
    let output = context.parsed.value("output").unwrap_or("short");
    let units = meant(context, word, |name| format!("Error retrieving unit {name}")).await?;
    if follow && units.len() > 1 {
        return Err(Failed::usage(format!("{word} means {} units; --follow takes one", units.len())));
    }
    let several = units.len() > 1;
    for (index, unit) in units.iter().enumerate() {
        if !is_up(context, unit).await {
            say_why(context, unit).await;
            return Err(Failed::new(format!("Unit {} does not appear to be running.", unit.name)));
        }
        if several {
            say::out(&format!("{}--- {} ---\n", if index == 0 { "" } else { "\n" }, unit.name));
        }
        let query = format!("lines={lines}&follow={follow}&output={}", escape(output));
        let path = format!("journal/{}?{query}", escape(&unit.name));
        match context.client.open(&path).await {
            Ok(mut journal) => {
                let broken = |error| Failed::new(format!("Error reading the journal of unit {}: {error}", unit.name));
                while let Some(chunk) = journal.next().await.map_err(broken)? {
                    if !say::raw(&chunk) {
                        return Ok(0);
                    }
                }
            }
            Err(error) if error.is_unknown_path() => {
                let code = old_journal(context, unit, lines, output, follow).await?;
                if code != 0 {
                    return Ok(code);
                }
            }
            Err(error) => {
                say_why(context, unit).await;
                return Err(Failed::new(format!("Error retrieving the journal of unit {}: {error}", unit.name)));
            }
        }
    }
    Ok(0)
}

/// By ssh, where the server is a fleetd of old.
async fn old_journal(
    context: &Context,
    unit: &UnitJson,
    lines: usize,
    output: &str,
    follow: bool,
) -> Result<u8, Failed> {
    if is_global(unit) {
        return Err(Failed::new(format!("Unable to retrieve journal of global unit {}.", unit.name)));
    }
    let lines = lines.to_string();
    let mut command = vec!["journalctl", "--unit", &unit.name, "--no-pager", "-n", &lines, "--output", output];
    if context.parsed.truth("sudo")? {
        command.insert(0, "sudo");
    }
    if follow {
        command.push("-f");
    }
    remote::on_machine(context, &unit.machine_id, &command).await
}
