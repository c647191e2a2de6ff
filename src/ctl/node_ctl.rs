//! `node ctl`: which command is asked for, of which node, and as whom.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use serde_json::Value;

use super::args::{self, Flag, Parsed};
use super::contact::Contact;
#[cfg(feature = "template")]
use super::templates;
use super::{
    authority, backup, certificates, credentials, doctor, export, import, kv, login, recover, restore, secret,
    snapshot, status, tls, token, upgrade,
};
#[cfg(feature = "scheduler")]
use super::{rollout, scheduling, work};
use crate::net::Address;
use crate::remote::Login;

const HELP: &str = "\
node ctl: ask the cluster how it is.

  $ node ctl status                               this machine's node, and through it the cluster
  $ node ctl status --endpoint http://core-02:2379
  $ node ctl doctor                               what is wrong with it, each with its remedy; exit code 1 if something is
  $ node ctl token create [--ttl 1h] [--uses 1]   a token for `node join`; `token list`, `token revoke ID`
  $ node ctl login --name ann                     a certificate for this user, which fleetctl and etcdctl take too;
                                                  elsewhere: --endpoint https://… --cacert FILE --user NAME:PASSWORD
  $ node ctl cert list                            the certificates that the cluster gave out; `cert revoke NAME-OR-SERIAL`
  $ node ctl ca rotate [--keep-old 7d]            another authority takes over, member by member; `ca show` tells how far it
                                                  is (--pem prints who is trusted), `ca finish` ends the time of the old one
  $ node ctl upgrade --binary FILE                has the nodes run another program, one after the other; --help has more
  $ node ctl recover                              a cluster out of one member, when most of them are gone for good; --help has more
  $ node ctl limits                               what bounds requests, queues and waits
  $ node ctl apply --dry-run units/               what applying a folder of units would change; `apply --help` has more
  $ node ctl history                              what was applied, by whom, and what came of it
  $ node ctl rollback                             takes the newest apply back
  $ node ctl kv history /app/port                 who changed a key and when; `node ctl kv --help` has more
  $ node ctl explain web@1.service                why a unit is where it is; `node ctl explain --help` has more:
                                                  why-not, simulate, machines, cordon, drain, rebalance
  $ node ctl run --name web --publish 8080:80 IMAGE
                                                  a container on some machine; `run --help` has more
  $ node ctl logs 'web@*' -f                      what units print, of all machines by time; `logs --help` has more
  $ node ctl exec -it web@1.container -- sh       a command in a unit, wherever it is; `exec --help` has more
  $ node ctl secret create db-password FILE       what containers are given by Secret=; of standard input without FILE;
                                                  --replace, `secret list`, `secret remove NAME`
  $ node ctl templates                            how each template resource is on each machine
  $ node ctl templates NAME                       all of one: what it reads, how long it took, what went wrong where
  $ node ctl trace /app/port                      which files and processes a key has changed, in ms
  $ node ctl snapshot save FILE                   copies the cluster's state into a file, and checks it
  $ node ctl snapshot status FILE                 checks such a file and tells what it holds
  $ node ctl snapshot restore FILE --data-dir DIR begins a new cluster with what it holds; --help has more

  $ node ctl backup list                          which backups there are; now, verify, and `backup --help` has more

  $ node ctl snapshot export --etcd OUT           writes users' keys as a snapshot of etcd's
  $ node ctl import etcd --snapshot FILE --data-dir DIR
                                                  begins a new cluster with another etcd's data; --help has more
  --endpoint URL    http://HOST:PORT, https://HOST:PORT or unix:///PATH; NODE_CTL_ENDPOINT
                    [where `login` was, else /run/node/node.sock if it is there, else http://127.0.0.1:2379]
  --cacert, --cert, --key FILE
                    by TLS: who vouches for the nodes, the certificate to show and its key; NODE_CTL_CACERT, …;
                    --insecure-skip-tls-verify takes any node for the one that is meant
  --user NAME[:PASSWORD], --password TEXT
                    who asks, where users are asked for; NODE_CTL_USER, NODE_CTL_PASSWORD, ETCDCTL_USER, ETCDCTL_PASSWORD
";

pub const FLAGS: &[Flag] = &[
    Flag { names: &["help", "h"], value: false, variable: None, help: "this text" },
    Flag { names: &["endpoint", "endpoints"], value: true, variable: Some("NODE_CTL_ENDPOINT"), help: "where to ask" },
    Flag { names: &["cacert"], value: true, variable: Some("NODE_CTL_CACERT"), help: "who vouches for the nodes" },
    Flag { names: &["cert"], value: true, variable: Some("NODE_CTL_CERT"), help: "the certificate to show" },
    Flag { names: &["key"], value: true, variable: Some("NODE_CTL_KEY"), help: "its key" },
    Flag { names: &["insecure-skip-tls-verify"], value: false, variable: None, help: "take any node for the one" },
    // What is told to etcdctl counts here too, and what is told to this program counts more.
    Flag { names: &["user"], value: true, variable: Some("ETCDCTL_USER"), help: "who asks" },
    Flag { names: &["password"], value: true, variable: Some("ETCDCTL_PASSWORD"), help: "the password" },
    Flag { names: &["user"], value: true, variable: Some("NODE_CTL_USER"), help: "" },
    Flag { names: &["password"], value: true, variable: Some("NODE_CTL_PASSWORD"), help: "" },
];

/// For commands with flags of their own.
pub const HELP_FLAG: &[Flag] = &[Flag { names: &["help", "h"], value: false, variable: None, help: "this text" }];

const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";
/// Longer than a node takes to find that there is no quorum.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

/// Runs the face: 0, 1 where the cluster is not well, 2 for a command line that cannot be understood.
///
/// # Errors
/// Where the node that is asked does not answer.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Commands with flags of their own.
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["snapshot", "restore", ..] => return restore::run(&arguments[2..]),
        ["snapshot", "export", ..] => return export::run(&arguments[2..]),
        words if verb(words) == Some("backup") => return backup::run(arguments),
        words if verb(words) == Some("doctor") => return doctor::run(arguments),
        words if verb(words) == Some("upgrade") => return upgrade::run(arguments),
        words if verb(words) == Some("recover") => return recover::run(arguments),
        ["import", ..] => return import::run(&arguments[1..]),
        #[cfg(feature = "scheduler")]
        words if verb(words).is_some_and(|verb| rollout::COMMANDS.contains(&verb)) => return rollout::run(arguments),
        #[cfg(feature = "scheduler")]
        words if let Some(command) = verb(words).filter(|verb| work::COMMANDS.contains(verb)) => {
            return work::run(command, arguments);
        }
        #[cfg(feature = "scheduler")]
        words if verb(words).is_some_and(|verb| scheduling::COMMANDS.contains(&verb)) => {
            return scheduling::run(arguments);
        }
        _ => {}
    }
    let said = |verb: &str| arguments.iter().any(|word| word == verb);
    let flags: &[&'static [Flag]] = match () {
        () if said("kv") => &[FLAGS, kv::FLAGS],
        () if said("token") => &[FLAGS, token::FLAGS],
        () if said("login") => &[FLAGS, login::FLAGS],
        () if said("secret") => &[FLAGS, secret::FLAGS],
        () if said("ca") => &[FLAGS, authority::FLAGS],
        () => &[FLAGS],
    };
    let parsed = match args::parse(arguments, flags, &variable) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(misunderstood(&error.to_string())),
    };
    match parsed.words.first().map(String::as_str) {
        first if parsed.value("help").is_some() => {
            print!("{}", if first == Some("kv") { kv::HELP } else { HELP });
            Ok(0)
        }
        None | Some("help") => {
            print!("{HELP}");
            Ok(0)
        }
        Some("limits") => {
            print!("{}", limits());
            Ok(0)
        }
        Some("token") => runtime()?.block_on(async { token::run(&contact(&parsed).await?, &parsed).await }),
        Some("ca") => runtime()?.block_on(async { authority::run(&contact(&parsed).await?, &parsed).await }),
        Some("cert") => runtime()?.block_on(async { certificates::run(&contact(&parsed).await?, &parsed).await }),
        Some("login") => runtime()?.block_on(async { login::run(&contact(&parsed).await?, &parsed).await }),
        Some("secret") => runtime()?.block_on(async { secret::run(&contact(&parsed).await?, &parsed).await }),
        Some("status") => runtime()?.block_on(status::run(&parsed)),
        Some("kv") => match kv::understand(&parsed) {
            Ok(command) => runtime()?.block_on(async { kv::run(&contact(&parsed).await?, command).await }),
            Err(what) => Ok(misunderstood(&format!("kv: {what}"))),
        },
        #[cfg(feature = "template")]
        Some("templates") => match &parsed.words[1..] {
            [] => runtime()?.block_on(async { templates::list(&contact(&parsed).await?, None).await }),
            [name] => runtime()?.block_on(async { templates::list(&contact(&parsed).await?, Some(name)).await }),
            _ => Ok(misunderstood("`templates` takes one name at most")),
        },
        #[cfg(feature = "template")]
        Some("trace") => match &parsed.words[1..] {
            [key] => runtime()?.block_on(async { templates::trace(&contact(&parsed).await?, key).await }),
            _ => Ok(misunderstood("`trace` takes a key")),
        },
        Some("snapshot") => match &parsed.words[1..] {
            [verb, file] if verb == "save" => {
                let (from, login) = (endpoint(&parsed)?, who_asks(&parsed)?);
                runtime()?.block_on(snapshot::save(&from, login.as_ref(), Path::new(file)))
            }
            [verb, file] if verb == "status" => snapshot::status(Path::new(file)),
            _ => Ok(misunderstood("`snapshot` takes `save FILE`, `status FILE`, `restore FILE` or `export`")),
        },
        Some(other) => Ok(misunderstood(&format!("no command `{other}`"))),
    }
}

