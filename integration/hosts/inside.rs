//! Stories of the systemd executor, played on a host beside a real systemd.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use corenode::base::BoxFuture;
use corenode::fleet::executor::{ActiveState, Executor, ExecutorError, JournalQuery};

use crate::CLOJURE_HTTP;
use crate::inside_units;
use crate::stage::{STATE_BOUND, Stage, file, main_pid, nothing_is_left, run, shows, will_show};

type Story = fn() -> BoxFuture<'static, Result<()>>;

/// The stories by name, in the order in which they are played.
pub const STORIES: [(&str, Story); 12] = [
    ("orders", || Box::pin(orders())),
    ("refusals", || Box::pin(refusals())),
    ("outputs", || Box::pin(outputs())),
    ("container", || Box::pin(container())),
    ("types", || Box::pin(inside_units::types())),
    ("drop_ins", || Box::pin(inside_units::drop_ins())),
    ("reloads", || Box::pin(inside_units::reloads())),
    ("delays", || Box::pin(inside_units::delays())),
    ("left_behind", || Box::pin(left_behind())),
    ("found_again", || Box::pin(found_again())),
    ("bus", || Box::pin(bus())),
    ("many", || Box::pin(many())),
];

const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
/// Writes down how it was stopped, slowly.
const STOPPER: &str = "[Service]
ExecStart=/bin/sleep 1000
ExecStop=/bin/sh -c 'sleep 0.3; echo stop >>/tmp/%n'
ExecStopPost=/bin/sh -c 'sleep 0.3; echo post >>/tmp/%n'
";

