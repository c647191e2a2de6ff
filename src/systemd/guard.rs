//! The guard of exclusive units: a process of its own, kept alive by systemd, that stops them when their time is over. It asks
//! systemd through `systemctl`, which needs no bus.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::fence::allowance;
use crate::base::BootMillis;
use crate::base::limits::{FENCE_KILL_AGAIN_MS, FENCE_LOOK_MS, FENCE_STOP_MS};

/// What the arguments after [`super::GUARD_ARGUMENT`] ask for; returns the exit code.
pub fn guard_main(arguments: &[String]) -> u8 {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["guard", dir] => watch_over(Path::new(dir)),
        ["may-start", dir, unit] => {
            let may = allowance(Path::new(dir), unit).is_some_and(|until| now() < until);
            if !may {
                println!("The lease of this machine has run out, and Exclusive=true: not started");
            }
            u8::from(!may)
        }
        _ => {
            eprintln!("this is for the node itself: it takes the directory of allowances");
            2
        }
    }
}

/// By `CLOCK_BOOTTIME`, as the node reckons.
fn now() -> BootMillis {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    BootMillis(seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000))
}

/// Looks at the allowances for ever.
fn watch_over(dir: &Path) -> u8 {
    // Units that were told to stop, and the allowance that was over then.
    let mut told: BTreeMap<String, BootMillis> = BTreeMap::new();
    loop {
        let units = allowances(dir);
        told.retain(|unit, until| units.get(unit) == Some(until));
        let mut pause = FENCE_LOOK_MS;
        for (unit, until) in &units {
            let left = now().until(*until);
            if left > 0 {
                pause = pause.min(left);
            } else if is_down(unit) {
                continue;
            } else if until.plus_ms(FENCE_STOP_MS) <= now() {
                systemctl(&["kill", "--signal=SIGKILL", "--", unit]);
                systemctl(&["stop", "--no-block", "--", unit]);
                pause = FENCE_KILL_AGAIN_MS;
            } else {
                if told.insert(unit.clone(), *until).is_none() {
                    println!("The lease of this machine has run out, and Exclusive=true: stopping {unit}");
                    systemctl(&["stop", "--no-block", "--", unit]);
                }
                pause = FENCE_KILL_AGAIN_MS;
            }
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
}

fn allowances(dir: &Path) -> BTreeMap<String, BootMillis> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.'));
    // One that cannot be read allows nothing.
    let of = |name: String| {
        let until = allowance(dir, &name).unwrap_or_default();
        (name, until)
    };
    names.map(of).collect()
}

/// Whether systemd runs nothing of a unit.
fn is_down(unit: &str) -> bool {
    let asked = Command::new("systemctl").args(["is-active", "--", unit]).stdin(Stdio::null()).output();
    let state = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    state.is_ok_and(|state| matches!(state.as_str(), "inactive" | "failed"))
}

fn systemctl(arguments: &[&str]) {
    match Command::new("systemctl").args(arguments).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        // It is tried again.
        Ok(status) => eprintln!("systemctl {arguments:?}: {status}"),
        Err(error) => eprintln!("systemctl {arguments:?}: {error}"),
    }
}
