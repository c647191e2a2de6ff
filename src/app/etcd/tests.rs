//! Flags, variables and files of etcd, and the settings that they become.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::flags::{self, Kind};
use super::input::{self, FlagError, Input};
use super::log::{Format, Output};
use super::plan::{self, Plan};
use super::{file, founding};
use crate::app::settings::{self, Settings};

/// The words of a command line; `''` is an empty one.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn read(line: &str, variables: &[(&str, &str)]) -> Result<Input, String> {
    let mut input = input::from_arguments(&words(line)).map_err(|error| format!("{error:?}"))?;
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    input::add_variables(&mut input, variables)?;
    Ok(input)
}

fn planned(line: &str, variables: &[(&str, &str)]) -> Result<Plan, String> {
    plan::plan(&read(line, variables)?, "192.0.2.7").map_err(|mistakes| mistakes.join("\n"))
}

fn settled(plan: &Plan) -> Settings {
    settings::settle(&plan.settings, "localhost").unwrap()
}

/// The setting at `path` as text, for tables.
fn value(plan: &Plan, path: &str) -> String {
    plan.settings.entries[path].value.clone()
}

#[test]
fn flags_and_variables_become_settings() {
    const CLUSTER: &str = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380";
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        (
            "",
            &[],
            &[
                ("name", "default"),
                ("data_dir", "default.etcd"),
                ("initial_cluster", "default=http://localhost:2380"),
                ("cluster_token", "etcd-cluster"),
                ("peer.listen", "http://127.0.0.1:2380"),
                ("client.listen", "http://127.0.0.1:2379"),
                ("client.advertise", "http://localhost:2379"),
                ("client.socket", ""),
                ("fleet.enabled", "false"),
                ("template.enabled", "false"),
                ("heartbeat_ms", "100"),
                ("election_ms", "1000"),
                ("log.level", "info"),
            ],
        ),
        ("--name=n1", &[], &[("data_dir", "n1.etcd"), ("initial_cluster", "n1=http://localhost:2380")]),
        ("-name n1 -data-dir /d", &[("ETCD_NAME", "n2")], &[("name", "n1"), ("data_dir", "/d")]),
        (
            "",
            &[("ETCD_NAME", "n2"), ("ETCD_DATA_DIR", "/e"), ("ETCD_LOG_LEVEL", "")],
            &[("name", "n2"), ("data_dir", "/e")],
        ),
        ("--name a --name b", &[], &[("name", "b")]),
        ("--heartbeat-interval 0x32 --election-timeout=500", &[], &[("heartbeat_ms", "50"), ("election_ms", "500")]),
        ("--experimental-watch-progress-notify-interval 1m0.5s", &[], &[("client.watch_progress_ms", "60500")]),
        ("--watch-progress-notify-interval=100ms", &[], &[("client.watch_progress_ms", "100")]),
        ("--debug --log-level=error", &[], &[("log.level", "debug")]),
        ("--debug=F --log-level=panic", &[], &[("log.level", "error")]),
        (
            "--listen-client-urls http://0.0.0.0:2379,http://[::1]:4001,unix:///run/e.sock,unix://local:1 --advertise-client-urls http://h:1,http://h:2",
            &[],
            &[
                ("client.listen", "http://0.0.0.0:2379,http://[::1]:4001"),
                ("client.socket", "/run/e.sock,local:1"),
                ("client.advertise", "http://h:1,http://h:2"),
            ],
        ),
        (
            "--listen-client-urls http://127.0.0.1:1 --listen-client-http-urls http://127.0.0.1:2 --advertise-client-urls http://h:1",
            &[],
            &[("client.listen", "http://127.0.0.1:1,http://127.0.0.1:2")],
        ),
        (
            "--listen-client-urls unix://s --advertise-client-urls unix://s",
            &[],
            &[("client.listen", ""), ("client.socket", "s"), ("client.advertise", "unix://s")],
        ),
        (
            "--name a --listen-peer-urls http://10.0.0.1:2380,http://10.0.0.1:7001",
            &[("ETCD_INITIAL_CLUSTER", CLUSTER), ("ETCD_INITIAL_CLUSTER_TOKEN", "t")],
            &[
                ("peer.listen", "http://10.0.0.1:2380,http://10.0.0.1:7001"),
                ("initial_cluster", CLUSTER),
                ("cluster_token", "t"),
            ],
        ),
        (
            "--name m --initial-advertise-peer-urls http://h:1,http://h:2",
            &[],
            &[("initial_cluster", "m=http://h:1,m=http://h:2")],
        ),
        (
            "--listen-peer-urls http://0.0.0.0:2390 --listen-client-urls http://0.0.0.0:2389 --advertise-client-urls http://localhost:2379",
            &[],
            &[("initial_cluster", "default=http://192.0.2.7:2390"), ("client.advertise", "http://192.0.2.7:2389")],
        ),
        (
            "--name m --initial-advertise-peer-urls http://localhost:1 --initial-cluster m=http://127.0.0.1:1",
            &[],
            &[("initial_cluster", "m=http://127.0.0.1:1")],
        ),
    ];
    for (line, variables, expected) in cases {
        let plan = planned(line, variables).unwrap();
        settled(&plan);
        for (path, wanted) in *expected {
            assert_eq!(value(&plan, path), *wanted, "{path} of {line:?} {variables:?}");
        }
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: &[Case] = &[
        ("--nope", &[], "flag provided but not defined: -nope"),
        ("--experimental-name x", &[], "flag provided but not defined: -experimental-name"),
        ("--name", &[], "flag needs an argument: -name"),
        ("---name x", &[], "bad flag syntax: ---name"),
        ("--=x", &[], "bad flag syntax: --=x"),
        ("--heartbeat-interval=soon", &[], "invalid value \\\"soon\\\" for flag -heartbeat-interval"),
        ("--pre-vote=maybe", &[], "invalid boolean value \\\"maybe\\\" for flag -pre-vote"),
        ("--pre-vote true", &[], "Argument(\"true\")"),
        ("--initial-cluster-state foo", &[], "write new or existing"),
        ("--name a -- b", &[], "Argument(\"b\")"),
        ("", &[("ETCD_VERSION", "3.4.23")], "invalid value \"3.4.23\" for ETCD_VERSION"),
        ("", &[("ETCD_GRPC_KEEPALIVE_TIMEOUT", "20")], "ETCD_GRPC_KEEPALIVE_TIMEOUT"),
        ("--listen-client-urls http://127.0.0.1:1", &[], "--advertise-client-urls is required"),
        ("", &[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")], "--advertise-client-urls is required"),
        ("--listen-peer-urls http://host:2380", &[], "--listen-peer-urls: expected IP in URL for binding"),
        ("--listen-peer-urls http://127.0.0.1", &[], "does not have the form \"host:port\""),
        ("--listen-peer-urls http://127.0.0.1:1/x", &[], "must not contain a path"),
        ("--listen-peer-urls unix://x", &[], "over TCP only"),
        ("--listen-peer-urls 127.0.0.1:1", &[], "URL scheme"),
        (
            "--listen-peer-urls https://127.0.0.1:1",
            &[],
            "TLS key/cert must be provided for the url https://127.0.0.1:1",
        ),
        ("--name x --initial-cluster y=http://h:1", &[], "couldn't find local name \"x\""),
        (
            "--initial-advertise-peer-urls http://h:1 --initial-cluster default=http://h:2",
            &[],
            "--initial-cluster has default=http://h:2 but --initial-advertise-peer-urls is http://h:1",
        ),
        ("--election-timeout 400", &[], "--election-timeout[400ms] should be at least as 5 times"),
        ("--election-timeout 60000", &[], "is too long"),
        ("--heartbeat-interval 0", &[], "must be >0"),
        ("--cipher-suites x", &[], "--cipher-suites: `x`: this limit on TLS is not served"),
        ("", &[("ETCD_TLS_MIN_VERSION", "TLS1.3")], "ETCD_TLS_MIN_VERSION: tls-min-version: `TLS1.3`: this limit"),
        ("--auth-token jwt,sign-method=RS256", &[], "tokens are of one kind"),
        (
            "--discovery http://h/x --initial-cluster default=http://localhost:2380",
            &[],
            "multiple discovery or bootstrap flags are set",
        ),
        ("--discovery-srv d --discovery http://h/x", &[], "multiple discovery or bootstrap flags are set"),
        ("--discovery-srv d --initial-cluster default=http://localhost:2380", &[], "multiple discovery or bootstrap"),
        ("--discovery-token x", &[], "is not served yet; use --discovery"),
        ("--host-whitelist a.example", &[], "are not served yet"),
        ("--proxy on", &[], "proxies are not served"),
        ("--force-new-cluster", &[], "not served yet"),
        ("--listen-metrics-urls http://127.0.0.1:1", &[], "not served yet"),
    ];
    for (line, variables, expected) in cases {
        let why = planned(line, variables).expect_err(line);
        assert!(why.contains(expected), "{line:?} {variables:?}\nshould say {expected}\nbut says {why}");
    }
    assert_eq!(input::from_arguments(&words("--name x -h")).unwrap_err(), FlagError::Help);
}

#[test]
fn compaction_is_etcds_where_it_is_asked_for() {
    let hour = 3_600_000;
    let cases = [
        ("", (Some(24 * hour), None, Some(2 << 30))),
        ("--auto-compaction-retention 0", (None, None, None)),
        ("--auto-compaction-retention 3", (Some(3 * hour), None, None)),
        ("--auto-compaction-retention 1h30m", (Some(hour + hour / 2), None, None)),
        ("--auto-compaction-mode revision --auto-compaction-retention 1000", (None, Some(1000), None)),
        ("--auto-compaction-mode periodic --auto-compaction-retention 90s", (Some(90_000), None, None)),
        ("--auto-compaction-mode revision", (Some(24 * hour), None, Some(2 << 30))),
    ];
    for (line, expected) in cases {
        let history = settled(&planned(line, &[]).unwrap()).history;
        assert_eq!((history.keep_ms, history.revisions, history.bytes_max), expected, "{line}");
    }
    for line in ["--auto-compaction-retention soon", "--auto-compaction-mode revision --auto-compaction-retention 1h"] {
        assert!(planned(line, &[]).unwrap_err().contains("--auto-compaction-retention: "), "{line}");
    }
}

#[test]
fn what_steers_nothing_is_said_once() {
    let line = "--snapshot-count 5 --experimental-compaction-batch-limit=3 --unsafe-no-fsync --enable-v2=false \
                --auto-compaction-retention=1h --max-txn-ops 128 --client-cert-auth=false --discovery ''";
    let plan = planned(line, &[("ETCD_QUOTA_BACKEND_BYTES", "8"), ("ETCD_NO_SUCH", "1"), ("ETCD_SNAPSHOT_COUNT", "6")]);
    let warnings = plan.unwrap().warnings;
    let all = warnings.join("\n");
    for expected in [
        "unrecognized environment variable ETCD_NO_SUCH",
        "ETCD_SNAPSHOT_COUNT is not used: --snapshot-count is given",
        "without meaning here, taken and not used: --snapshot-count, ETCD_QUOTA_BACKEND_BYTES, --unsafe-no-fsync, \
         --experimental-compaction-batch-limit",
        "not served yet, taken and not used: --enable-v2",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin: {all}");
    }
    assert_eq!(warnings.len(), 4, "{all}");
    assert_eq!(planned("", &[]).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn a_file_has_the_flags_names_and_stands_alone() {
    let text = "\
# etcd's own example, shortened
name: 'yaml'
data-dir: /y
wal-dir:
snapshot-count: 10000
heartbeat-interval: 50
election-timeout: 500
listen-peer-urls: http://127.0.0.1:1,http://127.0.0.1:2
listen-client-urls: \"http://127.0.0.1:3\"
initial-advertise-peer-urls: http://localhost:1
discovery:
discovery-fallback: 'proxy'
initial-cluster-token: 0123
grpc-keepalive-timeout: 20000000000
proxy: 'off'
client-transport-security:
  cert-file:
  client-cert-auth: false
peer-transport-security:
  auto-tls: false
log-outputs: [stderr, /tmp/e.log]
log-format: console
cipher-suites: []
no-such-key: 1
force-new-cluster: false
";
    let input = file::read(Path::new("e.yml"), text).unwrap();
    let plan = plan::plan(&input, "").unwrap();
    let settings = settled(&plan);
    assert_eq!((settings.name.as_str(), settings.heartbeat_ms, settings.election_ms), ("yaml", 50, 500));
    assert_eq!(settings.data_dir, Path::new("/y"));
    assert_eq!((settings.peer_listen.len(), settings.client_listen.len()), (2, 1));
    assert_eq!(settings.client_advertise, ["http://localhost:2379"]);
    assert_eq!(value(&plan, "initial_cluster"), "yaml=http://localhost:1");
    assert_eq!(value(&plan, "cluster_token"), "0123");
    assert_eq!(plan.log.format, Format::Console);
    assert_eq!(plan.log.outputs, [Output::Stderr, Output::File("/tmp/e.log".into())]);
    let all = plan.warnings.join("\n");
    assert!(all.contains("e.yml:24: unknown key `no-such-key` is not used"), "{all}");
    assert!(all.contains("without meaning here, taken and not used: e.yml:5"), "{all}");
}

#[test]
fn certificates_are_followed_however_they_are_given() {
    let line = "--cert-file /c --key-file /k --trusted-ca-file /a --client-cert-auth --peer-auto-tls \
                --listen-client-urls https://127.0.0.1:1,http://127.0.0.1:2 --advertise-client-urls https://127.0.0.1:1 \
                --listen-peer-urls https://127.0.0.1:3 --initial-advertise-peer-urls https://127.0.0.1:3";
    let text = "\
listen-client-urls: https://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: https://127.0.0.1:1
listen-peer-urls: https://127.0.0.1:3
initial-advertise-peer-urls: https://127.0.0.1:3
client-transport-security:
  cert-file: /c
  key-file: /k
  trusted-ca-file: /a
  client-cert-auth: true
peer-transport-security:
  auto-tls: true
";
    let variables = [("ETCD_CERT_FILE", "/c"), ("ETCD_KEY_FILE", "/k")];
    let rest = line.replace("--cert-file /c --key-file /k", "");
    let plans = [
        planned(line, &[]).unwrap(),
        planned(&rest, &variables).unwrap(),
        plan::plan(&file::read(Path::new("e.yml"), text).unwrap(), "").unwrap(),
    ];
    for plan in plans {
        let settings = settled(&plan);
        let tls = settings.client_tls.unwrap();
        let identity = tls.identity.unwrap();
        assert_eq!((identity.certificate.as_path(), identity.key.as_path()), (Path::new("/c"), Path::new("/k")));
        assert_eq!((tls.trusted_ca.as_deref(), tls.client_cert_auth), (Some(Path::new("/a")), true));
        let within: Vec<bool> = settings.client_listen.iter().map(|listen| listen.tls).collect();
        assert_eq!(within, [true, false]);
        assert!(settings.peer_listen[0].tls && settings.peer_tls.unwrap().identity.is_none());
        assert!(
            plan.warnings.iter().any(|warning| warning.contains("http://127.0.0.1:2 is HTTP")),
            "{:?}",
            plan.warnings
        );
    }
}

#[test]
fn a_bad_file_is_refused_with_its_lines() {
    let cases = [
        ("name: [", "e.yml:"),
        ("- a\n- b\n", "e.yml:1: the file is not made of `key: value` lines"),
        ("name: a\nname: b\n", "e.yml:2: `name` is there twice"),
        ("\nheartbeat-interval: soon\n", "e.yml:2: `heartbeat-interval` is `soon`"),
        ("name:\n  a:\n    b: c\n", "e.yml:3: `a` takes"),
        ("log-outputs: [[a]]\n", "a list holds"),
        ("name: &x a\ndata-dir: *x\n", "`data-dir` takes"),
    ];
    for (text, expected) in cases {
        let mistakes = file::read(Path::new("e.yml"), text).expect_err(text).join("\n");
        assert!(mistakes.contains(expected), "{text:?} should say {expected}, says {mistakes}");
    }
    for empty in ["", "# nothing\n", "---\n"] {
        assert!(file::read(Path::new("e.yml"), empty).unwrap().given.is_empty(), "{empty:?}");
    }
}

#[test]
fn every_flag_is_there_once_and_takes_its_default() {
    for (at, flag) in flags::FLAGS.iter().enumerate() {
        assert!(flags::FLAGS[..at].iter().all(|other| other.name != flag.name), "{} twice", flag.name);
        if !flag.default.is_empty() {
            assert_eq!(flags::normal(flag.kind, flag.default).as_deref(), Some(flag.default), "{}", flag.name);
        }
    }
}

#[test]
fn values_are_read_as_go_reads_them() {
    let cases = [
        (Kind::Truth, "T", Some("true")),
        (Kind::Truth, "0", Some("false")),
        (Kind::Truth, "yes", None),
        (Kind::Number, "010", Some("8")),
        (Kind::Number, "-1", Some("-1")),
        (Kind::Number, "+7", Some("7")),
        (Kind::Number, "--1", None),
        (Kind::Number, "1s", None),
        (Kind::Number, "", None),
        (Kind::Duration, "1h15m30.5s", Some("1h15m30.5s")),
        (Kind::Duration, "0", Some("0")),
        (Kind::Duration, "-.5µs", Some("-.5µs")),
        (Kind::Duration, "20", None),
        (Kind::Duration, "", None),
        (Kind::Duration, "s", None),
        (Kind::Duration, "1d", None),
    ];
    for (kind, text, expected) in cases {
        assert_eq!(flags::normal(kind, text).as_deref(), expected, "{kind:?} {text:?}");
    }
}

#[test]
fn later_starts_go_by_what_the_first_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let first = planned("--name a --initial-cluster a=http://h:1,b=http://h:2 --initial-cluster-token t", &[]).unwrap();
    let mut unfounded = planned("", &[]).unwrap();
    assert_eq!(founding::recall(folder.path(), &mut unfounded.settings).unwrap(), Vec::<String>::new());
    founding::keep(folder.path(), &first.settings).unwrap();
    let mut later = planned("--name a --initial-cluster-token other", &[]).unwrap();
    let overruled = founding::recall(folder.path(), &mut later.settings).unwrap();
    assert_eq!(overruled, ["--initial-cluster-token is not used: this member was made with cluster_token `t`"]);
    let (first, later) = (settled(&first), settled(&later));
    assert_eq!((first.member, first.cluster), (later.member, later.cluster));
    std::fs::write(folder.path().join("founding.json"), "nonsense").unwrap();
    assert!(founding::recall(folder.path(), &mut unfounded.settings).unwrap_err().contains("founding.json"));
}
