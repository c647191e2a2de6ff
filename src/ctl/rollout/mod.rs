//! `node ctl apply`, `rollback` and `history`: units changed together, in batches, and taken back.

mod files;
mod follow;
mod show;
mod unified;

use std::time::Duration;

use anyhow::Context as _;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{ArgsError, Flag, Parsed};
use super::contact::Contact;
use super::node_ctl::{ANSWER_WITHIN, FLAGS, contact, misunderstood, runtime, understood};
use crate::api::fleet::model::{Applies, Apply, ErrorBody, How, Planned, Rollback};
use crate::fleet::rollout::Rules;

const HELP: &str = "\
node ctl apply, rollback, history: change units together, without downtime.

  $ node ctl apply --dry-run units/            what would change: every unit file of a folder
  $ node ctl apply units/                      changes it: new units first, then those that run, one after the other
  $ node ctl apply --max-parallel 3 web@.service web@1.service
                                               instances follow their template; files may be named one by one
  $ node ctl apply --prune units/              and removes what an earlier apply of the set brought
  $ node ctl history                           what was applied, when, by whom, and what came of it
  $ node ctl history 7                         the units' texts before and after revision 7
  $ node ctl rollback                          takes the newest one back, or the one that is under way
  $ node ctl rollback 5                        brings units back to what they were after revision 5

A unit counts as well once it has been active for the settle time and its own checks pass, if its text has any:
  [X-Fleet]
  HealthCmd=/usr/bin/curl -fsS http://127.0.0.1:80%i/ready     run by /bin/sh on the unit's machine, must end with 0
  HealthHttp=http://127.0.0.1:80%i/ready                       answered with a status from 200 to 399
Where one does not get well in time, all units of the apply get their former texts back, and the exit code is 1.
The cluster carries on by itself when this command ends; `apply` with the same files shows how it goes on.

  --dry-run           tell what would change, and change nothing
  --max-parallel N    running units that may be down at a time; of a global unit, machines [1]
  --settle SECONDS    how long a unit must have been active [3]
  --timeout SECONDS   how long a batch may take to get well [300]
  --prune             remove what earlier applies of the set brought and this one has not
  --set NAME          the set that the units belong to [default]
  --desired STATE     of units that are new: launched, loaded or inactive [launched]
  --no-block          begin, and do not wait for the end
  --user NAME:PASSWORD  root's, where the store asks for users and this is no unix socket; NODE_CTL_USER
  --endpoint URL      as of every `node ctl`; NODE_CTL_ENDPOINT
";

const ROLLING: &[Flag] = &[
    Flag { names: &["dry-run", "n"], value: false, variable: None, help: "change nothing" },
    Flag { names: &["max-parallel"], value: true, variable: None, help: "units at a time" },
    Flag { names: &["settle"], value: true, variable: None, help: "seconds" },
    Flag { names: &["timeout"], value: true, variable: None, help: "seconds" },
    Flag { names: &["no-block"], value: false, variable: None, help: "do not wait" },
];
const APPLYING: &[Flag] = &[
    Flag { names: &["prune"], value: false, variable: None, help: "remove what is no longer there" },
    Flag { names: &["set"], value: true, variable: None, help: "name of the set" },
    Flag { names: &["desired"], value: true, variable: None, help: "state of new units" },
];

/// The commands of `node ctl` that are carried out here.
pub const COMMANDS: [&str; 3] = ["apply", "rollback", "history"];

/// Runs one of the commands.
///
/// # Errors
/// A file that cannot be read, a node that does not answer or that refuses.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match understood(arguments, &[FLAGS, ROLLING, APPLYING], HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let how = match how(&parsed) {
        Ok(how) => how,
        Err(error) => return Ok(misunderstood(&error.to_string())),
    };
    let words: Vec<&str> = parsed.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["apply"] => Ok(misunderstood("apply: which units? Name a folder or files")),
        ["apply", paths @ ..] => {
            let units = files::collect(paths)?;
            let desired_state = parsed.value("desired").unwrap_or_default().to_owned();
            let prune = parsed.truth("prune")?;
            let request = Apply { units, how, desired_state, prune };
            runtime()?.block_on(change(&parsed, "apply", request, |request| &mut request.how))
        }
        ["rollback", to @ ..] if to.len() < 2 => match to.first().map(|to| to.parse()).transpose() {
            Ok(to) => {
                let request = Rollback { to, how };
                runtime()?.block_on(change(&parsed, "rollback", request, |request| &mut request.how))
            }
            Err(_) => Ok(misunderstood(&format!("rollback: `{}` is no revision", to[0]))),
        },
        ["history"] => runtime()?.block_on(async {
            print!("{}", show::history(&get::<Applies>(&contact(&parsed).await?, "applies").await?));
            Ok(0)
        }),
        ["history", revision] => runtime()?.block_on(async {
            let found = get::<Applies>(&contact(&parsed).await?, &format!("applies/{revision}")).await?;
            print!("{}", found.applies.iter().map(show::applied).collect::<String>());
            Ok(0)
        }),
        _ => Ok(misunderstood("`apply DIR|FILE…`, `rollback [REVISION]` and `history [REVISION]` are what there is")),
    }
}

