//! Bringing units into the cluster: from a file, or as an instance of a template that is there or lies beside it.
//!
//! For each word in order, stopping at the first mistake: a unit of that name that is there already stays (with a warning
//! where the file here differs, or replaced where that is asked for); else the file; else the template in the cluster;
//! else the template's file in the same folder.

use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _};

use super::client::IN_FLIGHT;
use super::find::{is_global, text_of};
use super::wait::{Goal, Waiter};
use super::{Context, Failed, say};
use crate::api::fleet::model::{OptionJson, UnitJson};
use crate::unit::name::{self, UnitName, from_argument};
use crate::unit::{Requirements, UnitText, requirements};

/// What is to be said about a word, in the order of the words: to standard error or (`true`) to standard output.
type Notes = Vec<(bool, String)>;

/// Creates the units of all words, and waits until those that are new are known as inactive. Those that were replaced where
/// they are, in the state that they are to be in anyway, are returned: the caller waits for them.
pub async fn create(context: &Context, command: &str) -> Result<Vec<String>, Failed> {
    let (units, mut mistake) = prepare(context, command).await;
    let (mut created, mut replaced) = (Vec::new(), Vec::new());
    let writes = units.iter().map(async |unit| {
        let name = &unit.name;
        context.client.put(unit).await.map_err(|error| format!("failed creating unit {name}: {error}"))?;
        Ok::<_, String>(unit)
    });
    let mut writes = stream::iter(writes).buffered(IN_FLIGHT);
    while let Some(written) = writes.next().await {
        match written {
            Ok(unit) if unit.desired_state.is_empty() => created.push(unit.name.clone()),
            Ok(unit) if is_global(unit) => {
                say::out(&format!("Triggered global unit {} {command}\n", unit.name));
            }
            Ok(unit) => replaced.push(unit.name.clone()),
            Err(error) => {
                mistake = Some(error);
                break;
            }
        }
    }
    if !created.is_empty() {
        let mut waiter = Waiter::new(context, &created)?;
        if let Err(error) = waiter.until(Goal::Inactive, &created).await {
            say::warn(&format!("Error waiting on unit creation: {error}"));
            mistake.get_or_insert("One or more errors creating units".to_owned());
        }
    }
    mistake.map_or(Ok(replaced), |error| Err(Failed::new(format!("Error creating units: {error}"))))
}

/// The units that are to be written, up to the first word that is a mistake.
async fn prepare(context: &Context, command: &str) -> (Vec<UnitJson>, Option<String>) {
    let looks = context.words.iter().map(async |word| {
        let mut notes = Notes::new();
        let outcome = prepare_one(context, command, word, &mut notes).await;
        (notes, outcome)
    });
    let mut looks = stream::iter(looks).buffered(IN_FLIGHT);
    let mut units: Vec<UnitJson> = Vec::new();
    while let Some((notes, outcome)) = looks.next().await {
        for (plain, text) in notes {
            if plain {
                say::out(&text);
            } else {
                say::warn(&text);
            }
        }
        match outcome {
            Ok(Some(unit)) if units.iter().all(|other| other.name != unit.name) => units.push(unit),
            Ok(_) => {}
            Err(error) => return (units, Some(error)),
        }
    }
    (units, None)
}

/// The unit of a word, if it is to be written.
async fn prepare_one(
    context: &Context,
    command: &str,
    word: &str,
    notes: &mut Notes,
) -> Result<Option<UnitJson>, String> {
    let name = from_argument(word);
    let file = file_of(word, &name);
    let retrieving = |error| format!("error retrieving Unit({name}) from Registry: {error}");
    let existing = context.client.unit(&name).await.map_err(retrieving)?;
    let text = match &existing {
        Some(unit) if !is_to_be_written(context, command, &file, unit, notes)? => return Ok(None),
        _ => text_for(context, &file, &name, notes).await?,
    };
    name::validate(&name).map_err(|error| error.to_string())?;
    Requirements::as_written(&text).validate().map_err(|error| error.to_string())?;
    for option in requirements::unknown(&text) {
        notes.push((false, format!("WARNING: Unit {name}: unrecognized requirement in [X-Fleet] section: {option:?}")));
    }
    let options = text.options().iter().map(OptionJson::from).collect();
    // With its desired state a unit is replaced where it is; without, it stops, and may go elsewhere.
    let desired_state = match (command, existing.as_ref().map(|unit| unit.desired_state.as_str())) {
        ("start", Some("loaded" | "launched")) => "launched",
        ("load", Some("loaded")) => "loaded",
        _ => "",
    };
    let desired_state = desired_state.to_owned();
    Ok(Some(UnitJson { name, options, desired_state, ..UnitJson::default() }))
}

