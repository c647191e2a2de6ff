//! Stories of the systemd executor about what units are: of all types, with drop-ins, many at once, slow ones among them.

use std::fs;

use anyhow::{Context, Result, ensure};
use corenode::fleet::executor::Executor;

use crate::stage::{Stage, file, nothing_is_left, run, shows, will_show};

const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// A unit of each type that systemd can be given as a file, and the state in which its start leaves it.
const TYPES: [(&str, &str, &str, &str); 11] = [
    ("typed.service", SLEEPER, "active", "running"),
    ("typed.socket", "[Socket]\nListenStream=/run/typed.sock\nAccept=yes\n", "active", "listening"),
    ("heard.timer", "[Timer]\nOnActiveSec=1h\nUnit=heard.service\n", "active", "waiting"),
    ("heard.path", "[Path]\nPathExists=/run/typed-path\nUnit=heard.service\n", "active", "waiting"),
    ("run-typed.mount", "[Mount]\nWhat=tmpfs\nWhere=/run/typed\nType=tmpfs\n", "active", "mounted"),
    ("typed.target", "[Unit]\nDescription=typed\n", "active", "active"),
    ("typed.slice", "[Unit]\nDescription=typed\n", "active", "active"),
    ("typed@.socket", "", "", ""),
    ("inst@1.socket", "[Socket]\nListenStream=/run/inst.sock\n", "active", "listening"),
    ("inst@1.service", SLEEPER, "active", "running"),
    ("heard.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n", "active", "exited"),
];

/// Units of all types are started, told of and forgotten; what they trigger is told of, too.
pub async fn types() -> Result<()> {
    let mut stage = Stage::open().await?;
    // What a socket with Accept= and sockets' services need beside them lies on the host.
    fs::write("/etc/systemd/system/typed@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")?;
    run("systemctl daemon-reload")?;
    let units: Vec<(&str, &str)> = TYPES.iter().map(|(name, text, ..)| (*name, *text)).collect();
    let results = stage.load(&units).await;
    let names: Vec<String> = TYPES.iter().filter(|row| !row.2.is_empty()).map(|row| row.0.to_owned()).collect();
    for (row, result) in TYPES.iter().zip(&results) {
        ensure!(result.is_ok() != row.2.is_empty(), "{}: {result:?}", row.0);
    }
    // The path's and the timer's unit last: it is to be started by what happens, not by us.
    for (name, _, active, sub) in TYPES.iter().filter(|row| !row.2.is_empty() && row.0 != "heard.service") {
        stage.executor.start(name).await.with_context(|| (*name).to_owned())?;
        stage.until_state(name, active, sub).await?;
    }
    run("touch /run/typed-path")?;
    stage.until_state("heard.service", "active", "exited").await?;
    shows("findmnt -n -o FSTYPE /run/typed", "tmpfs")?;
    let results = futures_util::future::join_all(names.iter().map(|name| stage.executor.unload(name))).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.until("all to be gone", |states| states.is_empty()).await?;
    shows("findmnt -n -o FSTYPE /run/typed", "")?;
    run("rm /etc/systemd/system/typed@.service; systemctl daemon-reload")?;
    // A slice is there for whoever asks, with a file or without.
    nothing_is_left(&names.into_iter().filter(|name| !name.ends_with(".slice")).collect::<Vec<_>>())
}

