//! Cases of precedence, of mistakes and of ids.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

fn flags(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn input(toml: &str, env: &[(&str, &str)], arguments: &str) -> Fragment {
    let mut input = fragment::defaults();
    input.overlay(fragment::from_toml(Path::new("node.toml"), toml));
    input.overlay(fragment::from_env(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))));
    input.overlay(fragment::from_flags(&flags(arguments)).0);
    input
}

#[test]
fn heartbeats_are_a_fifth_of_an_election_at_most() {
    let timing = |toml: &str| {
        let settings = settle(&input(toml, &[], ""), "host").map_err(|mistakes| mistakes.to_string())?;
        Ok::<_, String>((settings.heartbeat_ms, settings.election_ms))
    };
    assert_eq!(timing("election_ms = 500"), Ok((100, 500)));
    assert_eq!(timing("election_ms = 5000"), Ok((200, 5000)));
    assert_eq!(timing("heartbeat_ms = 100\nelection_ms = 500"), Ok((100, 500)));
    let refused = timing("heartbeat_ms = 200\nelection_ms = 500").unwrap_err();
    assert!(refused.contains("from 1000 to 60000"), "{refused}");
}

#[test]
fn flags_beat_variables_beat_files_beat_defaults() {
    let toml = "name = \"file\"\ndata_dir = \"/file\"\n[client]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    let input =
        input(toml, &[("NODE_NAME", "env"), ("NODE_DATA_DIR", "/env"), ("NODE_ENV", "production")], "--name=flag");
    let settings = settle(&input, "host").unwrap();
    assert_eq!(settings.name, "flag");
    assert_eq!(settings.data_dir, Path::new("/env"));
    assert_eq!(settings.client_listen.len(), 2);
    assert_eq!((settings.heartbeat_ms, settings.election_ms), (200, 1000));
    let shown = show(&input);
    assert!(shown.contains("= flag  (--name)"), "{shown}");
    assert!(shown.contains("(NODE_DATA_DIR)"), "{shown}");
    assert!(shown.contains("(node.toml:4)"), "{shown}");
}

#[test]
fn all_mistakes_are_told_at_once_with_place_and_remedy() {
    let toml = "nmae = \"a\"\nheartbeat_ms = \"soon\"\n[peer]\nlisten = \"nowhere\"\n[fleet]\nexecutor = \"k8s\"\nmetadata = [\"a\"]\n";
    let Mistakes(mistakes) =
        settle(&input(toml, &[("NODE_LOG_LEVEL", "loud")], "--clint-listen x:1 --name"), "h").unwrap_err();
    let all = mistakes.join("\n");
    for expected in [
        "node.toml:1: unknown key `nmae`; did you mean `name`?",
        "node.toml:2: `heartbeat_ms` is `soon`",
        "node.toml:4: `peer.listen` is `nowhere`",
        "node.toml:6: `fleet.executor` is `k8s`",
        "node.toml:7: `fleet.metadata` is `a`",
        "NODE_LOG_LEVEL: `log.level` is `loud`",
        "unknown flag `--clint-listen`; did you mean `--client-listen`?",
        "`--name` needs a value",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin: {all}");
    }
}