fn how(parsed: &Parsed) -> Result<How, ArgsError> {
    let default = Rules::default();
    let ms =
        |name: &str, default| parsed.number::<f64>(name).map(|s| s.map_or(default, |s| (s.max(0.0) * 1000.0) as u64));
    let rules = Rules {
        max_parallel: parsed.number("max-parallel")?.unwrap_or(default.max_parallel),
        settle_ms: ms("settle", default.settle_ms)?,
        timeout_ms: ms("timeout", default.timeout_ms)?,
    };
    parsed.truth("prune")?;
    parsed.truth("no-block")?;
    let set = parsed.value("set").unwrap_or_default().to_owned();
    Ok(How { by: whoami(), set, rules, dry_run: parsed.truth("dry-run")?, seen: None })
}

/// For the history: who types, and where.
fn whoami() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("SUDO_USER").or_else(|| variable("USER")).or_else(|| variable("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Shows what would change, begins it on the condition that it is still the same, and follows it to its end.
async fn change<T: Serialize>(
    parsed: &Parsed,
    verb: &str,
    mut request: T,
    how: impl Fn(&mut T) -> &mut How,
) -> anyhow::Result<u8> {
    let at = &contact(parsed).await?;
    let asked = how(&mut request).dry_run;
    how(&mut request).dry_run = true;
    let planned: Planned = post(at, verb, &request).await?;
    print!("{}", show::plan(&planned));
    if asked {
        return Ok(0);
    }
    how(&mut request).dry_run = false;
    // What is under way is shown by itself.
    how(&mut request).seen = Some(planned.changes).filter(|_| !planned.joined);
    let begun: Planned = post(at, verb, &request).await?;
    if begun.revision == 0 {
        println!("nothing to change");
        return Ok(0);
    }
    let (revision, units) = (begun.revision, begun.changes.len());
    let verb = if begun.joined { "is under way already" } else { "begins" };
    println!("revision {revision} {verb}: {units} {}", if units == 1 { "unit" } else { "units" });
    if parsed.truth("no-block")? {
        return Ok(0);
    }
    let failure = follow::to_the_end(at, &begun).await?;
    let taken_back = begun.joined && planned.joined;
    match failure {
        None => {
            println!("revision {revision} is done");
            Ok(0)
        }
        Some(_) if taken_back => {
            println!("revision {revision} was taken back");
            Ok(0)
        }
        Some(reason) => {
            eprintln!("revision {revision} was taken back: {reason}");
            Ok(1)
        }
    }
}

async fn post<Q: Serialize, A: DeserializeOwned>(at: &Contact, path: &str, body: &Q) -> anyhow::Result<A> {
    let body = serde_json::to_vec(body).context("writing the request")?;
    answer(at, Method::POST, path, Some(body)).await
}

async fn get<A: DeserializeOwned>(at: &Contact, path: &str) -> anyhow::Result<A> {
    answer(at, Method::GET, path, None).await
}

async fn answer<A: DeserializeOwned>(
    at: &Contact,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<A> {
    let wait: Duration = ANSWER_WITHIN;
    let body = body.map(|body| ("application/json", body));
    let answer = at.call(method, &format!("/fleet/v1/{path}"), body, wait).await?;
    if answer.status == StatusCode::NOT_FOUND && answer.body.is_empty() {
        anyhow::bail!("{}: this node has no units to manage (fleet.enabled is off)", at);
    }
    if !answer.status.is_success() {
        let told = serde_json::from_slice::<ErrorBody>(&answer.body).unwrap_or_default().error.message;
        anyhow::bail!("{}", if told.is_empty() { format!("{}: {}", at, answer.status) } else { told });
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{}: {path}: the answer is no JSON", at))
}
