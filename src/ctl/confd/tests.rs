//! The command line and the settings file of confd.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use std::path::PathBuf;

use super::log::LogLevel;
use super::settings::{Failed, Mode, Settings, Start, gather};
use super::source::{address_of, environment};
use super::*;
use crate::confd::{Selection, View};
use crate::gotemplate::Str;

fn start(line: &str, variables: &[(&str, &str)]) -> Result<Start, Failed> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    gather(&words, &|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn settings(line: &str, variables: &[(&str, &str)]) -> Settings {
    match start(line, variables).unwrap() {
        Start::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_spellings_of_flags_are_taken() {
    for line in [
        "-onetime -noop -node a:1 -node=http://b:2 -prefix /p",
        "--onetime=true --noop --node a:1 --node http://b:2 --prefix=/p",
    ] {
        let settings = settings(line, &[]);
        assert_eq!((settings.mode, settings.options.noop), (Mode::Once, true), "{line}");
        assert_eq!(settings.nodes, ["a:1", "http://b:2"], "{line}");
        assert_eq!(settings.prefix, "/p");
    }
}

#[test]
fn defaults_are_confds() {
    let settings = settings("-config-file /nowhere", &[]);
    assert_eq!(settings.backend.name(), "etcd");
    assert_eq!(settings.mode, Mode::Interval(Duration::from_secs(600)));
    assert_eq!(settings.confdir, PathBuf::from("/etc/confd"));
    assert_eq!(settings.log_level, LogLevel::Info);
    assert_eq!(settings.nodes, Vec::<String>::new());
}

#[test]
fn flags_beat_the_file_and_the_file_beats_variables_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("confd.toml");
    let text = "Backend = \"env\"\ninterval = 7\nnodes = [\"f:1\"]\nprefix = \"/file\"\nwatch = false\nlog-level = \"debug\"\nunknown = 1\n";
    std::fs::write(&path, text).unwrap();
    let variables = [("ETCDCTL_PEERS", "http://v:1, http://w:2")];
    let from_file = settings(&format!("-config-file {}", path.display()), &variables);
    assert_eq!(from_file.backend.name(), "env");
    assert_eq!((from_file.mode, from_file.prefix.as_str()), (Mode::Interval(Duration::from_secs(7)), "/file"));
    assert_eq!((from_file.nodes, from_file.log_level), (vec!["f:1".to_owned()], LogLevel::Debug));
    let flags =
        format!("-config-file {} -backend etcdv3 -interval 3 -node n:1 -prefix /flag -log-level error", path.display());
    let from_flags = settings(&flags, &variables);
    assert_eq!((from_flags.backend.name(), from_flags.prefix.as_str()), ("etcdv3", "/flag"));
    assert_eq!((from_flags.mode, from_flags.nodes), (Mode::Interval(Duration::from_secs(3)), vec!["n:1".to_owned()]));
    assert_eq!(settings("-config-file /none", &variables).nodes, ["http://v:1", "http://w:2"]);
    std::fs::write(&path, "\ninterval = \"x\"\n").unwrap();
    let wrong = start(&format!("-config-file {}", path.display()), &[]).unwrap_err();
    assert!(matches!(&wrong, Failed::Fatal(message) if message.contains("confd.toml:2: interval")), "{wrong:?}");
}

#[test]
fn the_forks_backend_word_and_old_flags_are_taken() {
    assert_eq!(settings("etcdv3 --node a:1 --watch", &[]).mode, Mode::Watch);
    assert_eq!(settings("-debug", &[]).log_level, LogLevel::Debug);
    assert_eq!(settings("-quiet", &[]).log_level, LogLevel::Error);
    assert_eq!(settings("-srv-domain example.org", &[]).srv_record.as_deref(), Some("_etcd._tcp.example.org."));
    assert_eq!(start("-version", &[]), Ok(Start::Version));
    assert_eq!(start("--help", &[]), Ok(Start::Help));
}

#[test]
fn what_is_wrong_has_confds_exit_code() {
    let usage = ["-nope", "etcd beyond", "-interval", "-interval x", "-onetime=perhaps"];
    for line in usage {
        assert!(matches!(start(line, &[]), Err(Failed::Usage(_))), "{line}");
    }
    let fatal = [
        "-backend consul",
        "-backend file",
        "-log-level loud",
        "-client-cert /x",
        "-basic-auth",
        "-scheme ftp",
        "zookeeper",
    ];
    for line in fatal {
        assert!(matches!(start(line, &[]), Err(Failed::Fatal(_))), "{line}");
    }
    assert!(matches!(start("", &[("CONFD_CLIENT_KEY", "/x")]), Err(Failed::Fatal(_))));
    let login = settings("-basic-auth -username u -password p", &[]).login.unwrap();
    assert_eq!((login.user.as_str(), login.password.as_str()), ("u", "p"));
    assert_eq!(settings("-username u -password p", &[]).login, None);
}

#[test]
fn nodes_are_read_as_people_write_them() {
    let none = Arc::default();
    for (node, expected) in [
        ("http://127.0.0.1:2379", "127.0.0.1:2379"),
        ("a:1", "a:1"),
        ("http://[::1]:4001/", "[::1]:4001"),
        ("https://a:1", "https://a:1"),
    ] {
        assert_eq!(address_of(node, &none).unwrap().to_string(), expected);
    }
    let secured = settings("-client-ca-keys ca.pem", &[]).tls;
    assert_eq!(address_of("a:1", &secured).unwrap().to_string(), "https://a:1");
    assert!(address_of("http://a", &none).unwrap_err().contains("node http://a"));
}

#[test]
fn variables_are_keys() {
    let variables =
        [("APP_PORT", "1"), ("APPLE", "2"), ("APP", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let snapshot = environment(variables.into_iter());
    let view = View::new(&Selection::new("/".into(), &["/app".into()]), &snapshot.keys);
    assert_eq!((view.len(), view.get("/app/port")), (2, Some(&Str::from("1"))));
}

#[test]
fn what_is_to_be_done_may_be_a_word_or_a_flag() {
    for line in ["check", "-check-config", "etcd check", "check --confdir /c"] {
        assert_eq!(settings(line, &[]).mode, Mode::Check, "{line}");
    }
    let mock = Some(PathBuf::from("k.yaml"));
    for line in ["validate -mock k.yaml", "--validate --mock-data k.yaml", "env validate --mock=k.yaml"] {
        assert_eq!(settings(line, &[]).mode, Mode::Validate(mock.clone()), "{line}");
    }
    let files = settings("file -file a.yaml --file b -filter *.json -watch", &[]);
    assert_eq!((files.files, files.filter.as_str()), (vec!["a.yaml".into(), "b".into()], "*.json"));
}
