//! Each key with what it gives and what it refuses.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::unit::service::Restart;

fn unit(lines: &str) -> Result<Container, ContainerError> {
    let text = UnitText::parse(&format!("[Container]\nImage=web:1\n{lines}")).unwrap();
    read_anywhere(&text, "web@8.container")
}

/// What is wrong with one key, in the words after its name.
fn refused(line: &str) -> String {
    let error = unit(line).unwrap_err().to_string();
    let key = line.split('=').next().unwrap();
    let head = format!("line 3: [Container] {key}=: ");
    error.strip_prefix(&head).unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_least_there_is() {
    let least = unit("").unwrap();
    assert_eq!((least.image.as_str(), least.name.as_str(), least.stop_timeout_s), ("web:1", "systemd-web_8", 10));
    let text = UnitText::parse("[Service]\nRestart=no").unwrap();
    assert_eq!(read_anywhere(&text, "a.container"), Err(ContainerError::NoSection));
    let text = UnitText::parse("[Container]\nExec=x").unwrap();
    assert_eq!(read_anywhere(&text, "a.container"), Err(ContainerError::NoImage));
    let text = UnitText::parse("[Container]\nImage=a:%i").unwrap();
    assert_eq!(
        read_anywhere(&text, "a@.container").unwrap().image,
        "a:1",
        "a template is read as if it had an instance"
    );
    let names =
        [("a.container", "systemd-a"), ("a:b\\x2d.container", "systemd-a_b_x2d"), ("a@b@c.container", "systemd-a_b_c")];
    for (name, expected) in names {
        assert_eq!(default_name(name), expected);
    }
    assert!(is_container("a@1.container") && !is_container("a.service"));
}

#[test]
fn words_and_variables() {
    let words = unit("Exec=serve --name \"%i and more\" $$HOME 'a b'").unwrap();
    assert_eq!(words.exec, strings(&["serve", "--name", "8 and more", "$HOME", "a b"]));
    for (line, expected) in [
        ("Entrypoint=/bin/%p", strings(&["/bin/web"])),
        ("Entrypoint=[\"/bin/sh\",\"-c\"]", strings(&["/bin/sh", "-c"])),
        ("Entrypoint=", Vec::new()),
    ] {
        assert_eq!(unit(line).unwrap().entrypoint, Some(expected), "{line}");
    }
    let variables = unit("Environment=A=1 \"B=x y\"\nEnvironment=C=%i").unwrap().environment;
    assert_eq!(variables, pairs(&[("A", "1"), ("B", "x y"), ("C", "8")]));
    assert_eq!(unit("Environment=A=1\nEnvironment=\nEnvironment=B=2").unwrap().environment, pairs(&[("B", "2")]));
    assert_eq!(unit("Label=a.b=c").unwrap().labels, pairs(&[("a.b", "c")]));
    let files = unit("EnvironmentFile=-/etc/%p.env\nEnvironmentFile=/etc/b").unwrap().environment_files;
    assert_eq!(files, [("/etc/web.env".to_owned(), true), ("/etc/b".to_owned(), false)]);
    assert_eq!(unit("Timezone=Europe/Zurich").unwrap().environment, pairs(&[("TZ", "Europe/Zurich")]));
    for (line, expected) in [
        ("Exec=\"open", "unbalanced quoting"),
        ("Environment=nothing", "\"nothing\""),
        ("EnvironmentFile=./env", "\"./env\" is not an absolute path"),
        ("Entrypoint=[1]", "is no JSON list of words"),
    ] {
        assert!(refused(line).contains(expected), "{}", refused(line));
    }
}

#[test]
fn ports() {
    let port = |address: Option<&str>, host: Option<u16>, container: u16, protocol| Port {
        address: address.map(|address| address.parse().unwrap()),
        host,
        container,
        protocol,
    };
    use Protocol::{Tcp, Udp};
    let cases = [
        ("80", vec![port(None, None, 80, Tcp)]),
        ("8080:80", vec![port(None, Some(8080), 80, Tcp)]),
        ("80%i0:80", vec![port(None, Some(8080), 80, Tcp)]),
        ("0:80", vec![port(None, None, 80, Tcp)]),
        (":80", vec![port(None, None, 80, Tcp)]),
        ("53:53/udp", vec![port(None, Some(53), 53, Udp)]),
        ("127.0.0.1:8080:80", vec![port(Some("127.0.0.1"), Some(8080), 80, Tcp)]),
        ("127.0.0.1::80", vec![port(Some("127.0.0.1"), None, 80, Tcp)]),
        ("[::1]:8080:80", vec![port(Some("::1"), Some(8080), 80, Tcp)]),
        ("8000-8001:80-81", vec![port(None, Some(8000), 80, Tcp), port(None, Some(8001), 81, Tcp)]),
    ];
    for (text, expected) in cases {
        assert_eq!(unit(&format!("PublishPort={text}")).unwrap().ports, expected, "{text}");
    }
    for bad in ["x", "70000", "80/icmp", "a:80:80", "1:2:3:4", "8000-8001:80", "81-80", "+80"] {
        assert!(unit(&format!("PublishPort={bad}")).is_err(), "{bad}");
    }
    for (lines, expected) in [
        ("Network=host\nPublishPort=80:80\nPublishPort=53:53/udp", ""),
        ("PublishPort=8080:80\nNetwork=front", ""),
        (
            "PublishPort=8080:80\nNetwork=host",
            "line 3: [Container] PublishPort=: with Network=host the container's ports",
        ),
        ("Network=host\nPublishPort=80", "line 4: [Container] PublishPort=: with Network=host the container's ports"),
        (
            "Network=none\nPublishPort=80",
            "line 4: [Container] PublishPort=: 80/tcp cannot be published with Network=none",
        ),
        ("Network=container:a\nPublishPort=1:1", "line 4: [Container] PublishPort=: 1:1/tcp cannot be published"),
    ] {
        let said = unit(lines).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{lines}: {said}");
    }
    assert_eq!(unit("ExposeHostPort=7-8/udp").unwrap().exposed, [(7, Udp), (8, Udp)]);
}

#[test]
fn storage_and_networks() {
    let volume = |source: Option<&str>, target: &str, options: Option<&str>| Volume {
        source: source.map(str::to_owned),
        target: target.to_owned(),
        options: options.map(str::to_owned),
    };
    for (text, expected) in [
        ("/data", volume(None, "/data", None)),
        ("/srv/%i:/data:ro", volume(Some("/srv/8"), "/data", Some("ro"))),
        ("cache:/data", volume(Some("cache"), "/data", None)),
    ] {
        assert_eq!(unit(&format!("Volume={text}")).unwrap().volumes, [expected], "{text}");
    }
    assert_eq!(unit("Tmpfs=/tmp:size=1m\nTmpfs=/run").unwrap().tmpfs, pairs(&[("/tmp", "size=1m"), ("/run", "")]));
    let networks = unit("Network=front:alias=a,ip=10.0.0.7\nNetworkAlias=b\nNetwork=back").unwrap().networks;
    let expected = Network {
        name: "front".into(),
        aliases: strings(&["a", "b"]),
        ip: Some("10.0.0.7".parse().unwrap()),
        ip6: None,
    };
    assert_eq!(networks, [expected, Network { name: "back".into(), ..Network::default() }]);
    assert_eq!(unit("Network=host").unwrap().networks[0].name, "host");
    assert_eq!(
        unit("AddHost=db:10.0.0.7 out:host-gateway").unwrap().hosts,
        strings(&["db:10.0.0.7", "out:host-gateway"])
    );
    assert_eq!(unit("DNS=10.0.0.1\nDNS=::1").unwrap().dns, strings(&["10.0.0.1", "::1"]));
    assert_eq!(unit("HostName=%p").unwrap().host_name.as_deref(), Some("web"));
    for (line, expected) in [
        ("Volume=./data:/data", "neither an absolute path"),
        ("Volume=data.volume:/data", "there are no .volume units"),
        ("Volume=/a:b", "\"b\" is not an absolute path"),
        ("Network=app.network", "only networks that exist"),
        ("Network=pasta", "Podman's own"),
        ("NetworkAlias=x", "put Network= before it"),
        ("AddHost=db", "write NAME:ADDRESS"),
        ("DNS=resolver", "is no IP address"),
        ("Tmpfs=run", "is not an absolute path"),
    ] {
        assert!(refused(line).contains(expected), "{}", refused(line));
    }
}

#[test]
fn rights_and_limits() {
    let all = "User=app\nGroup=7\nWorkingDir=/srv\nAddCapability=cap_net_admin\nDropCapability=all\nReadOnly=yes\n\
               NoNewPrivileges=true\nMemory=512m\nPidsLimit=-1\nShmSize=1G\nUlimit=nofile=1024:2048\nUlimit=core=unlimited\n\
               AddDevice=-/dev/fuse\nSysctl=net.core.somaxconn=1024\nGroupAdd=audio\nRunInit=yes\nLogDriver=k8s-file\n\
               LogOpt=max-size=1m";
    let unit_of_all = unit(all).unwrap();
    assert_eq!(unit_of_all.user.as_deref(), Some("app:7"));
    assert_eq!(unit_of_all.working_dir.as_deref(), Some("/srv"));
    assert_eq!(
        (unit_of_all.add_capabilities, unit_of_all.drop_capabilities),
        (strings(&["NET_ADMIN"]), strings(&["ALL"]))
    );
    assert!(unit_of_all.read_only && unit_of_all.no_new_privileges && unit_of_all.init);
    assert_eq!(
        (unit_of_all.memory, unit_of_all.pids_limit, unit_of_all.shm_size),
        (Some(512 << 20), Some(-1), Some(1 << 30))
    );
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    assert_eq!(unit_of_all.ulimits, [limit("nofile", 1024, 2048), limit("core", -1, -1)]);
    let device =
        Device { host: "/dev/fuse".into(), container: "/dev/fuse".into(), rights: "rwm".into(), optional: true };
    assert_eq!(unit_of_all.devices, [device]);
    assert_eq!(unit_of_all.log_driver.as_deref(), Some("json-file"));
    assert_eq!(unit_of_all.log_options, pairs(&[("max-size", "1m")]));
    for (lines, expected) in [("User=7:8", "7:8"), ("User=7", "7"), ("Group=8\nUser=7", "7:8"), ("Group=8", "0:8")] {
        assert_eq!(unit(lines).unwrap().user.as_deref(), Some(expected), "{lines}");
    }
    for (text, bytes) in [("4096", 4096), ("1k", 1024), ("1KiB", 1024), ("1Mb", 1 << 20)] {
        assert_eq!(unit(&format!("Memory={text}")).unwrap().memory, Some(bytes), "{text}");
    }
    for line in ["ReadOnly=perhaps", "Memory=much", "PidsLimit=-2", "Ulimit=nofile", "WorkingDir=srv", "AddDevice=fuse"]
    {
        assert!(unit(line).is_err(), "{line}");
    }
}

#[test]
fn image_stop_and_health() {
    for (text, pull) in
        [("always", Pull::Always), ("missing", Pull::Missing), ("never", Pull::Never), ("newer", Pull::Newer)]
    {
        assert_eq!(unit(&format!("Pull={text}")).unwrap().pull, pull);
    }
    assert_eq!(unit("ContainerName=web-%i").unwrap().name, "web-8");
    let stop = unit("StopSignal=INT\nStopTimeout=90s").unwrap();
    assert_eq!((stop.stop_signal.as_deref(), stop.stop_timeout_s), (Some("SIGINT"), 90));
    let health = unit(
        "HealthCmd=curl -f localhost || exit 1\nHealthInterval=10s\nHealthTimeout=500ms\nHealthRetries=2\nHealthStartPeriod=1m30s",
    );
    let expected = Health {
        test: Some(Test::Shell("curl -f localhost || exit 1".into())),
        interval: Some(Duration::from_secs(10)),
        timeout: Some(Duration::from_millis(500)),
        start_period: Some(Duration::from_secs(90)),
        retries: Some(2),
    };
    assert_eq!(health.unwrap().health, Some(expected));
    for (text, test) in [
        ("none", Test::Off),
        ("[\"CMD\", \"/probe\"]", Test::Words(strings(&["/probe"]))),
        ("[\"/probe\", \"-q\"]", Test::Words(strings(&["/probe", "-q"]))),
        ("CMD-SHELL true", Test::Shell("true".into())),
    ] {
        assert_eq!(unit(&format!("HealthCmd={text}")).unwrap().health.unwrap().test, Some(test), "{text}");
    }
    assert_eq!(unit("HealthOnFailure=kill").unwrap().on_unhealthy, OnUnhealthy::Kill);
    for line in [
        "Image=-x",
        "Image=a b",
        "Image=my.build",
        "ContainerName=a@b",
        "Pull=often",
        "StopSignal=SIGFOO",
        "HealthInterval=soon",
        "HealthRetries=0",
        "HealthOnFailure=cry",
    ] {
        assert!(unit(line).is_err(), "{line}");
    }
}

#[test]
fn keys_that_are_not_taken_say_what_to_do() {
    for (line, expected) in [
        ("Imge=x", "unknown key; did you mean Image?"),
        ("publishport=80", "unknown key; did you mean PublishPort?"),
        ("Nonsense=1", "unknown key; remove it, or begin its name with X-"),
        ("PodmanArgs=--cpus=2", "only Podman can do this; write the key that it stands for"),
        ("Mount=type=bind", "only Podman can do this; use Volume= or Tmpfs="),
        ("Secret=pass/word", "\"pass/word\" is no secret's name"),
    ] {
        assert!(refused(line).starts_with(expected), "{}", refused(line));
    }
    assert_eq!(unit("X-Note=kept").unwrap().not_done, Vec::<String>::new());
    let said = unit("AutoUpdate=registry\nRetry=3").unwrap().not_done;
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("line 3: [Container] AutoUpdate=registry: not done; images change"), "{}", said[0]);
}

