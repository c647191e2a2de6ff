//! Cases out of the documentation and the behaviour of coreos-cloudinit, by subject.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const ALL: [&str; 19] = [
    "name",
    "data_dir",
    "discovery",
    "discovery_proxy",
    "initial_cluster",
    "initial_cluster_state",
    "cluster_token",
    "heartbeat_ms",
    "election_ms",
    "client.advertise",
    "client.listen",
    "client.socket",
    "peer.advertise",
    "peer.listen",
    "fleet.enabled",
    "fleet.public_ip",
    "fleet.metadata",
    "fleet.presence_ms",
    "log.level",
];

fn facts() -> Facts {
    Facts {
        hostname: "host".into(),
        machine_id: "69d27b356a94476da859461d3a3bc6fd".into(),
        ssh_key_name: "coreos-cloudinit".into(),
        ..Facts::default()
    }
}

fn config(body: &str) -> CloudConfig {
    let (config, problems) = read(&format!("#cloud-config\n{body}"));
    assert_eq!(problems, [], "{body}");
    config
}

/// The problems of a cloud-config as they are printed; the body begins in line 2.
fn problems(body: &str) -> Vec<String> {
    read(&format!("#cloud-config\n{body}")).1.iter().map(Problem::to_string).collect()
}

fn settings(body: &str) -> (Vec<(&'static str, String)>, Vec<String>) {
    let (found, problems) = node_settings(&config(body), &facts(), &|path| ALL.contains(&path));
    let found = found.into_iter().map(|setting| (setting.path, setting.value)).collect();
    (found, problems.iter().map(Problem::to_string).collect())
}

fn steps(body: &str) -> Vec<String> {
    let config = config(body);
    let (node, _) = node_settings(&config, &facts(), &|path| ALL.contains(&path));
    plan(&config, &facts(), Some(&node)).iter().map(Step::to_string).collect()
}

/// What a plan writes to a path.
fn written(steps: &[Step], wanted: &str) -> Option<String> {
    steps.iter().find_map(|step| match step {
        Step::WriteFile { path, content, .. } if path == wanted => String::from_utf8(content.clone()).ok(),
        Step::PlaceUnit { path, content } if path == wanted => Some(content.clone()),
        _ => None,
    })
}

#[test]
fn recognition() {
    let cases = [
        ("", Kind::Empty),
        ("\n", Kind::Empty),
        ("#cloud-config", Kind::CloudConfig),
        ("#cloud-config  \r\nhostname: a", Kind::CloudConfig),
        (" #cloud-config\n", Kind::Unrecognized),
        ("#cloud-configuration\n", Kind::Unrecognized),
        ("hostname: a\n", Kind::Unrecognized),
        ("#!/bin/bash\ntrue\n", Kind::Script),
        (r#"{"ignition":{"version":"2.0.0"}}"#, Kind::Ignition),
        (r#"{"ignitionVersion":1}"#, Kind::Ignition),
        (r#"{"other":1}"#, Kind::Unrecognized),
    ];
    for (text, expected) in cases {
        assert_eq!(recognise(text), expected, "{text:?}");
    }
}

#[test]
fn packed_user_data() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"#cloud-config\n").unwrap();
    let mut packed = encoder.finish().unwrap();
    assert_eq!(unpack(b"#cloud-config\n").unwrap(), "#cloud-config\n");
    assert_eq!(unpack(&packed).unwrap(), "#cloud-config\n");
    assert!(unpack(&packed[..packed.len() - 1]).is_err());
    *packed.last_mut().unwrap() ^= 1;
    assert!(unpack(&packed).is_err());
    assert!(unpack(b"\xff\xfe").unwrap_err().contains("byte 0"));
}

#[test]
fn substitution() {
    let addresses = Addresses { private_ipv4: "10.0.0.1".into(), public_ipv6: "::1".into(), ..Addresses::default() };
    let cases = [
        ("a: $private_ipv4:4001", "a: 10.0.0.1:4001"),
        ("$private_ipv4$private_ipv4", "10.0.0.110.0.0.1"),
        (r"\$private_ipv4 $private_ipv4", "$private_ipv4 10.0.0.1"),
        ("[$public_ipv6] <$public_ipv4>", "[::1] <>"),
        ("$ $private $HOME $", "$ $private $HOME $"),
        (r"\$HOME", r"\$HOME"),
    ];
    for (text, expected) in cases {
        assert_eq!(substitute(text, &addresses), expected, "{text}");
    }
}

#[test]
fn keys_are_the_same_with_dashes() {
    for key in ["reboot-strategy", "reboot_strategy"] {
        for off in ["off", "false", "\"off\""] {
            let config = config(&format!("coreos:\n  update:\n    {key}: {off}\n"));
            assert_eq!(config.get("update", "reboot_strategy").unwrap().value, "off", "{key}: {off}");
        }
    }
}

#[test]
fn problems_have_lines() {
    let cases: &[(&str, &[&str])] = &[
        ("hostnam: a\n", &[r#"line 2: warning: unrecognized key "hostnam"; did you mean "hostname"?"#]),
        ("coreos:\n  etcd:\n    zzz: 1\n", &[r#"line 4: warning: unrecognized key "zzz""#]),
        ("coreos:\n  units: a\n", &[r#"line 3: warning: incorrect type for "units" (want a list)"#]),
        ("coreos: []\n", &[r#"line 2: warning: incorrect type for "coreos" (want a mapping)"#]),
        ("hostname: a\nhostname: b\n", &[r#"line 3: warning: "hostname" is there twice; the last one counts"#]),
        (
            "hostname: a_b\n",
            &["line 2: error: hostname: \"a_b\" is no name of a host; write letters, digits, `-` and `.`, at most 64"],
        ),
        (
            "manage_etc_hosts: template\n",
            &[r#"line 2: error: manage_etc_hosts: invalid value "template"; it can be localhost only"#],
        ),
        ("users:\n  - gecos: nobody\n", &["line 3: warning: a user without a name is skipped"]),
        ("users:\n  - name: -x\n", &[r#"line 3: error: users: "-x" is no name of a user"#]),
        (
            "users:\n  - name: a\n    system: maybe\n",
            &[r#"line 4: warning: incorrect type for "system" (want true or false)"#],
        ),
        (
            "write_files:\n  - path: /a\n    permissions: 0888\n",
            &[r#"line 4: error: /a: invalid value "0888" of "permissions"; write it as "0644""#],
        ),
        (
            "write_files:\n  - path: /a\n    content: \"*\"\n    encoding: b64\n",
            &[r#"line 4: error: /a: content cannot be decoded as "b64": base64: Invalid symbol 42, offset 0."#],
        ),
        (
            "write_files:\n  - path: /a\n    encoding: rot13\n",
            &[r#"line 4: error: /a: content cannot be decoded as "rot13": write base64, gzip or gzip+base64"#],
        ),
        ("write_files:\n  - content: a\n", &[r#"line 3: error: write_files: "" names no file"#]),
        (
            "write_files:\n  - path: /usr/bin/a\n",
            &["line 3: warning: /usr/bin/a: /usr belongs to the system's packages; /usr/local is free in most"],
        ),
        (
            "coreos:\n  write_files: []\n",
            &[
                "line 3: info: write_files doesn't belong under coreos",
                r#"line 3: warning: unrecognized key "write_files""#,
            ],
        ),
        (
            "coreos:\n  units:\n    - name: a.service\n      command: explode\n",
            &[concat!(
                r#"line 5: error: a.service: invalid value "explode" of "command"; "#,
                "write start, stop, restart, reload, try-restart, reload-or-restart, reload-or-try-restart"
            )],
        ),
        ("coreos:\n  units:\n    - command: start\n", &["line 4: warning: a unit without a name is skipped"]),
        (
            "coreos:\n  units:\n    - name: ../a.service\n",
            &[r#"line 4: error: units: "../a.service": invalid character '/' in unit name"#],
        ),
        (
            "coreos:\n  units:\n    - name: a.service\n      drop-ins:\n        - name: ../b.conf\n          content: c\n",
            &[r#"line 6: error: a.service: "../b.conf" is no name of a drop-in"#],
        ),
        (
            "coreos:\n  update:\n    reboot-strategy: later\n",
            &[r#"line 4: error: update: invalid value "later" of "reboot_strategy"; write etcd-lock, reboot, off"#],
        ),
        (
            "coreos:\n  locksmith:\n    window_start: Foo 04:00\n    window_length: 1h\n",
            &[
                r#"line 4: error: locksmith: invalid value "Foo 04:00" of "window_start"; write it as `Thu 04:00` or `04:00`"#,
            ],
        ),
        (
            "coreos:\n  fleet:\n    verbosity: many\n",
            &[r#"line 4: warning: incorrect type for "verbosity" (want a whole number)"#],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(problems(body), *expected, "{body}");
    }
    let broken = problems("a: [\n");
    assert!(broken.len() == 1 && broken[0].contains(": error: "), "{broken:?}");
}

#[test]
fn a_mistake_leaves_the_rest() {
    let (config, problems) =
        read("#cloud-config\nhostname: a\nwrite_files:\n  - {path: /a, permissions: x}\n  - {path: /b}\n");
    assert_eq!(problems.len(), 1);
    assert_eq!(config.hostname.as_deref(), Some("a"));
    assert_eq!(config.write_files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["/b"]);
}

#[test]
fn write_files() {
    // "text" in each encoding.
    let gz = "H4sIAAAAAAACAytJrSgBAMenizsEAAAA";
    for (encoding, content) in [
        ("base64", "dGV4dA=="),
        ("b64", "dGV4dA"),
        ("gzip+base64", gz),
        ("gz+base64", gz),
        ("gzip+b64", gz),
        ("gz+b64", gz),
        ("\"\"", "text"),
    ] {
        let config = config(&format!("write_files:\n  - path: /a\n    content: {content}\n    encoding: {encoding}\n"));
        assert_eq!(config.write_files[0].content, b"text", "{encoding}");
    }
    for (permissions, mode) in
        [("\"0644\"", 0o644), ("0755", 0o755), ("600", 0o600), ("04755", 0o4755), ("\"\"", 0o644)]
    {
        let config = config(&format!("write_files:\n  - path: /a\n    permissions: {permissions}\n"));
        assert_eq!(config.write_files[0].mode, mode, "{permissions}");
    }
    for (path, absolute) in [("/a/../b", "/b"), ("etc/a", "/etc/a"), ("//a//./b", "/a/b"), ("/../../a", "/a")] {
        assert_eq!(config(&format!("write_files:\n  - path: {path}\n")).write_files[0].path, absolute);
    }
    let lines =
        steps("write_files:\n  - {path: /a, owner: \"core:docker\", content: x}\n  - {path: /b, owner: root}\n");
    assert_eq!(lines[0], "write /a, 1 byte, mode 0644, of core:docker");
    assert_eq!(lines[1], "write /b, 0 bytes, mode 0644, of root:root");
}

#[test]
fn users() {
    let body = "users:\n  - name: elroy\n    passwd: $6$x\n    gecos: Elroy J\n    homedir: /h\n    primary-group: g\n    \
                groups: [sudo, docker]\n    no-create-home: true\n    no-user-group: true\n    system: true\n    \
                no-log-init: true\n    shell: /bin/sh\n    ssh-authorized-keys:\n      - \"ssh-rsa A \"\n    \
                coreos-ssh-import-github: jon\n    coreos-ssh-import-url: https://example.org/keys\n";
    let steps = plan(&config(body), &facts(), None);
    let Step::User { arguments, passwd, .. } = &steps[0] else { panic!("{steps:?}") };
    assert_eq!(
        arguments.join("|"),
        "--password|*|--comment|Elroy J|--home-dir|/h|--gid|g|--groups|sudo,docker|--shell|/bin/sh|--no-create-home|\
         --no-user-group|--system|--no-log-init|elroy"
    );
    assert_eq!(passwd, "$6$x");
    let shown: Vec<String> = steps[1..].iter().map(Step::to_string).collect();
    assert_eq!(
        shown,
        [
            "authorize 1 SSH key of elroy, as coreos-cloudinit",
            "authorize SSH keys of elroy from https://api.github.com/users/jon/keys, as github-jon",
            "authorize SSH keys of elroy from https://example.org/keys, as coreos-cloudinit-elroy",
        ]
    );
}

#[test]
fn ssh_authorized_keys_are_of_the_user_core() {
    let alone = steps("ssh_authorized_keys: [a, b]\n");
    assert_eq!(alone[..2], ["have a user core", "authorize 2 SSH keys of core, as coreos-cloudinit"]);
    let both = steps("ssh_authorized_keys: [a, b]\nusers:\n  - name: core\n    ssh_authorized_keys: [c]\n");
    assert_eq!(both[..2], ["have a user core", "authorize 3 SSH keys of core, as coreos-cloudinit"]);
}

#[test]
fn hostname_and_etc_hosts() {
    let steps = plan(&config("hostname: core-01\nmanage_etc_hosts: localhost\n"), &facts(), None);
    assert_eq!(steps[0], Step::Hostname("core-01".into()));
    assert_eq!(written(&steps, "/etc/hosts").unwrap(), "127.0.0.1 core-01\n");
    let steps = plan(&config("manage_etc_hosts: localhost\n"), &facts(), None);
    assert_eq!(written(&steps, "/etc/hosts").unwrap(), "127.0.0.1 host\n");
}

#[test]
fn etc_environment() {
    let addresses =
        Addresses { public_ipv4: "1.2.3.4".into(), private_ipv4: "10.0.0.1".into(), ..Addresses::default() };
    let environment = "PATH=/bin\nCOREOS_PRIVATE_IPV4=old\n# end".into();
    let facts = Facts { addresses, environment, ..facts() };
    let text = written(&plan(&config(""), &facts, None), "/etc/environment").unwrap();
    assert_eq!(text, "PATH=/bin\nCOREOS_PRIVATE_IPV4=10.0.0.1\n# end\nCOREOS_PUBLIC_IPV4=1.2.3.4\n");
    let again = Facts { environment: text.clone(), ..facts.clone() };
    assert_eq!(written(&plan(&config(""), &again, None), "/etc/environment").unwrap(), text);
    let own = plan(&config("write_files:\n  - {path: /etc/environment, content: A=b}\n"), &facts, None);
    assert_eq!(written(&own, "/etc/environment").unwrap(), "A=b");
}

#[test]
fn update() {
    let facts = Facts { update_conf: "GROUP=alpha\nREBOOT_STRATEGY=reboot\n#x\n".into(), ..facts() };
    let body = "coreos:\n  update:\n    reboot-strategy: off\n    group: beta\n    server: https://example.org/\n";
    let steps = plan(&config(body), &facts, None);
    let conf = written(&steps, "/etc/coreos/update.conf").unwrap();
    assert_eq!(conf, "GROUP=beta\nREBOOT_STRATEGY=off\n#x\nSERVER=https://example.org/\n");
    let shown: Vec<String> = steps[1..].iter().map(Step::to_string).collect();
    assert_eq!(
        shown,
        [
            "mask /run/systemd/system/locksmithd.service",
            "systemctl daemon-reload, if a unit's file was changed",
            "systemctl stop locksmithd.service, if there is such a unit",
            "systemctl restart update-engine.service, if there is such a unit",
        ]
    );
}

#[test]
fn flannel_locksmith_and_oem() {
    let body = "coreos:\n  flannel:\n    interface: 10.0.0.1\n    etcd_prefix: /x\n  locksmith:\n    window-start: Thu 04:00\n    \
                window-length: 1h30m\n    endpoint: http://e\n  oem:\n    id: vagrant\n    name: \"A \\\"b\\\"\"\n";
    let steps = plan(&config(body), &facts(), None);
    assert_eq!(
        written(&steps, "/run/flannel/options.env").unwrap(),
        "FLANNELD_ETCD_PREFIX=/x\nFLANNELD_IFACE=10.0.0.1"
    );
    assert_eq!(
        written(&steps, "/run/systemd/system/locksmithd.service.d/20-cloudinit.conf").unwrap(),
        "[Service]\nEnvironment=\"LOCKSMITHD_ENDPOINT=http://e\"\nEnvironment=\"REBOOT_WINDOW_START=Thu 04:00\"\n\
         Environment=\"REBOOT_WINDOW_LENGTH=1h30m\"\n"
    );
    assert_eq!(
        written(&steps, "/etc/oem-release").unwrap(),
        "ID=vagrant\nVERSION_ID=\nNAME=\"A \\\"b\\\"\"\nHOME_URL=\"\"\nBUG_REPORT_URL=\"\"\n"
    );
}

#[test]
fn units_are_placed_then_systemd_reloads_then_commands_run_in_their_order() {
    let body = "coreos:\n  units:\n    - name: b.service\n      command: restart\n    - name: a.service\n      command: start\n      \
                enable: true\n      content: |\n        [Service]\n      drop-ins:\n        - name: 10-x.conf\n          content: |\n            \
                [Unit]\n    - name: r.service\n      runtime: true\n      enable: true\n      content: x\n    - name: m.service\n      \
                mask: true\n    - name: 50-eth.network\n      runtime: true\n      enable: true\n      command: start\n      content: y\n";
    assert_eq!(
        steps(body)[1..],
        [
            "write /etc/systemd/system/a.service, 10 bytes",
            "write /etc/systemd/system/a.service.d/10-x.conf, 7 bytes",
            "systemctl enable a.service",
            "write /run/systemd/system/r.service, 1 byte",
            "unmask /run/systemd/system/r.service",
            "systemctl enable --runtime r.service",
            "mask /etc/systemd/system/m.service",
            "write /run/systemd/network/50-eth.network, 1 byte, mode 0644",
            "unmask /run/systemd/network/50-eth.network",
            "systemctl daemon-reload, if a unit's file was changed",
            "systemctl restart systemd-networkd.service",
            "systemctl restart b.service",
            "systemctl start a.service",
        ]
    );
}

#[test]
fn the_tutorial_of_2014() {
    let text = include_str!("../../config/usr/share/doc/node/examples/cloud-config/etcd.yaml");
    let addresses = Addresses { private_ipv4: "172.17.8.101".into(), ..Addresses::default() };
    let (config, problems) = read(&substitute(text, &addresses));
    assert_eq!(problems, []);
    let (node, problems) = node_settings(&config, &facts(), &|path| ALL.contains(&path));
    assert_eq!(problems, []);
    assert_eq!(
        render(&node),
        "# Written by `node cloudinit` from the user-data whenever it runs: a change here does not last.\n\
         discovery = \"http://172.17.8.100:2379/3e86b59982e49066c5d813af1c2e2579\"\n\
         client.advertise = \"http://172.17.8.101:4001\"\n\
         client.listen = \"0.0.0.0:4001,127.0.0.1:2379\"\n\
         peer.advertise = \"http://172.17.8.101:7001\"\n\
         peer.listen = \"0.0.0.0:7001\"\n\
         fleet.metadata = \"region=eu,disk=ssd\"\n\
         fleet.public_ip = \"172.17.8.101\"\n"
    );
    let steps: Vec<String> = plan(&config, &facts(), Some(&node)).iter().map(Step::to_string).collect();
    assert_eq!(
        steps[1..],
        [
            "call node.service etcd.service too",
            "call node.service etcd2.service too",
            "call node.service fleet.service too",
            "systemctl daemon-reload, if a unit's file was changed",
            "systemctl start node.service, anew if its settings were changed",
        ]
    );
}

#[test]
fn the_tutorial_of_2015() {
    let text = include_str!("../../config/usr/share/doc/node/examples/cloud-config/etcd2.yaml");
    let address = "172.17.8.101".to_owned();
    let addresses = Addresses { private_ipv4: address.clone(), public_ipv4: address, ..Addresses::default() };
    let (config, problems) = read(&substitute(text, &addresses));
    assert_eq!(problems, []);
    let (node, problems) = node_settings(&config, &facts(), &|path| ALL.contains(&path));
    assert_eq!(problems, []);
    let value = |path: &str| node.iter().find(|setting| setting.path == path).map(|setting| setting.value.as_str());
    assert_eq!(value("client.listen"), Some("0.0.0.0:2379,0.0.0.0:4001"));
    assert_eq!(value("peer.listen"), Some("172.17.8.101:2380"));
    assert_eq!(value("cluster_token"), Some("vagrant"));
    let steps: Vec<String> = plan(&config, &facts(), Some(&node)).iter().map(Step::to_string).collect();
    let commands: Vec<&str> = steps.iter().filter_map(|step| step.strip_prefix("systemctl ")).collect();
    assert_eq!(
        commands,
        [
            "enable docker-tcp.socket",
            "daemon-reload, if a unit's file was changed",
            "start node.service, anew if its settings were changed",
            "start flanneld.service, if there is such a unit",
            "start docker-tcp.socket",
            "stop locksmithd.service, if there is such a unit",
        ]
    );
}

#[test]
fn addresses_of_etcd_04() {
    /// The section, the addresses of this machine, and the settings that come of them.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: &[Case] = &[
        (
            "addr: 10.0.0.1",
            "",
            &[("client.advertise", "http://10.0.0.1:4001"), ("client.listen", "0.0.0.0:4001,127.0.0.1:2379")],
        ),
        (
            "addr: 10.0.0.1:2379",
            "bind-addr: 10.0.0.1",
            &[("client.advertise", "http://10.0.0.1:2379"), ("client.listen", "10.0.0.1:2379")],
        ),
        ("bind-addr: 0.0.0.0", "", &[("client.listen", "0.0.0.0:4001,127.0.0.1:2379")]),
        (
            "peer-addr: 10.0.0.1:7005",
            "peer-bind-addr: 10.0.0.1:7006",
            &[("peer.advertise", "http://10.0.0.1:7005"), ("peer.listen", "10.0.0.1:7006")],
        ),
        (
            "peer-heartbeat-interval: 50",
            "peer-election-timeout: 500",
            &[("heartbeat_ms", "50"), ("election_ms", "500")],
        ),
        ("very-verbose: true", "", &[("log.level", "debug")]),
    ];
    for (one, two, expected) in cases {
        let (found, problems) = settings(&format!("coreos:\n  etcd:\n    {one}\n    {two}\n"));
        assert_eq!(problems, Vec::<String>::new(), "{one} {two}");
        let found: Vec<(&str, &str)> = found.iter().map(|(path, value)| (*path, value.as_str())).collect();
        for pair in *expected {
            assert!(found.contains(pair), "{one} {two}: {found:?}");
        }
        assert_eq!(found.len(), expected.len(), "{one} {two}: {found:?}");
    }
}

#[test]
fn what_has_no_meaning_is_said_once_and_what_would_mislead_is_refused() {
    let cases: &[(&str, &[&str])] = &[
        (
            "etcd2:\n    name: a\n    max_wals: 3\n    wal_dir: /w\n",
            &["line 5: info: etcd2: without meaning here, taken and not used: max_wals, wal_dir"],
        ),
        (
            "etcd2:\n    proxy: on\n",
            &[
                r#"line 4: error: etcd2: "proxy" is "on": there are no proxies: make this machine a member, or leave out its etcd section"#,
            ],
        ),
        ("etcd2:\n    proxy: off\n", &[]),
        ("etcd2:\n    force_new_cluster: false\n", &[]),
        (
            "etcd:\n    peers: 10.0.0.1:7001\n",
            &[
                r#"line 4: warning: etcd: "peers" steers nothing: members are found by discovery or by etcd2's initial_cluster"#,
            ],
        ),
        (
            "etcd2:\n    cors: \"*\"\n",
            &[r#"line 4: warning: etcd2: "cors" steers nothing: this node has no setting client.cors"#],
        ),
        (
            "fleet:\n    etcd_servers: http://x\n    token_limit: 50\n",
            &["line 4: info: fleet: without meaning here, taken and not used: etcd_servers, token_limit"],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(settings(&format!("coreos:\n  {body}")).1, *expected, "{body}");
    }
}

#[test]
fn of_two_etcd_sections_the_newer_counts_unless_only_the_older_is_started() {
    let both = "coreos:\n  etcd:\n    name: old\n  etcd2:\n    name: new\n";
    let name = |body: &str| settings(body).0[0].1.clone();
    assert_eq!(name(both), "new");
    assert_eq!(name(&format!("{both}  units:\n    - {{name: etcd.service, command: start}}\n")), "old");
    let stop = "    - {name: etcd.service, command: stop, mask: true}\n    - {name: etcd2.service, command: start}\n";
    let body = format!("{both}  units:\n{stop}");
    assert_eq!(name(&body), "new");
    let last = steps(&body).pop().unwrap();
    assert_eq!(last, "systemctl start node.service, anew if its settings were changed");
}

#[test]
fn a_service_with_a_unit_of_its_own_stays_that_service() {
    let body = "coreos:\n  etcd2:\n    name: a\n    snapshot_count: 5\n    debug: false\n  units:\n    - name: etcd2.service\n      \
                command: start\n      content: x\n";
    assert_eq!(settings(body).0, []);
    let config = config(body);
    let steps = plan(&config, &facts(), Some(&[]));
    assert_eq!(
        written(&steps, "/run/systemd/system/etcd2.service.d/20-cloudinit.conf").unwrap(),
        "[Service]\nEnvironment=\"ETCD_NAME=a\"\nEnvironment=\"ETCD_SNAPSHOT_COUNT=5\"\n"
    );
    assert!(steps.iter().any(|step| step.to_string() == "systemctl start etcd2.service"), "{steps:?}");
    assert!(!steps.iter().any(|step| matches!(step, Step::Alias(_))), "{steps:?}");
}

#[test]
fn members_are_named_by_machine_id_where_names_do_not_tell_them_apart() {
    let id = facts().machine_id;
    let by_id = format!("coreos:\n  etcd2:\n    initial_cluster: {id}=http://10.0.0.1:2380\n");
    assert!(settings(&by_id).0.contains(&("name", id.clone())));
    let (config, _) = read("#cloud-config\ncoreos:\n  etcd2:\n    data_dir: /d\n");
    let nameless = Facts { hostname: "localhost".into(), ..facts() };
    let (found, _) = node_settings(&config, &nameless, &|path| ALL.contains(&path));
    assert!(found.iter().any(|setting| setting.path == "name" && setting.value == id));
}

#[test]
fn fleet_becomes_settings() {
    let (found, problems) = settings("coreos:\n  fleet:\n    agent_ttl: 30s\n    metadata: a=b\n    verbosity: 1\n");
    assert_eq!(problems, Vec::<String>::new());
    let expected = [("fleet.presence_ms", "30000"), ("fleet.metadata", "a=b"), ("log.level", "debug")];
    assert_eq!(found, expected.map(|(path, value)| (path, value.to_owned())));
    let masked = settings("coreos:\n  units:\n    - {name: fleet.service, mask: true}\n").0;
    assert_eq!(masked, [("fleet.enabled", "false".to_owned())]);
}

#[test]
fn without_settings_the_nodes_file_goes_and_with_wrong_ones_the_node_is_left_alone() {
    assert_eq!(plan(&config(""), &facts(), Some(&[])), [Step::RemoveFile(NODE_SETTINGS.into())]);
    let body =
        "coreos:\n  etcd2:\n    proxy: on\n  units:\n    - {name: etcd2.service, command: start, enable: true}\n";
    let steps = plan(&config(body), &facts(), None);
    assert!(!steps.iter().any(|step| step.to_string().contains("start node.service")), "{steps:?}");
}

#[test]
fn anchors_and_merges() {
    let config = config("users:\n  - &a {name: a, shell: /bin/sh}\n  - <<: *a\n    name: b\n");
    assert_eq!((config.users[1].name.as_str(), config.users[1].shell.as_str()), ("b", "/bin/sh"));
    // Each line stands for ten of the one before.
    let mut bomb = "#cloud-config\na0: &a0 x\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let (_, problems) = read(&bomb);
    assert!(problems[0].message.contains("more than 100000 values"), "{problems:?}");
    let deep = format!("#cloud-config\na: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(read(&deep).1[0].message.contains("nested"));
}

proptest! {
    #[test]
    fn nonsense_is_no_panic(text in "\\PC{0,200}", cut in 0usize..2000) {
        let _ = read(&format!("#cloud-config\n{text}"));
        let tutorial = include_str!("../../config/usr/share/doc/node/examples/cloud-config/etcd2.yaml");
        let mut cut = cut.min(tutorial.len());
        while !tutorial.is_char_boundary(cut) {
            cut -= 1;
        }
        let (config, _) = read(&format!("{}{text}", &tutorial[..cut]));
        let (node, _) = node_settings(&config, &facts(), &|path| ALL.contains(&path));
        let steps = plan(&config, &facts(), Some(&node));
        for step in steps {
            if let Step::WriteFile { path, .. } | Step::PlaceUnit { path, .. } = step {
                prop_assert!(path.starts_with('/') && !path.contains("/../"), "{}", path);
            }
        }
    }

    #[test]
    fn substitution_keeps_what_it_does_not_know(text in "[a-z\\\\$ {}]{0,60}") {
        prop_assert_eq!(substitute(&text, &Addresses::default()), text);
    }
}
