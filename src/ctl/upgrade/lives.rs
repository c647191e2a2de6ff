//! Which processes the units of a machine are, so that it can be seen that they stay the same.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::Value;

use crate::ctl::contact::Contact;
use crate::ctl::node_ctl::{self, ANSWER_WITHIN};

/// What `systemctl status` has before a unit's main process, and our own executors too.
const MAIN_PID: &str = "Main PID: ";

/// Units that are active, with their main processes; a container has none of the host's.
pub type Lives = BTreeMap<String, Vec<String>>;

/// Of the units on a machine, by its id.
pub async fn of(door: &Contact, machine: &str) -> Lives {
    let mut lives = Lives::new();
    // Where units are not served there are none.
    let states = node_ctl::listed(door, "state", "states").await.unwrap_or_default();
    let here = |state: &&Value| state["machineID"] == machine && state["systemdActiveState"] == "active";
    for unit in states.iter().filter(here).filter_map(|state| state["name"].as_str()) {
        let path = format!("/fleet/v1/status/{unit}?machine={machine}");
        let Ok(answer) = door.call(Method::GET, &path, None, ANSWER_WITHIN).await else { continue };
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        lives.insert(unit.to_owned(), processes(said["text"].as_str().unwrap_or_default()));
    }
    lives
}

/// The main processes that a status tells of.
fn processes(status: &str) -> Vec<String> {
    let pid = |line: &str| line.trim().strip_prefix(MAIN_PID)?.split(' ').next().map(str::to_owned);
    status.lines().filter_map(pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_processes_are_read_off_a_status() {
        let text = "● a.service - A\n   Active: active\n Main PID: 42 (web)\n   Memory: 1M\n";
        assert_eq!(processes(text), ["42"]);
        assert!(processes("● b.container\n   Active: active\n").is_empty());
    }
}