/// Plays the story of that name.
pub fn play(name: &str) -> Result<()> {
    let (_, story) = STORIES.iter().find(|(known, _)| *known == name).with_context(|| format!("no story {name}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(story())
}

async fn orders() -> Result<()> {
    let mut stage = Stage::open().await?;
    ensure!(stage.executor.adopt().await?.is_empty(), "a fresh host holds units");
    let units = [
        ("sleeper.service", SLEEPER),
        ("failing.service", "[Service]\nExecStart=/bin/false\n"),
        ("stopper.service", STOPPER),
        ("inst@one.service", "[Service]\nExecStart=/bin/sh -c 'echo %i >/tmp/inst; exec sleep 1000'\n"),
        ("wanted.service", "[Service]\nExecStart=/bin/sleep 1000\n\n[Install]\nWantedBy=multi-user.target\n"),
        ("tick.service", "[Service]\nType=oneshot\nExecStart=/bin/touch /tmp/tick\n"),
        ("tick.timer", "[Timer]\nOnActiveSec=1\nAccuracySec=100ms\n"),
        ("broken.service", "[Service]\nExecStrt=/bin/true\n"),
    ];
    let results = stage.load(&units).await;
    ensure!(results[..7].iter().all(Result::is_ok), "{results:#?}");
    let broken = results[7].clone().err().context("a text that cannot be run was taken")?.to_string();
    eprintln!("refused: {broken}");
    ensure!(broken.starts_with("broken.service: systemd refuses it: "), "{broken}");
    ensure!(!Path::new("/run/fleet/units/broken.service").exists(), "the refused file is still there");
    shows("systemctl is-enabled sleeper.service", "linked-runtime")?;
    shows("systemctl is-enabled wanted.service", "enabled-runtime")?;
    let links = "cd /run/systemd/system; ls -d *.wants/wanted.service";
    shows(links, "multi-user.target.wants/wanted.service")?;
    let elsewhere = "[Service]\nExecStart=/bin/sleep 1000\n\n[Install]\nWantedBy=other.target\n";
    stage.load(&[("wanted.service", elsewhere)]).await.remove(0)?;
    shows(links, "other.target.wants/wanted.service")?;
    stage.until("all to be announced", |states| states.len() == 7).await?;
    ensure!(!stage.states.contains_key("broken.service"), "the refused unit was told of");

    stage.start("sleeper.service").await?;
    stage.executor.start("sleeper.service").await?;
    stage.start("inst@one.service").await?;
    will_show("cat /tmp/inst", "one").await?;
    stage.executor.start("failing.service").await?;
    stage.until_state("failing.service", "failed", "failed").await?;
    stage.executor.start("tick.timer").await?;
    stage.until_state("tick.timer", "active", "waiting").await?;
    // Nobody asks for the service: the timer starts it, and we are told.
    will_show("ls /tmp/tick", "/tmp/tick").await?;
    let unknown = stage.executor.start("unknown.service").await;
    ensure!(unknown == Err(ExecutorError::NotLoaded { unit: "unknown.service".to_owned() }), "{unknown:?}");

    stage.start("stopper.service").await?;
    stage.executor.stop("stopper.service").await?;
    stage.until("stopper.service to stop", |s| matches!(s["stopper.service"].active.as_str(), "inactive")).await?;
    shows("cat /tmp/stopper.service", "stop\npost")?;
    stage.executor.stop("stopper.service").await?;
    stage.start("stopper.service").await?;
    stage.executor.unload("stopper.service").await?;
    shows("cat /tmp/stopper.service", "stop\npost\nstop\npost")?;
    stage.until_gone("stopper.service").await?;
    ensure!(stage.executor.status("stopper.service").await?.exit_code == 4, "systemctl still knows the unit");

    let names: Vec<String> = stage.states.keys().cloned().collect();
    let unloads = names.iter().map(|name| stage.executor.unload(name));
    let results = futures_util::future::join_all(unloads).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.until("all to be gone", BTreeMap::is_empty).await?;
    nothing_is_left(&names)
}

async fn refusals() -> Result<()> {
    let mut stage = Stage::open().await?;
    fs::write("/etc/systemd/system/mine.service", SLEEPER)?;
    fs::write("/etc/systemd/system/taken.service", SLEEPER)?;
    run("ln -s /dev/null /etc/systemd/system/masked.service; systemctl daemon-reload")?;
    let no_exec = "[Service]\nType=simple\n";
    let units = [
        ("mine.service", SLEEPER),
        ("masked.service", SLEEPER),
        ("web@.service", SLEEPER),
        ("odd.busname", "[Unit]\n"),
        ("open.service", "[Service\nExecStart=/bin/true\n"),
        ("none.service", no_exec),
        ("good.service", SLEEPER),
        ("badinstall.service", "[Service]\nExecStart=/bin/true\n[Install]\nAlias=x.timer\n"),
    ];
    let results = stage.load(&units).await;
    for (unit, result) in units.iter().zip(&results) {
        eprintln!("{}: {}", unit.0, result.as_ref().map_or_else(ToString::to_string, |()| "loaded".to_owned()));
        ensure!(result.is_ok() == (unit.0 == "good.service"), "{}: {result:?}", unit.0);
    }
    shows("ls -A /run/fleet/units", "good.service")?;
    stage.start("good.service").await?;
    let pid = main_pid("good.service")?;
    let worse = stage.load(&[("good.service", no_exec)]).await;
    ensure!(worse[0].is_err(), "a text that cannot be run was taken");
    shows("cat /run/fleet/units/good.service", SLEEPER.trim())?;
    shows("systemctl show -P LoadState good.service", "loaded")?;
    ensure!(main_pid("good.service")? == pid, "the running unit was touched");
    let other = "[Service]\nExecStart=/bin/sleep 2000\n";
    stage.executor.stop("good.service").await?;
    stage.until("good.service to stop", |s| s["good.service"].active != "active").await?;
    stage.load(&[("good.service", other)]).await.remove(0)?;
    stage.start("good.service").await?;
    shows("ps -o args= -p $(systemctl show -P MainPID good.service)", "/bin/sleep 2000")?;
    stage.executor.unload("good.service").await?;
    shows("systemctl is-active mine.service", "inactive")?;
    run("rm /etc/systemd/system/mine.service /etc/systemd/system/taken.service /etc/systemd/system/masked.service")?;
    nothing_is_left(&["good.service".to_owned(), "none.service".to_owned()])
}

async fn outputs() -> Result<()> {
    let mut stage = Stage::open().await?;
    let talker = "[Service]\nExecStart=/bin/sh -c 'for i in 1 2 3; do echo line $i; done; \
        while :; do sleep 0.2; echo more; done'\n";
    stage.load(&[("talker.service", talker)]).await.remove(0)?;
    let status = stage.executor.status("talker.service").await?;
    ensure!(status.exit_code == 3 && status.text.contains("Active: inactive (dead)"), "{status:?}");
    stage.start("talker.service").await?;
    let status = stage.executor.status("talker.service").await?;
    ensure!(status.exit_code == 0 && status.text.contains("Active: active (running)"), "{status:?}");
    let query = JournalQuery { lines: None, follow: true, output: "cat".to_owned(), since: None };
    let mut journal = stage.executor.journal("talker.service", query).await?;
    let mut text = String::new();
    while text.matches("more\n").count() < 3 {
        let chunk = tokio::time::timeout(STATE_BOUND, journal.next()).await.context("the journal fell silent")?;
        text.push_str(&String::from_utf8(chunk.context("the journal ended")??)?);
    }
    ensure!(text.contains("line 1\nline 2\nline 3\n"), "{text}");
    drop(journal);
    will_show("pgrep -x journalctl", "").await?;
    let query = JournalQuery { lines: Some(2), follow: false, output: "nonsense".to_owned(), since: None };
    let mut journal = stage.executor.journal("talker.service", query).await?;
    let error = journal.next().await.context("no answer")?.err().context("nonsense was taken")?;
    eprintln!("refused: {error}");
    stage.executor.unload("talker.service").await?;
    Ok(())
}

async fn container() -> Result<()> {
    let mut stage = Stage::open().await?;
    let unit = "clojure-http@1.service";
    let ask = "curl -s --max-time 1 http://127.0.0.1:5000/";
    stage.load(&[(unit, CLOJURE_HTTP)]).await.remove(0)?;
    stage.start(unit).await?;
    will_show(ask, "Hello World").await?;
    stage.executor.stop(unit).await?;
    // `docker run` ends with 143, the code of its container.
    stage.until_state(unit, "failed", "failed").await?;
    stage.start(unit).await?;
    will_show(ask, "Hello World").await?;
    stage.executor.unload(unit).await?;
    stage.until_gone(unit).await?;
    shows("docker ps -aq", "")?;
    nothing_is_left(&[unit.to_owned()])
}

/// What the next story finds: its executor ends without a word, as a node that is killed.
async fn left_behind() -> Result<()> {
    let mut stage = Stage::open().await?;
    let units = [("a@1.service", STOPPER), ("a@2.service", STOPPER), ("b.service", SLEEPER)];
    let results = stage.load(&units).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.start("a@1.service").await?;
    stage.start("a@2.service").await?;
    let pids = format!("{} {}", main_pid("a@1.service")?, main_pid("a@2.service")?);
    fs::write("/run/left-behind", pids)?;
    // A load and a write that were cut off, and a text that was written and never reloaded.
    fs::write("/run/fleet/units/unlinked.service", SLEEPER)?;
    fs::write("/run/fleet/units/.half.service.new", "[Serv")?;
    fs::write("/run/fleet/units/b.service", STOPPER)?;
    std::process::exit(0)
}

async fn found_again() -> Result<()> {
    let mut stage = Stage::open().await?;
    let held = stage.executor.adopt().await?;
    let found: Vec<_> = held.iter().map(|h| (h.name.as_str(), h.state.active.as_str())).collect();
    ensure!(found == [("a@1.service", "active"), ("a@2.service", "active"), ("b.service", "inactive")], "{held:#?}");
    let hash = file("", STOPPER).hash;
    ensure!(held.iter().all(|unit| unit.hash == hash), "{held:#?}");
    shows("ls -A /run/fleet/units", "a@1.service\na@2.service\nb.service")?;
    shows("systemctl show -P NeedDaemonReload b.service", "no")?;
    let pids = format!("{} {}", main_pid("a@1.service")?, main_pid("a@2.service")?);
    ensure!(pids == fs::read_to_string("/run/left-behind")?, "a unit was restarted: {pids}");
    stage.until("the adopted to be told of", |states| states.len() == 3).await?;
    for unit in &held {
        stage.executor.unload(&unit.name).await?;
    }
    stage.until("all to be gone", BTreeMap::is_empty).await?;
    shows("cat /tmp/a@1.service", "stop\npost")
}

/// systemd is executed anew, the bus is restarted, the bus is away for a while: units run on and states arrive.
async fn bus() -> Result<()> {
    let mut stage = Stage::open().await?;
    let units = [("a.service", SLEEPER), ("b.service", SLEEPER), ("c.service", SLEEPER)];
    let results = stage.load(&units).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.start("a.service").await?;
    let pid = main_pid("a.service")?;

    run("systemctl daemon-reexec")?;
    run("systemctl stop a.service")?;
    stage.until_state("a.service", "inactive", "dead").await?;
    stage.start("a.service").await?;
    ensure!(main_pid("a.service")? != pid, "the same process after a stop");
    run("systemctl daemon-reload")?;
    let pid = main_pid("a.service")?;

    run("systemctl restart dbus.service")?;
    let started = Instant::now();
    stage.start("b.service").await?;
    eprintln!("after a restart of the bus: started in {:?}", started.elapsed());

    // What happens while the bus is away is told once it is back; calls in between end with a reason.
    run("systemctl stop dbus.socket dbus.service")?;
    run("kill -9 $(systemctl show -P MainPID b.service)")?;
    let started = Instant::now();
    let error = stage.executor.start("c.service").await.err().context("started without a bus")?;
    eprintln!("without a bus, after {:?}: {error}", started.elapsed());
    ensure!(started.elapsed() < STATE_BOUND, "a call without a bus took {:?}", started.elapsed());
    run("systemctl start dbus.socket dbus.service")?;
    stage.until_state("b.service", "failed", "failed").await?;
    stage.start("c.service").await?;
    ensure!(main_pid("a.service")? == pid, "a running unit was touched");
    for name in ["a.service", "b.service", "c.service"] {
        stage.executor.unload(name).await?;
    }
    stage.until("all to be gone", BTreeMap::is_empty).await
}

async fn many() -> Result<()> {
    // More than the bus allows one connection of unanswered calls.
    const UNITS: usize = 150;
    let mut stage = Stage::open().await?;
    let names: Vec<String> = (0..UNITS).map(|i| format!("many@{i}.service")).collect();
    let began = Instant::now();
    let results = stage.executor.load(names.iter().map(|name| file(name, SLEEPER)).collect()).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    eprintln!("{UNITS} units loaded in {:?}", began.elapsed());
    let began = Instant::now();
    let results = futures_util::future::join_all(names.iter().map(|name| stage.executor.start(name))).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    let all = |states: &BTreeMap<String, ActiveState>, active: &str| {
        states.len() == UNITS && states.values().all(|state| state.active == active)
    };
    stage.until("all to run", |states| all(states, "active")).await?;
    eprintln!("{UNITS} units started in {:?}", began.elapsed());
    let began = Instant::now();
    let results = futures_util::future::join_all(names.iter().map(|name| stage.executor.unload(name))).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.until("all to be gone", BTreeMap::is_empty).await?;
    eprintln!("{UNITS} units stopped and unloaded in {:?}", began.elapsed());
    nothing_is_left(&[])
}
