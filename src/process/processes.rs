//! Processes as the kernel's `/proc` shows them: who descends from whom, who belongs to an invocation, and signals.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::{Pid, Signal};

/// Rounds of looking for children that were forked while the others were being signalled.
const SIGNAL_ROUNDS_MAX: usize = 16;

/// Every process below `root`, without it.
pub fn descendants(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        for &child in children.get(&pid).into_iter().flatten() {
            if found.insert(child) {
                next.push(child);
            }
        }
    }
    found
}

/// Whether `pid` descends from `root`.
pub fn descends(pid: u32, root: u32) -> bool {
    descendants(root).contains(&pid)
}

/// Whether there is such a process (a zombie is none).
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// The name of its program, as the kernel keeps it (15 bytes).
pub fn name(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Processes that carry `INVOCATION_ID=<id>` in their environment.
pub fn of_invocation(id: &str) -> Vec<u32> {
    if id.is_empty() {
        return Vec::new();
    }
    let wanted = format!("INVOCATION_ID={id}").into_bytes();
    let carries = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == wanted))
    };
    all().filter(carries).collect()
}

/// Processes whose command line satisfies a condition.
pub fn with_arguments(wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<u32> {
    let meets = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<&[u8]> = line.strip_suffix(&[0]).unwrap_or(&line).split(|byte| *byte == 0).collect();
        wanted(&arguments)
    };
    all().filter(meets).collect()
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: u32, number: i32) {
    let Some((pid, signal)) = pid_of(pid).zip(signal_of(number)) else {
        return;
    };
    if let Err(error) = rustix::process::kill_process(pid, signal) {
        tracing::debug!(pid = pid.as_raw_pid(), number, %error, "signal not sent");
    }
}

/// Sends a signal to every process below `root`, and to those that they fork meanwhile. Stopped ones are woken to take it.
pub fn signal_descendants(root: u32, number: i32) {
    let mut done = BTreeSet::new();
    for _ in 0..SIGNAL_ROUNDS_MAX {
        let new: Vec<u32> = descendants(root).into_iter().filter(|pid| !done.contains(pid) && alive(*pid)).collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            signal_and_wake(pid, number);
            done.insert(pid);
        }
    }
}

/// Sends a signal and SIGCONT after it: a stopped process takes its signals only once it goes on.
pub fn signal_and_wake(pid: u32, number: i32) {
    signal(pid, number);
    if number != Signal::KILL.as_raw() {
        signal(pid, Signal::CONT.as_raw());
    }
}

fn all() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|(_, parent)| parent)
}

/// State and parent out of `/proc/PID/stat`: what follows the last `)`, since a program's name may hold anything.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The signal of a number; real-time signals included, those that the C library keeps for itself not.
pub fn signal_of(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        // SAFETY: these numbers are only sent to units' processes; none is handled, blocked or sent to this one, whose
        // C library might use it. 32 and 33 are left out since every C library keeps them.
        (34..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_itself_below_its_parent() {
        let me = std::process::id();
        let parent = parent(me).unwrap();
        assert!(descends(me, parent));
        assert!(!descends(parent, me));
        assert!(alive(me));
        assert!(!alive(u32::MAX));
    }

    #[test]
    fn names_signals() {
        assert_eq!(signal_of(15), Some(Signal::TERM));
        assert_eq!(signal_of(0), None);
        assert_eq!(signal_of(33), None);
        assert_eq!(signal_of(37).map(Signal::as_raw), Some(37));
        assert_eq!(signal_of(65), None);
    }
}
