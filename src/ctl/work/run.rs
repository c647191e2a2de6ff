//! `node ctl run`: a container's unit out of a command line, written and started.

use std::fmt::Write as _;

use super::client;
use crate::ctl::args::{Flag, Parsed};
use crate::ctl::{fleetctl, node_ctl};
use crate::unit::{UnitText, container, name};

pub const HELP: &str = "\
node ctl run: run a container image on some machine of the cluster.

  $ node ctl run --publish 8080:80 nginx:1.27              nginx.container; waits until it runs
  $ node ctl run --name web --replicas 3 -e COLOR=blue web:2
                                                           web@.container, and of it web@1, web@2 and web@3
  $ node ctl run --name once --restart no alpine -- sh -c 'date; env'
  $ node ctl run --dry-run --memory 256m web:2             shows the unit; nothing is done

What is written is a unit like any other: `fleetctl list-units`, `stop`, `destroy`, `node ctl logs` and `apply` take it from
there. Two that publish one port of the host never share a machine. Specifiers in the values of flags are those of units
(%i is an instance's name, %% a percent sign); a command's words are taken as they are.

  --name NAME             the unit [the image's]
  --replicas N            so many instances of a template [one unit]
  --publish, -p PORT      [ADDRESS:][HOST:]CONTAINER[/udp]; once for each
  --env, -e NAME=VALUE    once for each; --env-file FILE of the machine
  --volume, -v VOLUME     [SOURCE:]TARGET[:OPTIONS]; once for each
  --network NETWORK       of the engine
  --memory, -m SIZE       such as 256m
  --entrypoint PROGRAM    in the place of the image's
  --hostname NAME, --label NAME=VALUE, --pull missing|always|newer|never, --health-cmd LINE
  --restart WHEN          no, on-failure, always, … [always]
  --metadata KEY=VALUE    only on machines with it; once for each
  --dry-run               shows the unit's text
  --no-block              does not wait until it runs
  --endpoint URL          as for the other commands
";

const fn value(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, value: true, variable: None, help }
}

const fn truth(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, value: false, variable: None, help }
}

pub const FLAGS: &[Flag] = &[
    value(&["name"], "the unit"),
    value(&["replicas"], "instances of a template"),
    value(&["publish", "p"], "a port"),
    value(&["env", "e"], "a variable"),
    value(&["env-file"], "variables in a file of the machine"),
    value(&["volume", "v"], "a volume"),
    value(&["network"], "of the engine"),
    value(&["memory", "m"], "at most"),
    value(&["entrypoint"], "in the place of the image's"),
    value(&["hostname"], "its host name"),
    value(&["label"], "for the engine"),
    value(&["pull"], "when the registry is asked"),
    value(&["health-cmd"], "how its health is checked"),
    value(&["restart"], "when it is started again"),
    value(&["metadata"], "of the machine"),
    truth(&["dry-run"], "only show the unit"),
    truth(&["no-block"], "do not wait"),
];

/// Keys of `[Container]` whose values are taken as they are given, by their flags.
const KEYS: [(&str, &str); 9] = [
    ("env-file", "EnvironmentFile"),
    ("publish", "PublishPort"),
    ("volume", "Volume"),
    ("network", "Network"),
    ("memory", "Memory"),
    ("entrypoint", "Entrypoint"),
    ("hostname", "HostName"),
    ("pull", "Pull"),
    ("health-cmd", "HealthCmd"),
];

/// Writes units and waits until they run: 0; 1 where one does not.
pub async fn run(parsed: &Parsed, command: &[String]) -> anyhow::Result<u8> {
    let wanted = match Wanted::of(parsed, command) {
        Ok(wanted) => wanted,
        Err(what) => return Ok(node_ctl::misunderstood(&format!("run: {what}"))),
    };
    if parsed.truth("dry-run")? {
        eprintln!("# {}", wanted.units().join(" "));
        print!("{}", wanted.text);
        return Ok(0);
    }
    let block = !parsed.truth("no-block")?;
    let (units, launched) = (wanted.units(), wanted.launched());
    let done = fleetctl::launch(client(parsed).await?, &units, &launched, &wanted.text, block).await;
    done.map_err(anyhow::Error::msg)?;
    Ok(0)
}

/// What is to be written.
struct Wanted {
    name: String,
    /// `None`: one unit, and no template.
    replicas: Option<u32>,
    text: UnitText,
}

impl Wanted {
    fn of(parsed: &Parsed, command: &[String]) -> Result<Self, String> {
        let [_, image] = parsed.words.as_slice() else { return Err("it takes an image".to_owned()) };
        let replicas: Option<u32> = parsed.number("replicas").map_err(|error| error.to_string())?;
        if replicas == Some(0) {
            return Err("flag `--replicas`: at least one".to_owned());
        }
        let name = parsed.value("name").map_or_else(|| name_of(image), str::to_owned);
        let name = name.strip_suffix(".container").unwrap_or(&name).to_owned();
        let text = text(image, command, parsed)?;
        let text = UnitText::parse(&text).map_err(|error| error.to_string())?;
        let wanted = Self { name, replicas: replicas.filter(|count| *count > 1), text };
        if wanted.name.contains('@') {
            return Err(format!("`{}`: instances are made by --replicas", wanted.name));
        }
        for unit in wanted.units() {
            name::validate(&unit).map_err(|error| format!("--name: {error}"))?;
            container::check(&wanted.text, &unit).map_err(|error| error.to_string())?;
        }
        Ok(wanted)
    }

