//! What confd is told: flags, then variables, then the file, then defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::log::LogLevel;
use crate::ctl::args::{ArgsError, Flag, Parsed, parse};
use crate::ctl::tls;
use crate::jobs::templates::Options;
use crate::net::tls::ClientTls;
use crate::remote::Login;

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// The v2 API where it is served by an etcd, else v3. At our own nodes the keys of both are the same.
    Etcd,
    EtcdV3,
    File,
    Env,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::EtcdV3 => "etcdv3",
            Self::File => "file",
            Self::Env => "env",
        }
    }

    fn named(name: &str) -> Result<Self, Failed> {
        match name {
            "" | "etcd" => Ok(Self::Etcd),
            "etcdv3" => Ok(Self::EtcdV3),
            "file" => Ok(Self::File),
            "env" => Ok(Self::Env),
            other => Err(fatal(format!("Invalid backend: `{other}`; there are etcd, etcdv3, file and env"))),
        }
    }
}

/// When to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Parse everything, use nothing.
    Check,
    /// Render everything with the keys of a file, write nothing.
    Validate(Option<PathBuf>),
    Once,
    Watch,
    Interval(Duration),
}

/// All settings, settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub backend: Backend,
    /// Of the backend `file`.
    pub files: Vec<PathBuf>,
    pub filter: String,
    /// As given; empty: to be looked up under `srv_record`, or the backend's default.
    pub nodes: Vec<String>,
    pub srv_record: Option<String>,
    /// How nodes are spoken to that a record names: `http` or `https`.
    pub scheme: String,
    pub tls: Arc<ClientTls>,
    pub login: Option<Login>,
    pub confdir: PathBuf,
    pub prefix: String,
    pub mode: Mode,
    pub options: Options,
    pub log_level: LogLevel,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    Run(Box<Settings>),
    Help,
    Version,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Exit code 2.
    Usage(String),
    /// Exit code 1.
    Fatal(String),
}

fn fatal(message: impl Into<String>) -> Failed {
    Failed::Fatal(message.into())
}

const fn flag(names: &'static [&'static str], value: bool, help: &'static str) -> Flag {
    Flag { names, value, variable: None, help }
}

const FLAGS: &[Flag] = &[
    flag(&["backend"], true, "etcd, etcdv3, file or env [etcd]"),
    flag(
        &["node"],
        true,
        "URL or HOST:PORT of an etcd; may be repeated [$ETCDCTL_PEERS, $ETCDCTL_ENDPOINTS, where `node ctl login` was, 127.0.0.1:2379]",
    ),
    flag(&["confdir"], true, "holds conf.d/ and templates/ [/etc/confd]"),
    flag(&["config-file"], true, "settings; it need not be there [/etc/confd/confd.toml]"),
    flag(&["interval"], true, "seconds between two looks [600]"),
    flag(&["onetime"], false, "look once and end"),
    flag(&["watch"], false, "look when keys change"),
    flag(&["noop"], false, "say what would be done, change nothing"),
    flag(&["prefix"], true, "replaces the prefix of every resource"),
    flag(&["sync-only"], false, "neither check_cmd nor reload_cmd"),
    flag(&["keep-stage-file"], false, "leave staged files that were not moved to their place"),
    flag(&["log-level"], true, "panic, fatal, error, warn, info or debug [info]"),
    flag(&["srv-domain"], true, "domain whose _etcd._tcp record names the nodes"),
    flag(&["srv-record"], true, "record that names the nodes"),
    flag(&["scheme"], true, "http or https, for the nodes of a record [http]"),
    Flag {
        names: &["client-cert"],
        value: true,
        variable: Some("CONFD_CLIENT_CERT"),
        help: "certificate to show to nodes with https",
    },
    Flag { names: &["client-key"], value: true, variable: Some("CONFD_CLIENT_KEY"), help: "its key" },
    Flag {
        names: &["client-ca-keys"],
        value: true,
        variable: Some("CONFD_CLIENT_CAKEYS"),
        help: "who vouches for nodes with https",
    },
    flag(&["client-insecure"], false, "take any node with https for the one that is meant"),
    flag(&["file"], true, "YAML or JSON file, or a folder of them, of the backend file; may be repeated"),
    flag(&["filter"], true, "which names count in folders of the backend file [*]"),
    flag(&["check-config"], false, "as the word check: parse resources and templates, use nothing"),
    flag(&["validate"], false, "as the word validate: render with -mock, write nothing"),
    flag(&["mock", "mock-data"], true, "YAML or JSON file with the keys for validate"),
    flag(&["version"], false, "print the version"),
    flag(&["help", "h"], false, "print this"),
];

