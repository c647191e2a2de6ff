//! The face `node cloudinit`: reads a user-data, makes the plan, and shows it or carries it out.

mod facts;
mod host;
mod keys;
mod options;
mod tool;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use self::host::{Host, Outcome};
use self::options::{Asked, Options};
use super::settings::fragment::{self, Entry};
use super::settings::{self, keys as known_settings};
use crate::base::limits::CLOUD_CONFIG_BYTES_MAX;
use crate::cloudinit::{self, CloudConfig, Facts, Kind, NodeSetting, Problem, Severity, Step};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// `node cloudinit`.
pub fn cloudinit(arguments: &[String]) -> u8 {
    let options = match options::read(arguments) {
        Ok(Asked::Help) => {
            print!("{}", options::HELP);
            return 0;
        }
        Ok(Asked::Run(options)) => options,
        Err(mistake) => {
            eprintln!("node cloudinit: {mistake}\nSee `node cloudinit --help`.");
            return EXIT_USAGE;
        }
    };
    run(&options).unwrap_or_else(|error| {
        eprintln!("node cloudinit: {error:#}");
        EXIT_FAILED
    })
}

fn run(options: &Options) -> anyhow::Result<u8> {
    let facts = facts::gather(options)?;
    let told = match read(&options.file) {
        Ok(text) => understand(&cloudinit::substitute(&text, &facts.addresses), &facts, &options.root),
        Err(reason) => Told::broken(Problem::error(1, reason)),
    };
    for problem in &told.problems {
        match options.validate {
            true => println!("{problem}"),
            false => eprintln!("{}: {problem}", options.file.display()),
        }
    }
    if options.validate {
        return Ok(u8::from(!told.problems.is_empty()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(carry_out(&told, options))?;
    let failed = told.problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(if failed && !options.ignore_failure { EXIT_FAILED } else { 0 })
}

/// The user-data as text, within the limit and out of gzip.
fn read(file: &Path) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > CLOUD_CONFIG_BYTES_MAX {
        return Err(format!("larger than {} MiB", CLOUD_CONFIG_BYTES_MAX >> 20));
    }
    cloudinit::unpack(&bytes)
}

/// What a user-data asks for.
#[derive(Default)]
struct Told {
    problems: Vec<Problem>,
    steps: Vec<Step>,
    script: Option<String>,
}

impl Told {
    fn broken(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

fn understand(text: &str, facts: &Facts, root: &Path) -> Told {
    match cloudinit::recognise(text) {
        Kind::Empty => Told::default(),
        Kind::Script => Told { script: Some(text.to_owned()), ..Told::default() },
        Kind::Ignition => {
            println!("an Ignition config, which is for another program; nothing is done");
            Told::default()
        }
        Kind::Unrecognized => Told::broken(Problem::error(1, r##"must be "#cloud-config" or begin with "#!""##)),
        Kind::CloudConfig => {
            let (config, mut problems) = cloudinit::read(text);
            let node = node_settings(&config, facts, root, &mut problems);
            problems.sort_by_key(|problem| problem.line);
            Told { steps: cloudinit::plan(&config, facts, node.as_deref()), problems, script: None }
        }
    }
}

/// The node's settings; `None` where a node could not start with them.
fn node_settings(
    config: &CloudConfig,
    facts: &Facts,
    root: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Vec<NodeSetting>> {
    let knows = |path: &str| known_settings::find(path).is_some();
    let (settings, found) = cloudinit::node_settings(config, facts, &knows);
    let mut usable = found.iter().all(|problem| problem.severity != Severity::Error);
    problems.extend(found);
    if !settings.is_empty() {
        let mistakes = mistakes(&settings, config.hostname.as_deref().unwrap_or(&facts.hostname), root);
        usable &= mistakes.is_empty();
        problems.extend(mistakes);
    }
    usable.then_some(settings)
}

/// How the origin of a setting from the user-data is told; its line follows.
const ORIGIN: &str = "user-data:";

/// What `node run` would say about these settings over the machine's own.
fn mistakes(settings: &[NodeSetting], hostname: &str, root: &Path) -> Vec<Problem> {
    let mut input = fragment::defaults();
    let own = Path::new(settings::DEFAULT_FILE);
    if let Ok(text) = fs::read_to_string(host::below(root, own)) {
        input.overlay(fragment::from_toml(own, &text));
    }
    for setting in settings {
        let entry = Entry { value: setting.value.clone(), origin: format!("{ORIGIN}{}", setting.line) };
        input.entries.insert(setting.path, entry);
    }
    let Err(mistakes) = settings::settle(&input, hostname) else { return Vec::new() };
    mistakes.0.iter().map(|mistake| placed(mistake)).collect()
}

/// A mistake with the line that it begins with.
fn placed(mistake: &str) -> Problem {
    let placed = mistake.strip_prefix(ORIGIN).and_then(|rest| {
        let (line, reason) = rest.split_once(": ")?;
        Some(Problem::error(line.parse().ok()?, format!("the node's setting {reason}")))
    });
    placed.unwrap_or_else(|| Problem::error(1, format!("the node's settings: {mistake}")))
}

/// Does the steps in order, or shows what each would do. The first that fails is the last.
async fn carry_out(told: &Told, options: &Options) -> anyhow::Result<()> {
    let mut host = Host::new(&options.root);
    for step in &told.steps {
        let outcome = match options.plan {
            true => host.look(step),
            false => host.carry_out(step).await,
        };
        match outcome.with_context(|| format!("cannot {step}"))? {
            Outcome::Due => println!("+ {step}"),
            Outcome::Done => println!("+ {step}: done"),
            Outcome::InPlace => println!("= {step}: in place"),
            Outcome::Command => println!("! {step}"),
            Outcome::LeftOut(reason) => println!("- {step}: left out, {reason}"),
        }
    }
    if let Some(script) = &told.script {
        match options.plan {
            true => println!("! run the script, {} bytes", script.len()),
            false => host.run_script(script, &options.workspace).await?,
        }
    }
    Ok(())
}
