//! Children that a node has from its former life, where that handed its process on: their ends are seen to, so that nothing is left
//! of them in the kernel's table.

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sees to all of them. To be called in a runtime, before this life has children of its own.
pub fn see_to() {
    let inherited = children();
    if inherited.is_empty() {
        return;
    }
    match signal(SignalKind::child()) {
        Ok(ended) => drop(tokio::spawn(wait_for(inherited, ended))),
        Err(error) => tracing::warn!("processes of the node's former life will be left in the kernel's table: {error}"),
    }
}

/// Looks at all that are left whenever some child has ended.
async fn wait_for(mut left: Vec<Pid>, mut ended: Signal) {
    loop {
        // `None`: it runs.
        left.retain(|pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        if left.is_empty() || ended.recv().await.is_none() {
            return;
        }
    }
}

/// The processes whose parent this one is.
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).is_some_and(|parent| parent == own)
    };
    numbers.filter(is_ours).filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    #[allow(clippy::zombie_processes)] // That it is waited for elsewhere is what is looked at.
    async fn a_child_is_found_and_its_end_seen_to() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(children().contains(&pid));
        let waiting = tokio::spawn(wait_for(vec![pid], signal(SignalKind::child()).unwrap()));
        child.kill().unwrap();
        waiting.await.unwrap();
        assert!(!children().contains(&pid));
    }
}