/// The command: the first word that is neither a flag nor the value of one of [`FLAGS`].
fn verb<'a>(words: &[&'a str]) -> Option<&'a str> {
    let has_value =
        |word: &&str| FLAGS.iter().any(|flag| flag.value && flag.names.contains(&word.trim_start_matches('-')));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word {
            flag if flag.starts_with('-') && has_value(flag) => {
                words.next();
            }
            flag if flag.starts_with('-') => {}
            verb => return Some(verb),
        }
    }
    None
}

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")
}

/// The command line of a command by its flags and their variables. `Err`: it is answered already, by its help or by what is wrong
/// with it; the exit code.
pub(super) fn understood(arguments: &[String], flags: &[&'static [Flag]], help: &str) -> Result<Parsed, u8> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match args::parse(arguments, flags, &variable) {
        Ok(parsed) if parsed.value("help").is_some() => {
            print!("{help}");
            Err(0)
        }
        Ok(parsed) => Ok(parsed),
        Err(error) => Err(misunderstood(&error.to_string())),
    }
}

pub fn misunderstood(what: &str) -> u8 {
    eprintln!("node ctl: {what}; `node ctl --help` shows what there is");
    USAGE
}

pub fn endpoint(parsed: &Parsed) -> anyhow::Result<Address> {
    address(parsed, endpoints(parsed).split(',').next().unwrap_or_default().trim())
}

