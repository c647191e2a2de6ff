//! The `etcdctl` face: both dialects, chosen by ETCDCTL_API or by the words that are used.

mod dialect;
mod password;
mod snapshot;
mod v2;
mod v3;

use std::sync::Arc;
use std::time::Duration;

use v3::format::Format;

use crate::ctl::args::{self, ArgsError, Flag, Parsed};
use crate::ctl::{credentials, founding, srv, tls};
use crate::net::Address;
use crate::net::tls::ClientTls;
use crate::remote::Login;

const HELP: &str = "\
etcdctl: read and write the cluster's keys. ETCDCTL_API chooses the dialect; without it, the words do.

As in etcd v2 (paths):
  $ etcdctl set /message hello            $ etcdctl get /message
  $ etcdctl set /lease x --ttl 60         $ etcdctl ls --recursive /
  $ etcdctl mk /once x                    $ etcdctl mkdir /dir
  $ etcdctl update /message there         $ etcdctl rm --recursive /dir
  $ etcdctl watch --recursive /           $ etcdctl exec-watch /message -- sh -c 'echo $ETCD_WATCH_VALUE'
  $ etcdctl cluster-health                $ etcdctl setdir, updatedir, rmdir

As in etcd v3 (keys):
  $ etcdctl put greeting hello            $ etcdctl get greeting
  $ etcdctl get --prefix services/        $ etcdctl del --prefix services/
  $ etcdctl lease grant 60                $ etcdctl put --lease=ID greeting hello
  $ etcdctl watch --prefix services/      $ etcdctl txn   (compares, then, else; an empty line ends each)
  $ etcdctl member list                   $ etcdctl endpoint status | health | hashkv [--cluster]
  $ etcdctl lock NAME [COMMAND...]        $ etcdctl elect NAME PROPOSAL | elect -l NAME
  $ etcdctl compaction REVISION           $ etcdctl make-mirror --prefix a/ --dest-prefix b/ ENDPOINT
  $ etcdctl snapshot save|status FILE     $ etcdctl move-leader ID, alarm list|disarm, defrag
  $ etcdctl snapshot restore FILE --data-dir DIR   (also of etcd's own snapshots)
  $ etcdctl member add NAME --peer-urls=http://HOST:2380 [--learner]
  $ etcdctl member remove ID              $ etcdctl member update ID --peer-urls=… | promote ID
  $ etcdctl user add NAME[:PASSWORD]      $ etcdctl role grant-permission ROLE readwrite --prefix app/
  $ etcdctl user grant-role NAME ROLE     $ etcdctl auth enable | disable | status

Where both have the verb, the shape counts: `get /path`, `watch /path`, `member add NAME URL`, `user grant` and whatever has a flag of
v2's are v2's; all else is v3's.

  --endpoints URL[,URL]   where the cluster is; ETCDCTL_ENDPOINTS; also --endpoint, --peers, -C [127.0.0.1:2379]
  --discovery-srv DOMAIN  the same by the DNS records _etcd-client-ssl._tcp.DOMAIN and _etcd-client._tcp.DOMAIN;
                          --insecure-discovery=false takes the first alone
  --user NAME[:PASSWORD]  who asks; ETCDCTL_USER; --password, ETCDCTL_PASSWORD give the password by itself
  --cacert, --cert, --key FILE  by TLS: who vouches for the servers, this client's certificate and key; ETCDCTL_CACERT, …
                          (also --ca-file, --cert-file, --key-file); --insecure-skip-tls-verify takes any server
  -w simple|json|table|fields|protobuf    the output; --hex         --command-timeout 5s    how long a request may take

v2 has flags of its own (-o simple|extended|json, --ttl, --no-sync, …): ETCDCTL_API=2 etcdctl --help
";

const FLAGS: &[Flag] = &[
    flag(&["endpoints", "endpoint", "peers", "peer", "C"], true, "where the cluster is"),
    with_variable(&["discovery-srv"], true, "ETCDCTL_DISCOVERY_SRV", "a domain whose DNS records name the endpoints"),
    with_variable(&["discovery-srv-name"], true, "ETCDCTL_DISCOVERY_SRV_NAME", "what stands behind the service there"),
    with_variable(
        &["insecure-discovery"],
        false,
        "ETCDCTL_INSECURE_DISCOVERY",
        "take endpoints without TLS too [true]",
    ),
    flag(&["write-out", "w"], true, "v3: simple, json, table, fields, protobuf"),
    flag(&["command-timeout", "dial-timeout"], true, "how long a request may take"),
    with_variable(&["user", "username", "u"], true, "ETCDCTL_USER", "who asks"),
    with_variable(&["password"], true, "ETCDCTL_PASSWORD", "the password"),
    with_variable(&["cacert", "ca-file"], true, "ETCDCTL_CACERT", "who vouches for the servers"),
    with_variable(&["cert", "cert-file"], true, "ETCDCTL_CERT", "this client's certificate"),
    with_variable(&["key", "key-file"], true, "ETCDCTL_KEY", "its key"),
    // As etcd 2's tool had them.
    with_variable(&["cacert"], true, "ETCDCTL_CA_FILE", ""),
    with_variable(&["cert"], true, "ETCDCTL_CERT_FILE", ""),
    with_variable(&["key"], true, "ETCDCTL_KEY_FILE", ""),
    with_variable(
        &["insecure-skip-tls-verify"],
        false,
        "ETCDCTL_INSECURE_SKIP_TLS_VERIFY",
        "take any server for the one",
    ),
    with_variable(&["insecure-transport"], false, "ETCDCTL_INSECURE_TRANSPORT", "accepted; the URL says it"),
    flag(&["debug"], false, "accepted"),
    flag(&["help", "h"], false, "this text"),
    flag(&["ttl"], true, "seconds until the key goes"),
];

/// Flags that only v3 has: giving one chooses the dialect.
const V3_FLAGS: &[Flag] = &[
    flag(&["prefix"], false, "all keys that start so"),
    flag(&["from-key"], false, "this key and all behind it"),
    flag(&["limit"], true, "at most so many"),
    flag(&["rev"], true, "as of, or from, this revision"),
    flag(&["order"], true, "ASCEND or DESCEND"),
    flag(&["sort-by"], true, "KEY, VERSION, CREATE, MODIFY or VALUE"),
    flag(&["keys-only"], false, "no values"),
    flag(&["count-only"], false, "only how many"),
    flag(&["print-value-only"], false, "no keys"),
    flag(&["consistency"], true, "l(inearizable) or s(erializable)"),
    flag(&["prev-kv"], false, "what was there before"),
    flag(&["lease"], true, "attach to this lease"),
    flag(&["ignore-value"], false, "keep the value"),
    flag(&["ignore-lease"], false, "keep the lease"),
    flag(&["keys"], false, "with the lease's keys"),
    flag(&["once"], false, "keep alive once"),
    flag(&["progress-notify"], false, "tell of progress"),
    flag(&["hex"], false, "print as hex"),
    flag(
        &["interactive", "i"],
        false,
        "txn: with prompts; watch: watches are read from standard input; user: false reads passwords as they come",
    ),
    flag(&["physical"], false, "compaction: wait until the space is free"),
    flag(&["cluster"], false, "at every member, as the list of members has them"),
    flag(&["listen", "l"], false, "elect: only listen"),
    flag(&["peer-urls"], true, "where a member's peers reach it"),
    flag(&["learner"], false, "the new member only follows"),
    flag(&["no-password"], false, "a user whom no password lets in"),
    flag(&["new-user-password"], true, "the new user's password"),
    flag(&["detail"], false, "with the permissions of the user's roles"),
];

/// `make-mirror` has a `--prefix` of its own, with a value.
const MIRROR_FLAGS: &[Flag] = &[
    flag(&["prefix"], true, "which keys"),
    flag(&["dest-prefix"], true, "what takes the prefix's place there"),
    flag(&["no-dest-prefix"], false, "nothing takes the prefix's place there"),
    flag(&["dest-insecure-transport"], false, "accepted"),
    flag(&["dest-cacert"], true, "who vouches for the servers there"),
    flag(&["dest-cert"], true, "this client's certificate there"),
    flag(&["dest-key"], true, "its key"),
];
const MIRROR: &str = "make-mirror";

const fn flag(names: &'static [&'static str], value: bool, help: &'static str) -> Flag {
    Flag { names, value, variable: None, help }
}

