//! Unit texts as users write them, and what is read from them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::machine::KillMode;
use super::*;

fn specifiers(name: &str) -> Specifiers {
    Specifiers { hostname: "core-01".to_owned(), machine_id: "m1".to_owned(), ..Specifiers::system(name) }
}

fn read(name: &str, text: &str) -> Result<Spec, String> {
    let unit = UnitFile { name: name.to_owned(), text: text.to_owned(), hash: String::new() };
    Spec::read(&unit, &specifiers(name)).map_err(|error| error.to_string())
}

#[test]
fn a_docker_unit_of_the_tutorials() {
    let text = "[Unit]
Description=My %p %i
After=docker.service
Requires=docker.service
BindsTo=db@%i.service

[Service]
TimeoutStartSec=0
KillMode=none
EnvironmentFile=-/etc/environment
ExecStartPre=-/usr/bin/docker kill %p-%i
ExecStartPre=/usr/bin/docker pull \\
  busybox
ExecStart=/usr/bin/docker run -rm --name %p-%i -e HOST=%H busybox /bin/sh -c 'trap \"exit 0\" INT TERM; while true; do echo $$(date); sleep 1; done' ;
ExecStop=/usr/bin/docker stop %p-%i
Restart=always
RestartSec=10s

[X-Fleet]
Conflicts=%p@*.service
";
    let spec = read("web@1.service", text).unwrap();
    assert_eq!(spec.warnings, Vec::<String>::new());
    assert_eq!(spec.needs.requires, ["docker.service"]);
    assert_eq!(spec.needs.binds_to, ["db@1.service"]);
    assert_eq!(spec.rules.start_pre, [true, false]);
    assert_eq!(spec.rules.timeout_start_ms, None);
    assert_eq!(spec.rules.timeout_stop_ms, Some(90_000));
    assert_eq!(spec.rules.kill_mode, KillMode::None);
    assert_eq!(spec.rules.restart, Restart::Always);
    assert_eq!(spec.rules.restart_ms, 10_000);
    assert_eq!(spec.environment_files, [("/etc/environment".to_owned(), true)]);
    assert_eq!(spec.commands(Phase::StartPre)[1].argv.last().unwrap(), "busybox");
    let start = &spec.commands(Phase::Start)[0];
    assert_eq!(&start.argv[3..7], ["--name", "web-1", "-e", "HOST=core-01"]);
}

#[test]
fn the_last_value_wins_and_an_empty_one_forgets() {
    let text = "[Service]
Type=oneshot
ExecStart=/bin/a
ExecStart=
ExecStart=/bin/b
Environment=A=1
Environment=
Environment=B=2
TimeoutSec=5
TimeoutStopSec=7
SuccessExitStatus=1 TEMPFAIL SIGKILL
SuccessExitStatus=143
";
    let spec = read("a.service", text).unwrap();
    assert_eq!(spec.commands(Phase::Start).len(), 1);
    assert_eq!(spec.commands(Phase::Start)[0].path, "/bin/b");
    assert_eq!(spec.environment, [("B".to_owned(), "2".to_owned())]);
    assert_eq!(spec.rules.timeout_start_ms, Some(5000));
    assert_eq!(spec.rules.timeout_stop_ms, Some(7000));
    assert_eq!(spec.rules.success.codes, [1, 75, 143]);
    assert_eq!(spec.rules.success.signals, [9]);
    let oneshot = read("a.service", "[Service]\nType=oneshot\nExecStart=/bin/a\n").unwrap();
    assert_eq!(oneshot.rules.timeout_start_ms, None, "oneshot may take its time");
}

#[test]
fn nonsense_is_said_and_the_default_kept() {
    let text = "[Service]
ExecStart=/bin/a
RestartSec=soon
KillSignal=SIGNOTHING
Restart=sometimes
Nonsense=1
Environment=novalue
StandardInput=tty
LimitNOFILE=lots
[Strange]
A=b
";
    let spec = read("a.service", text).unwrap();
    assert_eq!(spec.rules.restart_ms, 100);
    assert_eq!(spec.rules.kill_signal, 15);
    let said = spec.said().unwrap();
    for wanted in [
        "line 3, [Service] RestartSec=, \"soon\"",
        "line 4, [Service] KillSignal=, \"SIGNOTHING\"",
        "line 5, [Service] Restart=, \"sometimes\"",
        "line 6, [Service] Nonsense=",
        "line 7, [Service] Environment=, \"novalue\"",
        "line 8, [Service] StandardInput=, \"tty\"",
        "line 9, [Service] LimitNOFILE=",
        "line 11, [Strange] A=",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
}

#[test]
fn whose_notifications_count() {
    for (lines, access) in [
        ("", Access::None),
        ("Type=notify\n", Access::Main),
        ("Type=notify\nNotifyAccess=none\n", Access::Main),
        ("Type=notify\nNotifyAccess=all\n", Access::All),
        ("NotifyAccess=exec\n", Access::Exec),
    ] {
        let text = format!("[Service]\nExecStart=/bin/a\n{lines}");
        assert_eq!(read("a.service", &text).unwrap().notify_access(), access, "{lines}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(lines in proptest::collection::vec("(ExecStart|Type|Restart|Environment|TimeoutSec|LimitNOFILE|User|PIDFile|After|KillSignal|StandardOutput)=[ -~]{0,20}", 0..8)) {
        let _ = read("a@b.service", &format!("[Unit]\n[Service]\nExecStart=/bin/a\n{}", lines.join("\n")));
    }
}

#[test]
fn conditions_on_files_are_kept_and_others_said() {
    let text = "[Unit]
ConditionPathExists=/gone
AssertPathExists=/etc/%p
ConditionFileNotEmpty=
ConditionPathExists=!/there
ConditionVirtualization=no
[Service]
ExecStart=/bin/a
";
    let spec = read("a.service", text).unwrap();
    let kept: Vec<_> = spec.conditions.iter().map(|c| (c.name.as_str(), c.path.as_str())).collect();
    assert_eq!(kept, [("AssertPathExists", "/etc/a"), ("ConditionPathExists", "/there")]);
    assert_eq!(spec.warnings, ["line 6, [Unit] ConditionVirtualization=, taken as met"]);
}