/// What an administrator lays beside a unit counts: by its name, by its template's, and once it is there for a replaced one.
pub async fn drop_ins() -> Result<()> {
    let mut stage = Stage::open().await?;
    let lay = |folder: &str, variable: &str| {
        let folder = format!("/etc/systemd/system/{folder}.d");
        fs::create_dir_all(&folder)?;
        fs::write(format!("{folder}/{variable}.conf"), format!("[Service]\nEnvironment={variable}=yes\n"))
    };
    let text = "[Service]\nExecStart=/bin/sh -c 'env >/run/dropped.%i; exec sleep 1000'\n";
    lay("dropped@.service", "TEMPLATE")?;
    lay("dropped@1.service", "INSTANCE")?;
    let results = stage.load(&[("dropped@1.service", text), ("dropped@2.service", text)]).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.start("dropped@1.service").await?;
    stage.start("dropped@2.service").await?;
    let told =
        |number: u32| format!("grep -E '^(TEMPLATE|INSTANCE|LATER)=' /run/dropped.{number} | sort | tr '\\n' ' '");
    will_show(&told(1), "INSTANCE=yes TEMPLATE=yes").await?;
    will_show(&told(2), "TEMPLATE=yes").await?;

    lay("dropped@2.service", "LATER")?;
    stage.executor.stop("dropped@2.service").await?;
    stage.until("it to stop", |states| states["dropped@2.service"].active != "active").await?;
    stage.load(&[("dropped@2.service", &format!("{text}Nice=5\n"))]).await.remove(0)?;
    stage.start("dropped@2.service").await?;
    will_show(&told(2), "LATER=yes TEMPLATE=yes").await?;
    let names = ["dropped@1.service".to_owned(), "dropped@2.service".to_owned()];
    for name in &names {
        stage.executor.unload(name).await?;
    }
    stage.until("all to be gone", |states| states.is_empty()).await?;
    run("rm -r /etc/systemd/system/dropped@*; systemctl daemon-reload")?;
    nothing_is_left(&names)
}

/// A batch costs one reload at most, whatever is in it; texts that systemd has not seen cost none.
pub async fn reloads() -> Result<()> {
    let stage = Stage::open().await?;
    let count = || -> Result<usize> {
        let (_, text) = run("journalctl --sync; journalctl -b _PID=1 -o cat | grep -c '^Reloading'")?;
        text.parse().context("a number of reloads")
    };
    let names: Vec<String> = (0..30).map(|i| format!("batch@{i}.service")).collect();
    let texts = [SLEEPER, "[Service]\nExecStart=/bin/sleep 2000\n"];
    let installed = "[Service]\nExecStart=/bin/sleep 3000\n\n[Install]\nWantedBy=multi-user.target\n";
    let mut before = count()?;
    for (text, most) in [(texts[0], 0), (texts[1], 1), (installed, 1)] {
        let results = stage.executor.load(names.iter().map(|name| file(name, text)).collect()).await;
        ensure!(results.iter().all(Result::is_ok), "{results:#?}");
        let now = count()?;
        ensure!(now <= before + most, "{} reloads for a batch of 30, at most {most} are due", now - before);
        shows("systemctl show -P NeedDaemonReload batch@29.service", "no")?;
        before = now;
    }
    let results = futures_util::future::join_all(names.iter().map(|name| stage.executor.unload(name))).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    ensure!(count()? <= before + 3, "{} reloads to forget 30 units at once", count()? - before);
    nothing_is_left(&names)
}

/// Units that take long to start, or to stop, or that fail keep no other from running.
pub async fn delays() -> Result<()> {
    let mut stage = Stage::open().await?;
    let units = [
        ("slow.service", "[Service]\nExecStartPre=/bin/sleep 600\nExecStart=/bin/sleep 1000\n"),
        ("stuck.service", "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 600\nTimeoutStopSec=700\n"),
        ("failing.service", "[Service]\nExecStart=/bin/false\n"),
        ("broken.service", "[Service]\nExecStart=nowhere/near\n"),
        ("quick.service", SLEEPER),
    ];
    let results = stage.load(&units).await;
    ensure!(results[3].is_err() && results.iter().filter(|result| result.is_ok()).count() == 4, "{results:#?}");
    stage.start("stuck.service").await?;
    stage.executor.start("slow.service").await?;
    stage.executor.start("failing.service").await?;
    stage.until_state("slow.service", "activating", "start-pre").await?;
    stage.executor.stop("stuck.service").await?;
    stage.until_state("stuck.service", "deactivating", "stop").await?;
    stage.start("quick.service").await?;
    stage.until_state("failing.service", "failed", "failed").await?;
    for unit in ["slow.service", "stuck.service"] {
        ensure!(
            matches!(stage.states[unit].active.as_str(), "activating" | "deactivating"),
            "{:?}",
            stage.states[unit]
        );
    }
    run("systemctl kill -s KILL stuck.service; systemctl kill -s KILL --kill-whom=control stuck.service")?;
    let names: Vec<String> = stage.states.keys().cloned().collect();
    let results = futures_util::future::join_all(names.iter().map(|name| stage.executor.unload(name))).await;
    ensure!(results.iter().all(Result::is_ok), "{results:#?}");
    stage.until("all to be gone", |states| states.is_empty()).await?;
    nothing_is_left(&names)
}