    /// All units, the template first.
    fn units(&self) -> Vec<String> {
        let template = self.replicas.map(|_| format!("{}@.container", self.name));
        template.into_iter().chain(self.launched()).collect()
    }

    /// Those that are to run.
    fn launched(&self) -> Vec<String> {
        match self.replicas {
            None => vec![format!("{}.container", self.name)],
            Some(count) => (1..=count).map(|number| format!("{}@{number}.container", self.name)).collect(),
        }
    }
}

/// The last part of an image's name, without its tag.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last).to_owned()
}

fn text(image: &str, command: &[String], parsed: &Parsed) -> Result<String, String> {
    let mut text = format!("[Container]\nImage={image}\n");
    let mut line = |key: &str, value: &str| match value.contains(['\n', '\r', '\0']) {
        true => Err(format!("{key}: a value in a unit is one line")),
        // A string takes whatever is written to it.
        false => writeln!(text, "{key}={value}").map_err(|error| error.to_string()),
    };
    if !command.is_empty() {
        let words: Vec<String> = command.iter().map(|word| quoted(&literal(word))).collect();
        line("Exec", &words.join(" "))?;
    }
    for (flag, key) in [("env", "Environment"), ("label", "Label")] {
        for given in parsed.values(flag) {
            if !given.contains('=') {
                return Err(format!("flag `--{flag}`: `{given}` is not NAME=VALUE"));
            }
            line(key, &quoted(given))?;
        }
    }
    for (flag, key) in KEYS {
        parsed.values(flag).try_for_each(|given| line(key, given))?;
    }
    line("\n[Service]\nRestart", parsed.value("restart").unwrap_or("always"))?;
    let mut heading = "\n[X-Fleet]\n";
    for given in parsed.values("metadata") {
        line(&format!("{heading}MachineMetadata"), &quoted(given))?;
        heading = "";
    }
    Ok(text)
}

/// What a unit takes for these very characters, no specifier and no variable.
fn literal(word: &str) -> String {
    word.replace('%', "%%").replace('$', "$$").replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// In quotes, where it would be taken for several words or for none.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%$\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ctl::args;
    use crate::unit::container::read_anywhere;

    fn wanted(line: &[&str], command: &[&str]) -> Result<Wanted, String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let parsed = args::parse(&owned(&[&["run"], line].concat()), &[FLAGS], &|_| None).unwrap();
        Wanted::of(&parsed, &owned(command))
    }

    #[test]
    fn command_lines_become_units() {
        let line = [
            "--publish",
            "8080:80",
            "-p",
            "53:53/udp",
            "-e",
            "A=b c",
            "-e",
            "Q=\"x\"",
            "-e",
            "I=%i",
            "--memory",
            "256m",
            "--metadata",
            "disk=ssd",
            "-v",
            "data:/data",
            "--restart",
            "on-failure",
            "registry:5000/team/web:2",
        ];
        let command = ["sh", "-c", "echo \"$HOME\" '%d' \\ \n", ""];
        let made = wanted(&line, &command).unwrap();
        assert_eq!(made.units(), ["web.container"]);
        let shown = made.text.to_string();
        for expected in
            ["Image=registry:5000/team/web:2\n", "PublishPort=8080:80\n", "Restart=on-failure\n", "Environment=I=%i\n"]
        {
            assert!(shown.contains(expected), "{expected}\n{shown}");
        }
        assert!(shown.contains("[X-Fleet]\nMachineMetadata=disk=ssd\n"), "{shown}");
        let read = read_anywhere(&made.text, "web.container").unwrap();
        assert_eq!(read.exec, command);
        let variables: Vec<String> = read.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(variables[..2], ["A=b c", "Q=\"x\""]);
        assert_eq!((read.memory, read.ports.len(), read.volumes.len()), (Some(256 << 20), 2, 1));

        let made = wanted(&["--replicas", "2", "--name", "web.container", "x"], &[]).unwrap();
        assert_eq!(made.units(), ["web@.container", "web@1.container", "web@2.container"]);
        assert_eq!(made.text.to_string(), "[Container]\nImage=x\n\n[Service]\nRestart=always\n");
    }

    #[test]
    fn nonsense_is_named() {
        let cases: [(&[&str], &str); 9] = [
            (&[], "an image"),
            (&["x", "--replicas", "0"], "at least one"),
            (&["x", "--replicas", "many"], "not a number"),
            (&["x", "--publish", "http"], "PublishPort"),
            (&["x", "--memory", "lots"], "Memory"),
            (&["x", "--env", "A"], "NAME=VALUE"),
            (&["x", "--env", "A=1\nExecStartPre=/bin/rm"], "one line"),
            (&["x", "--name", "a b"], "--name"),
            (&["x", "--name", "a@1"], "--replicas"),
        ];
        for (line, said) in cases {
            let error = wanted(line, &[]).err().unwrap();
            assert!(error.contains(said), "{line:?}: {error}");
        }
    }
}