const fn with_variable(
    names: &'static [&'static str],
    value: bool,
    variable: &'static str,
    help: &'static str,
) -> Flag {
    Flag { names, value, variable: Some(variable), help }
}

/// Why a command failed, with the exit code that scripts know.
#[derive(Debug)]
pub struct Failed {
    pub code: u8,
    /// Empty: all is said already.
    pub message: String,
}

impl Failed {
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The same as the cause of something larger.
    fn at(self, what: &str) -> Self {
        Self { message: format!("{what} ({})", self.message), ..self }
    }

    fn with(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<ArgsError> for Failed {
    fn from(error: ArgsError) -> Self {
        Self::usage(format!("{error}; `etcdctl --help` shows what there is"))
    }
}

/// What every command is given.
pub struct Context {
    pub endpoints: Vec<Address>,
    /// The endpoints as they were written.
    pub written: Vec<String>,
    pub timeout: Duration,
    /// v3's output.
    pub format: Format,
    pub tls: Arc<ClientTls>,
    /// Who asks, if somebody is named.
    pub login: Option<Login>,
    pub parsed: Parsed,
}

/// Runs the face. Exit codes as in etcd: those of v2 are in `v2`, those of v3 in `v3::exit`.
pub fn run(arguments: &[String]) -> u8 {
    dispatch(arguments).unwrap_or_else(|failed| {
        if !failed.message.is_empty() {
            eprintln!("Error: {}", failed.message);
        }
        failed.code
    })
}

fn dispatch(arguments: &[String]) -> Result<u8, Failed> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let api = variable("ETCDCTL_API");
    if dialect::chosen(arguments, api.as_deref())? == 2 {
        return Ok(v2::run(arguments));
    }
    let own: &[&'static [Flag]] = match dialect::is_mirror(arguments) {
        true => &[FLAGS, MIRROR_FLAGS],
        false => &[FLAGS, V3_FLAGS, founding::FLAGS, snapshot::FLAGS],
    };
    let parsed = args::parse(arguments, own, &variable)?;
    let verb = parsed.words.first().cloned().unwrap_or_default();
    if parsed.truth("help")? || verb.is_empty() || verb == "help" {
        print!("{HELP}");
        return Ok(0);
    }
    let written = endpoints(&parsed)?;
    let tls = tls::of(&parsed).map_err(Failed::usage)?;
    let format = Format::of(&parsed)?;
    let endpoints = written.iter().map(|item| address(&tls, item)).collect::<Result<_, _>>()?;
    let context =
        Context { endpoints, written, timeout: timeout(&parsed)?, format, tls, login: login(&parsed)?, parsed };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::usage(format!("starting the runtime: {error}")))?;
    match verb.as_str() {
        "snapshot" => runtime.block_on(snapshot::run(&context)),
        _ => runtime.block_on(v3::run(&verb, &context)),
    }
}