/// Known, and accepted where they change nothing: they belong to stores that are not served.
const OTHERS: &[Flag] = &[
    flag(&["basic-auth"], false, ""),
    flag(&["username"], true, ""),
    flag(&["password"], true, ""),
    flag(&["auth-token"], true, ""),
    flag(&["auth-type"], true, ""),
    flag(&["app-id"], true, ""),
    flag(&["user-id"], true, ""),
    flag(&["role-id"], true, ""),
    flag(&["secret-id"], true, ""),
    flag(&["path"], true, ""),
    flag(&["table"], true, ""),
    flag(&["separator"], true, ""),
    flag(&["diff"], false, ""),
    flag(&["color"], false, ""),
    flag(&["secret-keyring"], true, ""),
    flag(&["debug"], false, ""),
    flag(&["verbose"], false, ""),
    flag(&["quiet"], false, ""),
    flag(&["consul"], false, ""),
    flag(&["consul-addr"], true, ""),
    flag(&["etcd-scheme"], true, ""),
];

/// A line for each flag.
pub(super) fn flags_help() -> String {
    let line = |flag: &Flag| format!("  -{:<16} {}\n", flag.names[0], flag.help);
    FLAGS.iter().map(line).collect()
}

/// Settles a command line over the environment, the file it names, and the defaults.
pub(super) fn gather(arguments: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Result<Start, Failed> {
    let parsed = parse(arguments, &[FLAGS, OTHERS], variable).map_err(usage)?;
    if parsed.truth("help").map_err(usage)? {
        return Ok(Start::Help);
    }
    if parsed.truth("version").map_err(usage)? {
        return Ok(Start::Version);
    }
    let path = parsed.value("config-file").unwrap_or("/etc/confd/confd.toml");
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(fatal(format!("{path}: {error}"))),
    };
    let table = DeTable::parse(&text).map_err(|error| fatal(format!("{path}: {}", error.to_string().trim_end())))?;
    let file = File { path: Path::new(path), text: &text, table: table.get_ref() };
    settle(&parsed, &file, variable).map(|settings| Start::Run(Box::new(settings)))
}

fn usage(error: ArgsError) -> Failed {
    Failed::Usage(match error {
        ArgsError::Unknown(flag) => format!("flag provided but not defined: -{}", flag.trim_start_matches('-')),
        other => other.to_string(),
    })
}