/// All nodes that may be asked, for what goes on when one of them is lost.
#[cfg(feature = "scheduler")]
pub(super) fn addresses(parsed: &Parsed) -> anyhow::Result<Vec<Address>> {
    endpoints(parsed).split(',').map(|one| address(parsed, one.trim())).collect()
}

fn endpoints(parsed: &Parsed) -> String {
    let given = parsed.value("endpoint").map(str::to_owned).or_else(credentials::endpoints);
    given.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())
}

/// Who asks, if somebody is named.
pub fn who_asks(parsed: &Parsed) -> anyhow::Result<Option<Login>> {
    super::etcdctl::login(parsed).map_err(|failed| anyhow::anyhow!("{}", failed.message))
}

/// The node that is asked, and as whom.
pub async fn contact(parsed: &Parsed) -> anyhow::Result<Contact> {
    Contact::open(endpoint(parsed)?, who_asks(parsed)?.as_ref()).await
}

pub(super) fn address(parsed: &Parsed, text: &str) -> anyhow::Result<Address> {
    let tls = tls::of(parsed).map_err(anyhow::Error::msg)?;
    tls::address(&tls, text).context("--endpoint")
}

pub(super) fn hex(id: &Value) -> String {
    let number = id.as_str().and_then(|text| text.parse::<u64>().ok()).or_else(|| id.as_u64());
    number.map_or_else(|| "-".to_owned(), |id| format!("{id:x}"))
}

pub(super) async fn listed(at: &Contact, path: &str, field: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/fleet/v1/{path}{token}");
        let answer = at.call(Method::GET, &path, None, ANSWER_WITHIN).await.ok()?;
        let mut page: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())?;
        if let Value::Array(items) = page[field].take() {
            all.extend(items);
        }
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!("?nextPageToken={}", next.replace('=', "%3D")),
            None => return Some(all),
        }
    }
}

fn limits() -> String {
    use crate::base::limits as l;
    let rows: [(&str, u128, &str); 13] = [
        ("largest request", l::REQUEST_BYTES_MAX as u128, "bytes"),
        ("operations in a transaction", l::TXN_OPS_MAX as u128, ""),
        ("wait for a quorum", l::QUORUM_WAIT_MS_MAX.into(), "ms"),
        ("writes that may wait", l::PROPOSALS_PENDING_MAX as u128, ""),
        ("events that a slow watcher may have waiting", l::WATCH_BACKLOG_EVENTS_MAX as u128, ""),
        ("client connections per listener", l::CLIENT_CONNECTIONS_MAX as u128, ""),
        ("unfinished requests, all together", l::BODIES_BYTES_MAX as u128, "bytes"),
        ("large answers not read yet, all together", l::ANSWERS_UNREAD_BYTES_MAX as u128, "bytes"),
        ("watches per stream", l::WATCHES_PER_STREAM_MAX as u128, ""),
        ("snapshots that clients may be reading", l::CLIENT_SNAPSHOTS_MAX as u128, ""),
        ("unit text", l::UNIT_BYTES_MAX as u128, "bytes"),
        ("unit name", l::UNIT_NAME_BYTES_MAX as u128, "bytes"),
        ("items on a page of fleet's lists", l::FLEET_PAGE_ITEMS.into(), ""),
    ];
    let mut text = String::new();
    for (what, value, unit) in rows {
        let _ = writeln!(text, "{what:44} {value} {unit}");
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        for (line, expected) in [
            ("", 0),
            ("--help", 0),
            ("limits", 0),
            ("bogus", 2),
            ("--bogus", 2),
            ("snapshot eat f", 2),
            ("kv", 2),
            ("kv get", 2),
            ("kv --help", 0),
            ("status --prefix", 2),
            ("snapshot eat drain", 2),
            ("--endpoint drain limits", 0),
            ("--endpoint=x:1 drain", 2),
            ("--user history limits", 0),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(run(&words).ok(), Some(expected), "{line}");
        }
        assert!(run(&["status".into(), "--endpoint=http://127.0.0.1:1".into()]).is_err());
    }
}
