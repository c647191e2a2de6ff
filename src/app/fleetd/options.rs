//! fleetd's options: fleet.conf, an INI file without sections, and `FLEET_*` variables over it; each with what becomes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::Address;
use crate::net::tls::{ClientTls, Identity};

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Followed,
    /// Taken; steers nothing here, and why that is said.
    Nothing(&'static str),
    /// Going on without it would mislead, unless it has this value.
    Refused {
        unless: &'static str,
        why: &'static str,
    },
}

/// An option: name, what fleetd takes where nobody says, and its fate.
pub const OPTIONS: &[(&str, &str, Fate)] = &[
    ("verbosity", "0", Fate::Followed),
    ("etcd_servers", "http://127.0.0.1:2379,http://127.0.0.1:4001", Fate::Followed),
    ("etcd_username", "", Fate::Followed),
    ("etcd_password", "", Fate::Followed),
    ("etcd_keyfile", "", Fate::Followed),
    ("etcd_certfile", "", Fate::Followed),
    ("etcd_cafile", "", Fate::Followed),
    ("etcd_key_prefix", "/_coreos.com/fleet/", Fate::Followed),
    ("etcd_request_timeout", "1.0", Fate::Followed),
    ("engine_reconcile_interval", "2.0", Fate::Followed),
    ("public_ip", "", Fate::Followed),
    ("metadata", "", Fate::Followed),
    ("agent_ttl", "30s", Fate::Followed),
    ("units_directory", "/run/fleet/units/", Fate::Followed),
    (
        "systemd_user",
        "false",
        Fate::Refused { unless: "false", why: "units of a user's own systemd are not run; run fleetd as root" },
    ),
    ("token_limit", "100", Fate::Nothing("pages of the API have 100 items")),
    ("enable_grpc", "false", Fate::Nothing("states are in the etcd; nothing of them is written while nothing changes")),
    ("disable_engine", "false", Fate::Followed),
    ("disable_watches", "false", Fate::Nothing("changes are told by watches, there is nothing else to fall back to")),
    ("verify_units", "false", Fate::Nothing("signed units are no more")),
    ("authorized_keys_file", "", Fate::Nothing("signed units are no more")),
    // Not fleet's own.
    ("data_dir", "/var/lib/fleet", Fate::Followed),
    ("machine_id", "", Fate::Followed),
    ("executor", "auto", Fate::Followed),
    ("socket", "/run/fleet.sock", Fate::Followed),
];

/// What fleetd is to do, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub servers: Vec<Address>,
    pub username: String,
    pub password: String,
    /// Without a slash at its end.
    pub key_prefix: String,
    pub request_timeout: Duration,
    /// How long an engine that has vanished counts as leading: five intervals, as in fleet.
    pub lead_ttl: Duration,
    pub disable_engine: bool,
    /// The socket to listen on where none is handed over; `None`: none.
    pub socket: Option<String>,
    /// Keys of a node's settings that follow from the options.
    pub pairs: Vec<(&'static str, String)>,
    /// To be said once, in the log.
    pub notes: Vec<String>,
}