fn settle(parsed: &Parsed, file: &File<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Failed> {
    let text = |flag: &str, key: &str| -> Result<Option<String>, Failed> {
        match parsed.value(flag) {
            Some(value) => Ok(Some(value.to_owned())),
            None => file.text(key),
        }
    };
    let truth = |flag: &str, key: &str| -> Result<bool, Failed> {
        match parsed.value(flag) {
            Some(_) => parsed.truth(flag).map_err(usage),
            None => file.truth(key),
        }
    };
    // The fork's way: the backend, or what is to be done, as a word.
    let mut words: Vec<&str> = parsed.words.iter().map(String::as_str).collect();
    let mut verb = |name: &str, flag: &str| -> Result<bool, Failed> {
        let there = words.iter().position(|word| *word == name);
        there.map(|at| words.remove(at));
        Ok(there.is_some() || parsed.truth(flag).map_err(usage)?)
    };
    let (check, validate) = (verb("check", "check-config")?, verb("validate", "validate")?);
    if let Some(beyond) = words.get(1) {
        return Err(Failed::Usage(format!("unexpected argument: {beyond}")));
    }
    let files: Vec<PathBuf> = match parsed.values("file").map(PathBuf::from).collect::<Vec<_>>() {
        given if given.is_empty() => file.texts("file")?.into_iter().map(PathBuf::from).collect(),
        given => given,
    };
    let backend = match words.first() {
        Some(word) => (*word).to_owned(),
        None => text("backend", "backend")?.unwrap_or_default(),
    };
    let backend = Backend::named(&backend)?;
    if backend == Backend::File && files.is_empty() {
        return Err(fatal("backend file: give -file FILE, of YAML or JSON"));
    }
    let scheme = text("scheme", "scheme")?.unwrap_or_else(|| "http".to_owned());
    if !["http", "https"].contains(&scheme.as_str()) {
        return Err(fatal(format!("scheme: {scheme:?} is not http or https")));
    }
    let level = text("log-level", "log-level")?.unwrap_or_default();
    let log_level = match LogLevel::named(&level) {
        _ if parsed.truth("debug").map_err(usage)? || parsed.truth("verbose").map_err(usage)? => LogLevel::Debug,
        _ if parsed.truth("quiet").map_err(usage)? => LogLevel::Error,
        Some(level) => level,
        None => return Err(fatal(format!("not a valid level: {level:?}"))),
    };
    let interval = match parsed.number::<u64>("interval").map_err(usage)? {
        Some(seconds) => seconds,
        None => file.number("interval")?.unwrap_or(600),
    };
    let mode = match (truth("onetime", "onetime")?, truth("watch", "watch")?) {
        _ if check => Mode::Check,
        _ if validate => Mode::Validate(parsed.value("mock").map(PathBuf::from)),
        (true, _) => Mode::Once,
        (false, true) => Mode::Watch,
        (false, false) => Mode::Interval(Duration::from_secs(interval)),
    };
    let options = Options {
        noop: truth("noop", "noop")?,
        sync_only: truth("sync-only", "sync-only")?,
        keep_stage_file: truth("keep-stage-file", "keepstagefile")?,
    };
    let srv_record = match text("srv-record", "srv_record")? {
        Some(record) => Some(record),
        None => text("srv-domain", "srv_domain")?
            .map(|domain| format!("_{}._tcp.{}.", backend.name(), domain.trim_end_matches('.'))),
    };
    Ok(Settings {
        backend,
        files,
        filter: text("filter", "filter")?.unwrap_or_else(|| "*".to_owned()),
        nodes: nodes(parsed, file, variable)?,
        scheme,
        tls: tls(&text, &truth)?,
        login: login(&text, &truth)?,
        srv_record: srv_record.filter(|record| !record.is_empty()),
        confdir: text("confdir", "confdir")?.unwrap_or_else(|| "/etc/confd".to_owned()).into(),
        prefix: text("prefix", "prefix")?.unwrap_or_default(),
        mode,
        options,
        log_level,
    })
}

/// How nodes with `https` are spoken to.
fn tls(
    text: &impl Fn(&str, &str) -> Result<Option<String>, Failed>,
    truth: &impl Fn(&str, &str) -> Result<bool, Failed>,
) -> Result<Arc<ClientTls>, Failed> {
    let file = |flag: &str, key: &str| -> Result<Option<PathBuf>, Failed> {
        Ok(text(flag, key)?.filter(|value| !value.is_empty()).map(PathBuf::from))
    };
    let trusted_ca = file("client-ca-keys", "client_cakeys")?;
    let (certificate, key) = (file("client-cert", "client_cert")?, file("client-key", "client_key")?);
    let insecure = truth("client-insecure", "client_insecure")?;
    tls::told(trusted_ca, certificate, key, insecure).map(Arc::new).map_err(fatal)
}

/// Who asks the nodes. As in confd, a name without `basic-auth` is not used.
fn login(
    text: &impl Fn(&str, &str) -> Result<Option<String>, Failed>,
    truth: &impl Fn(&str, &str) -> Result<bool, Failed>,
) -> Result<Option<Login>, Failed> {
    if !truth("basic-auth", "basic_auth")? {
        return Ok(None);
    }
    match (text("username", "username")?, text("password", "password")?) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        _ => Err(fatal("basic-auth: give -username and -password too")),
    }
}

fn nodes(parsed: &Parsed, file: &File<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, Failed> {
    let given: Vec<String> = parsed.values("node").map(str::to_owned).collect();
    if !given.is_empty() {
        return Ok(given);
    }
    let listed = match file.texts("nodes")? {
        // As confd 0.5 called them.
        none if none.is_empty() => file.texts("etcd_nodes")?,
        nodes => nodes,
    };
    if !listed.is_empty() {
        return Ok(listed);
    }
    let peers =
        ["ETCDCTL_PEERS", "ETCDCTL_ENDPOINTS"].iter().find_map(|name| variable(name).filter(|list| !list.is_empty()));
    Ok(peers.map(|list| list.split(',').map(|one| one.trim().to_owned()).collect()).unwrap_or_default())
}

/// The settings file; names match in any case, what is not known is ignored.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    table: &'a DeTable<'a>,
}

impl File<'_> {
    fn get(&self, key: &str) -> Option<&Spanned<DeValue<'_>>> {
        self.table.iter().find(|(name, _)| name.get_ref().eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Failed {
        let before = self.text.get(..value.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        fatal(format!("{}:{line}: {key}: must be {expected}, not {}", self.path.display(), value.get_ref().type_str()))
    }

    fn text(&self, key: &str) -> Result<Option<String>, Failed> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.get_ref().as_str().ok_or_else(|| self.wrong(key, value, "a string"))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn truth(&self, key: &str) -> Result<bool, Failed> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.get_ref().as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Failed> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number =
            value.get_ref().as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        number.map(Some).ok_or_else(|| self.wrong(key, value, "a whole number"))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Failed> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong(key, value, "a list of strings");
        let items = value.get_ref().as_array().ok_or_else(wrong)?;
        items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong)).collect()
    }
}