fn endpoints(parsed: &Parsed) -> Result<Vec<String>, Failed> {
    if let Some(domain) = parsed.value("discovery-srv") {
        let suffix = parsed.value("discovery-srv-name").unwrap_or_default();
        let plain = parsed.value("insecure-discovery") != Some("false");
        return srv::endpoints(domain, suffix, plain).map_err(|error| Failed::usage(error.to_string()));
    }
    let variables = ["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"];
    let from_variable = || variables.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let text = parsed
        .value("endpoints")
        .map(str::to_owned)
        .or_else(from_variable)
        .or_else(credentials::endpoints)
        .unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// `--user name:password`, or the two apart; a password that is not given is asked for.
pub fn login(parsed: &Parsed) -> Result<Option<Login>, Failed> {
    let Some(given) = parsed.value("user") else { return Ok(None) };
    let (user, password) = match (given.split_once(':'), parsed.value("password")) {
        (_, Some(password)) => (given, password.to_owned()),
        (Some((user, password)), None) => (user, password.to_owned()),
        (None, None) => (given, password::ask("Password: ")?),
    };
    Ok(Some(Login { user: user.to_owned(), password }))
}

fn address(tls: &Arc<ClientTls>, item: &str) -> Result<Address, Failed> {
    tls::address(tls, item).map_err(|error| Failed::usage(format!("--endpoints: {error}")))
}

/// Go's durations as far as people give them here, or bare seconds.
fn timeout(parsed: &Parsed) -> Result<Duration, Failed> {
    let Some(text) = parsed.value("command-timeout") else { return Ok(Duration::from_secs(5)) };
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * unit;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failed::usage(format!("`{text}` is no duration; write 5s or 500ms")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, expected) in [("5s", 5.0), ("500ms", 0.5), ("2m", 120.0), ("3", 3.0)] {
            let words = vec![format!("--command-timeout={text}")];
            let parsed = args::parse(&words, &[FLAGS], &|_| None).unwrap();
            assert_eq!(timeout(&parsed).unwrap().as_secs_f64(), expected);
        }
        let words = vec!["--command-timeout=soon".to_owned()];
        assert!(timeout(&args::parse(&words, &[FLAGS], &|_| None).unwrap()).is_err());
    }
}