#[test]
fn a_certificate_makes_listeners_speak_tls_unless_they_say_otherwise() {
    let files = "--client-cert-file c.pem --client-key-file k.pem";
    let settled = |arguments: &str| settle(&input("", &[], &format!("--name a {arguments}")), "h");
    let settings = settled(&format!("{files} --client-listen 127.0.0.1:1,http://127.0.0.1:2")).unwrap();
    assert_eq!(settings.client_advertise, ["https://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert_eq!(settings.peers[0].urls, ["http://127.0.0.1:2380"]);
    let peers = settled("--peer-auto-tls true").unwrap();
    assert_eq!(peers.peers[0].urls, ["https://127.0.0.1:2380"]);
    for (arguments, expected) in [
        ("--client-listen https://127.0.0.1:1", "needs a certificate: client.cert_file and client.key_file"),
        ("--client-cert-file c.pem", "`client.key_file` is ``: client.cert_file is given"),
        ("--peer-key-file k.pem", "`peer.cert_file` is ``: peer.key_file is given"),
        ("--client-trusted-ca-file ca.pem", "needs client.cert_file and client.key_file to ask for certificates"),
        (&format!("{files} --client-client-cert-auth true"), "name who vouches for clients: client.trusted_ca_file"),
        ("--peer-auto-tls true --peer-cert-allowed-cn a", "name who vouches for clients: peer.trusted_ca_file"),
    ] {
        let mistakes = settled(arguments).unwrap_err().0.join("\n");
        assert!(mistakes.contains(expected), "{arguments}: {mistakes}");
    }
}

#[test]
fn history_and_disk_take_times_sizes_and_off() {
    let settings = |arguments: &str| settle(&input("", &[], arguments), "h");
    let default = settings("").unwrap();
    assert_eq!(default.history.keep_ms, Some(86_400_000));
    assert_eq!((default.history.bytes_max, default.history.revisions), (Some(2 << 30), None));
    assert_eq!(
        (default.disk.warn_percent, default.disk.full_percent, default.disk.free_bytes_min),
        (80, 95, 128 << 20)
    );
    let own = settings("--history-keep 7d --history-max 512M --history-revisions 10 --disk-free-min 0").unwrap();
    assert_eq!(own.history.keep_ms, Some(7 * 86_400_000));
    assert_eq!((own.history.bytes_max, own.history.revisions), (Some(512 << 20), Some(10)));
    assert_eq!(own.disk.free_bytes_min, 0);
    let off = settings("--history-keep off --history-max off").unwrap();
    assert_eq!((off.history.keep_ms, off.history.bytes_max), (None, None));
    let wrong =
        "--history-keep soon --history-max 2Gallons --history-revisions 0 --disk-full-percent 70 --disk-free-min x";
    let Mistakes(mistakes) = settings(wrong).unwrap_err();
    assert_eq!(mistakes.len(), 5, "{mistakes:?}");
    assert!(mistakes[0].contains("write a time such as 24h"), "{mistakes:?}");
}

#[test]
fn a_broken_file_names_its_lines() {
    let Mistakes(mistakes) = settle(&input("name = \n[peer\n", &[], ""), "h").unwrap_err();
    assert!(mistakes[0].starts_with("node.toml:1: "), "{mistakes:?}");
    assert!(mistakes.iter().any(|line| line.starts_with("node.toml:2: ")), "{mistakes:?}");
}

#[test]
fn a_node_must_be_among_the_members() {
    let toml = "name = \"c\"\ninitial_cluster = \"a=http://h:1,b=http://h:2\"\n";
    let Mistakes(mistakes) = settle(&input(toml, &[], ""), "h").unwrap_err();
    assert!(mistakes[0].contains("this node's name, `c`, is not among a, b"), "{mistakes:?}");
}

#[test]
fn ids_are_those_that_etcd_computes() {
    let toml = "name = \"default\"\ninitial_cluster = \"default=http://localhost:2380\"\n";
    let settings = settle(&input(toml, &[], ""), "h").unwrap();
    assert_eq!(settings.member.to_string(), "8e9e05c52164694d");
    assert_eq!(settings.cluster.to_string(), "cdf818194e3a8c32");
}

#[test]
fn every_key_has_a_flag_and_a_variable_of_its_own() {
    let mut flags: Vec<String> = keys::KEYS.iter().map(keys::Key::flag).collect();
    flags.sort();
    flags.dedup();
    assert_eq!(flags.len(), keys::KEYS.len());
    assert_eq!(keys::find("peer.listen").unwrap().variable(), "NODE_PEER_LISTEN");
}

#[test]
fn the_ports_of_etcd_0_4_can_be_served_too() {
    let toml = "[client]\nlisten = [\"127.0.0.1:2379\", \"127.0.0.1:4001\"]\n\
                [peer]\nlisten = [\"127.0.0.1:2380\", \"127.0.0.1:7001\"]\n";
    let settings = settle(&input(toml, &[], ""), "h").unwrap();
    let ports = |listens: &[Listen]| listens.iter().map(|listen| listen.address.port()).collect::<Vec<_>>();
    assert_eq!(ports(&settings.client_listen), [2379, 4001]);
    assert_eq!(ports(&settings.peer_listen), [2380, 7001]);
    let flags =
        "--client-listen 0.0.0.0:2379,0.0.0.0:4001 --client-advertise http://10.0.0.1:2379,http://10.0.0.1:4001";
    let settings = settle(&input("", &[], flags), "h").unwrap();
    assert_eq!(ports(&settings.client_listen), [2379, 4001]);
    assert_eq!(settings.client_advertise, ["http://10.0.0.1:2379", "http://10.0.0.1:4001"]);
}

#[test]
fn where_backups_go() {
    let settled = |arguments: &str| settle(&input("", &[], &format!("--name a {arguments}")), "h");
    assert_eq!(settled("").unwrap().backup, None);
    let backup = settled("--backup-to /b --backup-every 6h --backup-keep off").unwrap().backup.unwrap();
    assert_eq!((backup.to.as_str(), backup.every, backup.keep), ("/b", Some(Duration::from_secs(21_600)), None));
    let backup = settled("--backup-to s3://b/p --backup-every off").unwrap().backup.unwrap();
    assert_eq!((backup.every, backup.keep, backup.s3_region.as_str()), (None, Some(7), "us-east-1"));
    let mut wrong = vec!["--backup-every 5s", "--backup-keep 0", "--backup-keep many"];
    if cfg!(feature = "api") {
        wrong.extend(["--backup-to b", "--backup-to s3://", "--backup-to s3://b --backup-s3-endpoint h"]);
    }
    for arguments in wrong {
        let Mistakes(mistakes) = settled(arguments).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains("`backup."), "{arguments}: {mistakes:?}");
    }
}
