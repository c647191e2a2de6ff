//! `/metrics`: Prometheus text under the names that etcd's dashboards ask for, as far as there are true values here.

use std::fmt::{Display, Write as _};

use axum::response::{IntoResponse, Response};
use hyper::header;

use super::{Shared, version};

/// Linux counts processor time in this many ticks a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Prometheus text in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    fn put(&mut self, kind: &str, name: &str, help: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.put("gauge", name, help, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.put("counter", name, help, "", value);
    }
}

pub(super) fn answer(shared: &Shared) -> Response {
    let mut text = Text::default();
    of_the_store(shared, &mut text);
    rest(shared, text)
}

/// Without those of a store, where that is another program.
#[cfg(feature = "scheduler")]
pub(super) fn answer_without_store(shared: &Shared) -> Response {
    rest(shared, Text::default())
}

fn rest(shared: &Shared, mut text: Text) -> Response {
    for more in &shared.metrics {
        let _ = write!(text.0, "{more}");
    }
    of_the_process(&mut text);
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], text.0).into_response()
}

fn of_the_store(shared: &Shared, text: &mut Text) {
    let status = shared.store.status();
    let truth = |value: bool| u8::from(value);
    let silent = status.peers.iter().filter(|peer| peer.silent.is_some()).count();
    text.gauge("etcd_server_has_leader", "Whether a leader is known.", truth(status.leader.is_some()));
    text.gauge("etcd_server_is_leader", "Whether this member leads.", truth(status.leader == Some(status.member)));
    text.gauge("etcd_server_is_learner", "Whether this member is a learner.", truth(status.learner));
    let changes = shared.leader_changes.load(std::sync::atomic::Ordering::Relaxed);
    text.counter("etcd_server_leader_changes_seen_total", "Leaders seen since the start.", changes);
    text.gauge("etcd_server_proposals_applied_total", "Log entries applied.", status.raft_applied);
    let (name, help) = ("etcd_debugging_mvcc_current_revision", "Newest revision of the keys.");
    text.gauge(name, help, status.position.revision);
    text.gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the state file.", status.db_bytes);
    let (name, help) = ("etcd_mvcc_db_total_size_in_use_in_bytes", "What of the state file is in use.");
    text.gauge(name, help, status.db_bytes_in_use);
    let labels = format!("{{server_version=\"{}\"}}", version::ETCD_SERVER);
    text.put("gauge", "etcd_server_version", "The version of etcd that clients are told.", &labels, 1);
    let labels = format!("{{cluster_version=\"{}\"}}", version::ETCD_CLUSTER);
    text.put("gauge", "etcd_cluster_version", "The version of the cluster that clients are told.", &labels, 1);
    let labels = format!("{{server_id=\"{:x}\"}}", status.member.0);
    text.put("gauge", "etcd_server_id", "This member.", &labels, 1);
    text.gauge("corenode_peers_silent", "Peers that do not answer.", silent);
}

/// What every Prometheus client tells of its process. What the system does not tell is left out.
fn of_the_process(text: &mut Text) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some((ticks, start)) = times(&read("/proc/self/stat")) {
        text.counter("process_cpu_seconds_total", "Processor time used.", ticks / TICKS_PER_SECOND);
        if let Some(booted) = number_after(&read("/proc/stat"), "btime") {
            let started = booted + start / TICKS_PER_SECOND;
            text.gauge("process_start_time_seconds", "Start of the process, since the epoch.", started);
        }
    }
    let status = read("/proc/self/status");
    if let Some(kib) = number_after(&status, "VmRSS:") {
        text.gauge("process_resident_memory_bytes", "Resident memory.", kib * 1024.0);
    }
    if let Some(kib) = number_after(&status, "VmSize:") {
        text.gauge("process_virtual_memory_bytes", "Virtual memory.", kib * 1024.0);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open file descriptors.", open.count());
    }
    if let Some(most) = number_after(&read("/proc/self/limits"), "Max open files") {
        text.gauge("process_max_fds", "Open file descriptors allowed.", most);
    }
}

/// Ticks of processor time, and of the boot's age when the process began, from `/proc/self/stat` (proc_pid_stat(5)).
fn times(stat: &str) -> Option<(f64, f64)> {
    // The name in parentheses may hold anything; the third field follows it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The first number of the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4 1 0 0 0 250 50 0 0 20 0 9 0 123456 1 2";
        assert_eq!(times(stat), Some((300.0, 123_456.0)));
        assert_eq!(times("nonsense"), None);
        assert_eq!(number_after("VmSize:\t 10 kB\nVmRSS:\t  42 kB\n", "VmRSS:"), Some(42.0));
    }
}