#[test]
fn lives() {
    let life = |lines: &str| unit(&format!("[Service]\n{lines}")).unwrap().life;
    let plain = life("");
    assert_eq!((plain.restart, plain.start_timeout), (Restart::No, Some(Duration::from_secs(90))));
    let oneshot = life("Type=oneshot\nRemainAfterExit=yes");
    assert!(oneshot.kind == Kind::Oneshot && oneshot.remain_after_exit && oneshot.start_timeout.is_none());
    // Restart= → which ends lead to another start: 0, 3, 137, 143.
    for (restart, expected) in [
        ("no", [false, false, false, false]),
        ("always", [true, true, true, true]),
        ("on-success", [true, false, false, false]),
        ("on-failure", [false, true, true, true]),
        ("on-abnormal", [false, false, true, true]),
    ] {
        let life = life(&format!("Restart={restart}"));
        assert_eq!([0, 3, 137, 143].map(|code| life.restarts(code)), expected, "{restart}");
    }
    let named =
        life("Restart=on-failure\nSuccessExitStatus=3 SIGTERM\nRestartPreventExitStatus=4\nRestartForceExitStatus=0");
    assert_eq!([0, 3, 4, 5, 143].map(|code| named.restarts(code)), [true, false, false, true, false]);
    let pauses = life("RestartSec=1s\nRestartMaxDelaySec=5s");
    assert_eq!([1, 2, 3, 4, 99].map(|failures| pauses.pause(failures).as_secs()), [1, 2, 4, 5, 5]);
    assert_eq!(life("RestartSec=2min").pause(7), Duration::from_secs(120), "a longer pause than the longest is kept");
    let hooks = life("ExecStartPre=-/bin/mkdir /srv/%i\nExecStop=/bin/echo bye");
    assert_eq!(hooks.start_pre[0].argv, ["/bin/mkdir", "/srv/8"]);
    assert!(hooks.start_pre[0].ignore_failure && hooks.stop.len() == 1);
    let limit = unit("[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=1min").unwrap().life.start_limit;
    assert_eq!(limit, Some((3, Duration::from_secs(60))));
    for (lines, expected) in [
        ("[Service]\nExecStart=/bin/true", "line 5: [Service] ExecStart=: a container is started by the engine"),
        ("[Service]\nRestart=sometimes", "write no, always, on-success"),
        ("[Service]\nType=forking", "write simple, exec, notify or oneshot"),
        ("[Socket]\nListenStream=1", "[Socket] means nothing in a .container unit"),
    ] {
        let error = unit(lines).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let said = unit("[Service]\nLimitNOFILE=5").unwrap().not_done;
    assert_eq!(said, ["line 5: [Service] LimitNOFILE=5: means nothing to a container"]);
}

#[test]
fn ports_that_one_machine_cannot_have_twice() {
    let port = |value: &str| network::ports(value).unwrap()[0].clone();
    let cases = [
        ("80:80", "80:81", true),
        ("80:80", "81:80", false),
        ("80", "80", false),
        ("53:53/udp", "53:53", false),
        ("127.0.0.1:80:80", "80:80", true),
        ("127.0.0.1:80:80", "0.0.0.0:80:80", true),
        ("127.0.0.1:80:80", "127.0.0.1:80:80", true),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", false),
        ("[::1]:80:80", "[::]:80:80", true),
    ];
    for (one, other, clash) in cases {
        let (one, other) = (port(one), port(other));
        assert_eq!((one.clashes(&other), other.clashes(&one)), (clash, clash), "{one} {other}");
        assert_eq!(port(&one.to_string()), one, "it is written as it is read");
    }
}

#[test]
fn published_ports_are_read_without_the_rest() {
    let text = UnitText::parse(
        "[Container]\nPublishPort=1:1\nPublishPort=\nPublishPort=80%i:80\nPublishPort=nonsense\nPublishPort=90-91:90-91/udp\nPublishPort=7",
    )
    .unwrap();
    let of = |name: &str| published(&text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("a@3.container"), ["803:80/tcp", "90:90/udp", "91:91/udp", "7/tcp"]);
    assert!(of("a@3.service").is_empty());
}