/// Reads a file's text and lays the variables over it.
///
/// # Errors
/// All mistakes, a line each.
pub fn read(
    file: Option<(&str, &str)>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Options, Vec<String>> {
    let mut reader = Reader::default();
    if let Some((name, text)) = file {
        reader.file(name, text);
    }
    for (name, value) in variables {
        if let Some(option) = name.strip_prefix("FLEET_") {
            reader.take(&option.to_lowercase(), &value, &name);
        }
    }
    reader.settle()
}

#[derive(Default)]
struct Reader {
    given: BTreeMap<&'static str, (String, String)>,
    mistakes: Vec<String>,
    notes: Vec<String>,
}

impl Reader {
    fn file(&mut self, name: &str, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let origin = format!("{name}:{}", number + 1);
            match line.split_once('=') {
                Some((option, value)) => self.take(option.trim(), value.trim(), &origin),
                None => self.mistakes.push(format!("{origin}: `{line}` is not option=value")),
            }
        }
    }

    /// An option as somebody wrote it: with dashes too, as coreos-cloudinit did.
    fn take(&mut self, option: &str, value: &str, origin: &str) {
        let option = option.replace('-', "_");
        let quoted =
            value.len() > 1 && value.starts_with(['"', '\'']) && value.ends_with(value.chars().next().unwrap_or(' '));
        let value = if quoted { &value[1..value.len() - 1] } else { value };
        match OPTIONS.iter().find(|(name, ..)| *name == option) {
            Some((name, ..)) => {
                self.given.insert(name, (value.to_owned(), origin.to_owned()));
            }
            None => self.notes.push(format!("{origin}: {option} is no option of fleetd's and is passed over")),
        }
    }

    fn value(&self, option: &str) -> &str {
        let default = OPTIONS.iter().find(|(name, ..)| *name == option).map_or("", |(_, default, _)| default);
        self.given.get(option).map_or(default, |(value, _)| value)
    }

    fn wrong(&mut self, option: &str, expected: &str) {
        let origin = self.given.get(option).map_or("default", |(_, origin)| origin);
        let mistake = format!("{origin}: {option}={}: {expected}", self.value(option));
        self.mistakes.push(mistake);
    }

    fn fates(&mut self) {
        for (name, default, fate) in OPTIONS {
            let value = self.value(name).to_owned();
            match fate {
                Fate::Nothing(why) if value != *default => self.notes.push(format!("{name} steers nothing: {why}")),
                Fate::Refused { unless, why } if value != *unless => self.wrong(name, why),
                _ => {}
            }
        }
    }

    fn seconds(&mut self, option: &str) -> Duration {
        let parsed = self.value(option).parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let good = parsed.filter(|duration| !duration.is_zero());
        good.unwrap_or_else(|| {
            self.wrong(option, "expect seconds, for example 2.5");
            Duration::from_secs(1)
        })
    }

    fn truth(&mut self, option: &str) -> bool {
        match self.value(option) {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => true,
            "false" | "0" | "f" | "F" | "FALSE" | "False" | "" => false,
            _ => {
                self.wrong(option, "expect true or false");
                false
            }
        }
    }

    /// By what servers with `https://` are known, and as whom they are asked.
    fn tls(&mut self) -> ClientTls {
        let file = |name: &str| Some(self.value(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        let trusted_ca = file("etcd_cafile");
        let identity = match (file("etcd_certfile"), file("etcd_keyfile")) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            _ => {
                self.wrong("etcd_certfile", "a certificate and its key go together: give both files or neither");
                None
            }
        };
        ClientTls { trusted_ca, identity, ..ClientTls::default() }
    }

    fn servers(&mut self) -> Vec<Address> {
        let tls = Arc::new(self.tls());
        let text = self.value("etcd_servers").trim().trim_start_matches('[').trim_end_matches(']').to_owned();
        let words = text.split([',', ' ']).map(|word| word.trim_matches(['"', '\''])).filter(|word| !word.is_empty());
        let found: Result<Vec<Address>, _> =
            words.map(|word| Address::from_url(word).map(|address| address.secured(&tls))).collect();
        match found {
            Ok(servers) if !servers.is_empty() => servers,
            Ok(_) => {
                self.wrong("etcd_servers", "expect at least one URL");
                Vec::new()
            }
            Err(error) => {
                self.wrong("etcd_servers", &error.to_string());
                Vec::new()
            }
        }
    }

    /// `k=v,k=v`; what is no pair is dropped, as fleetd drops it, and said.
    fn metadata(&mut self) -> String {
        let text = self.value("metadata").to_owned();
        let mut pairs = BTreeMap::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
                    pairs.insert(key.to_owned(), value.to_owned());
                }
                _ => self.notes.push(format!("metadata: `{word}` is no key=value and is dropped")),
            }
        }
        pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    fn settle(mut self) -> Result<Options, Vec<String>> {
        self.fates();
        let level = if self.value("verbosity").parse::<i64>().unwrap_or(0) > 0 { "debug" } else { "info" };
        let ttl_ms = match crate::unit::value::time_span(self.value("agent_ttl")).ok().and_then(|span| span.finite()) {
            Some(ttl) => ttl.as_millis().max(1_000),
            None => {
                self.wrong("agent_ttl", "expect a duration, for example 30s");
                30_000
            }
        };
        let (servers, metadata) = (self.servers(), self.metadata());
        let interval = self.seconds("engine_reconcile_interval");
        let options = Options {
            servers,
            username: self.value("etcd_username").to_owned(),
            password: self.value("etcd_password").to_owned(),
            key_prefix: self.value("etcd_key_prefix").trim_end_matches('/').to_owned(),
            request_timeout: self.seconds("etcd_request_timeout"),
            lead_ttl: (interval * 5).max(Duration::from_secs(2)),
            disable_engine: self.truth("disable_engine"),
            socket: Some(self.value("socket").to_owned()).filter(|path| !path.is_empty()),
            pairs: vec![
                ("data_dir", self.value("data_dir").to_owned()),
                ("fleet.machine_id", self.value("machine_id").to_owned()),
                ("fleet.executor", self.value("executor").to_owned()),
                ("fleet.units_dir", self.value("units_directory").to_owned()),
                ("fleet.public_ip", self.value("public_ip").to_owned()),
                ("fleet.metadata", metadata),
                ("fleet.presence_ms", ttl_ms.to_string()),
                ("fleet.enabled", "true".to_owned()),
                ("log.level", level.to_owned()),
            ],
            notes: self.notes,
        };
        if self.mistakes.is_empty() { Ok(options) } else { Err(self.mistakes) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(text: &str) -> Result<Options, Vec<String>> {
        read(Some(("fleet.conf", text)), std::iter::empty())
    }

    fn pair<'a>(options: &'a Options, key: &str) -> &'a str {
        &options.pairs.iter().find(|(name, _)| *name == key).unwrap().1
    }

    #[test]
    fn f_defaults_are_fleets() {
        let options = read(None, std::iter::empty()).unwrap();
        let servers: Vec<String> = options.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:2379", "127.0.0.1:4001"]);
        assert_eq!(options.key_prefix, "/_coreos.com/fleet");
        assert_eq!((options.request_timeout, options.lead_ttl), (Duration::from_secs(1), Duration::from_secs(10)));
        assert_eq!(pair(&options, "fleet.presence_ms"), "30000");
        assert_eq!((options.notes.len(), options.disable_engine), (0, false));
        assert_eq!(options.socket.as_deref(), Some("/run/fleet.sock"));
    }

    #[test]
    fn f_files_and_variables_as_people_write_them() {
        let text = "# a comment\n; another\n\nverbosity=1\netcd_servers=[\"http://10.0.0.1:2379\", \"http://10.0.0.2:4001\"]\n\
                    public_ip = \"10.0.0.9\"\nmetadata=\"region=r1, disk=ssd,bad,region=r2\"\nagent-ttl=3s\n\
                    engine_reconcile_interval=0.5\ntoken_limit=50\nbogus=1\n";
        let variables = [("FLEET_PUBLIC_IP", "10.0.0.8"), ("FLEET_DISABLE_ENGINE", "true"), ("PATH", "/bin")];
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = read(Some(("fleet.conf", text)), variables).unwrap();
        assert_eq!(options.servers.len(), 2);
        assert_eq!(pair(&options, "fleet.public_ip"), "10.0.0.8");
        assert_eq!(pair(&options, "fleet.metadata"), "disk=ssd,region=r2");
        assert_eq!(pair(&options, "fleet.presence_ms"), "3000");
        assert_eq!(pair(&options, "log.level"), "debug");
        assert_eq!((options.lead_ttl, options.disable_engine), (Duration::from_millis(2_500), true));
        let notes = ["fleet.conf:11: bogus is no option", "token_limit steers nothing", "`bad` is no key=value"];
        for expected in notes {
            assert!(options.notes.iter().any(|note| note.contains(expected)), "{expected}: {:?}", options.notes);
        }
    }

    #[test]
    fn f_what_cannot_be_is_refused_with_its_place() {
        for (text, expected) in [
            ("etcd_servers=", "expect at least one URL"),
            ("agent_ttl=soon", "agent_ttl=soon: expect a duration"),
            ("\nengine_reconcile_interval=-1", "fleet.conf:2: engine_reconcile_interval=-1"),
            ("disable_engine=maybe", "expect true or false"),
            ("etcd_certfile=/c.pem", "etcd_certfile=/c.pem: a certificate and its key go together"),
            ("systemd_user=true", "run fleetd as root"),
            ("nonsense", "fleet.conf:1: `nonsense` is not option=value"),
        ] {
            let mistakes = with(text).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{text:?}: {mistakes:?}");
        }
    }
}