/// The file that a word means: in its folder, under the unit's name.
fn file_of(word: &str, name: &str) -> PathBuf {
    Path::new(word).parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// Whether a unit that is there is to be replaced by the file. Says where the two differ.
fn is_to_be_written(
    context: &Context,
    command: &str,
    file: &Path,
    unit: &UnitJson,
    notes: &mut Notes,
) -> Result<bool, String> {
    let replace = context.parsed.truth("replace").map_err(|error| error.to_string())?;
    let Some((kind, local)) = local_text(file, &unit.name) else {
        return if replace {
            Err(format!("error Unit {} does not seem to be a template unit", file.display()))
        } else {
            Ok(false)
        };
    };
    let local = match local {
        Ok(local) => local,
        Err(error) if replace => return Err(error),
        Err(_) => return Ok(false),
    };
    if local.hash() == text_of(unit).hash() {
        if replace {
            notes.push((true, format!("Found same Unit({}) in Registry, nothing to do\n", unit.name)));
        }
        return Ok(false);
    }
    if !replace {
        notes.push((
            false,
            format!(
                "WARNING: Unit {} in registry differs from local {kind} {}. Add --replace to override.",
                unit.name,
                file.display()
            ),
        ));
        return Ok(false);
    }
    let may = match command {
        "submit" => unit.desired_state == "inactive",
        "load" => unit.desired_state != "launched",
        _ => true,
    };
    if !may {
        notes.push((
            false,
            format!(
                "Warning: can not replace Unit({}) in state '{}', use the appropriate command",
                unit.name, unit.desired_state
            ),
        ));
    }
    Ok(may)
}

/// What lies here for a unit: its own file, or its template's in the same folder.
fn local_text(file: &Path, name: &str) -> Option<(&'static str, Result<UnitText, String>)> {
    if file.exists() {
        return Some(("unit file", read(file)));
    }
    let template = file.with_file_name(UnitName::new(name).template()?);
    template.exists().then(|| ("template unit file", read(&template)))
}

/// The text for a unit that is to be written.
async fn text_for(context: &Context, file: &Path, name: &str, notes: &mut Notes) -> Result<UnitText, String> {
    if file.exists() {
        return read(file).map_err(|error| format!("failed getting Unit({}) from file: {error}", file.display()));
    }
    let nowhere = || format!("unable to find Unit({name}) in Registry or on filesystem");
    let template = UnitName::new(name).template().ok_or_else(nowhere)?;
    let failed = |error: String| format!("failed getting Unit({}) from template: {error}", file.display());
    let retrieving = |error| failed(format!("error retrieving template Unit({template}) from Registry: {error}"));
    if let Some(unit) = context.client.unit(&template).await.map_err(retrieving)? {
        let text = text_of(&unit);
        let beside = file.with_file_name(&template);
        if beside.exists() && read(&beside).is_ok_and(|local| local.hash() != text.hash()) {
            notes.push((false, format!(
                "WARNING: Unit {template} in registry differs from local template unit file {}. Add --replace to override.",
                file.display()
            )));
        }
        return Ok(text);
    }
    let beside = file.with_file_name(&template);
    if !beside.exists() {
        return Err(failed(format!("unable to find template Unit({template}) in Registry or on filesystem")));
    }
    read(&beside).map_err(|error| failed(format!("unable to load template Unit({template}) from file: {error}")))
}

fn read(file: &Path) -> Result<UnitText, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    UnitText::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_lead_to_files() {
        let cases = [
            ("hello", "hello.service"),
            ("u/hello", "u/hello.service"),
            ("./web@1.service", "./web@1.service"),
            ("/etc/units/x.timer", "/etc/units/x.timer"),
            ("x.target", "x.target.service"),
        ];
        for (word, expected) in cases {
            assert_eq!(file_of(word, &from_argument(word)), Path::new(expected), "{word}");
        }
    }

    #[test]
    fn a_link_to_a_template_is_the_unit_and_else_the_template_beside_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("web@.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
        std::os::unix::fs::symlink("web@.service", at("web@1.service")).unwrap();
        let (kind, text) = local_text(&at("web@1.service"), "web@1.service").unwrap();
        assert_eq!((kind, text.unwrap().options().len()), ("unit file", 1));
        let (kind, _) = local_text(&at("web@2.service"), "web@2.service").unwrap();
        assert_eq!(kind, "template unit file");
        assert!(local_text(&at("other.service"), "other.service").is_none());
        std::fs::write(at("bad.service"), "[Service\n").unwrap();
        let (_, text) = local_text(&at("bad.service"), "bad.service").unwrap();
        assert!(text.unwrap_err().contains("bad.service: unable to find end of section: line 1"));
    }
}
