//! What Prometheus is told of each resource of this node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::UnixMillis;
use crate::confd::{State, Status};

/// The counts and the last state of each resource, shared by the job that makes passes and whoever is asked.
#[derive(Clone, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<String, Reading>>>);

/// One resource.
#[derive(Clone, Debug, Default)]
struct Reading {
    passes: u64,
    failures: u64,
    replaced: u64,
    failed: bool,
    lookups: usize,
    revision: i64,
    at: UnixMillis,
    took_us: u64,
}

/// A line for each resource: name, kind, help, value.
type Column = (&'static str, &'static str, &'static str, fn(&Reading) -> f64);

const COLUMNS: [Column; 8] = [
    ("passes_total", "counter", "Passes made.", |one| one.passes as f64),
    ("failures_total", "counter", "Passes that failed.", |one| one.failures as f64),
    ("replaced_total", "counter", "Files replaced or removed.", |one| one.replaced as f64),
    ("failed", "gauge", "Whether the last pass failed.", |one| f64::from(u8::from(one.failed))),
    ("lookups", "gauge", "Keys, patterns and folders that the template looked up.", |one| one.lookups as f64),
    ("revision", "gauge", "Revision of the keys that was rendered last.", |one| one.revision as f64),
    ("last_pass_timestamp_seconds", "gauge", "When the last pass ended.", |one| one.at.0 as f64 / 1e3),
    ("last_pass_seconds", "gauge", "How long the last pass took.", |one| one.took_us as f64 / 1e6),
];

impl Meter {
    /// A pass has ended, after which the resource is as `status` tells; `replaced` files are new or gone.
    pub(super) fn count(&self, status: &Status, replaced: usize) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = readings.entry(status.name.clone()).or_default();
        one.passes += 1;
        one.failed = status.state == State::Failed;
        one.failures += u64::from(one.failed);
        one.replaced += replaced as u64;
        (one.lookups, one.revision) = (status.reads.len(), status.revision);
        (one.at, one.took_us) = (status.at, status.steps.total_us());
    }

    /// Forgets a resource.
    pub(super) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// All of it in Prometheus' text format; nothing where there is no resource.
impl fmt::Display for Meter {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, kind, help, value) in COLUMNS.iter().filter(|_| !readings.is_empty()) {
            writeln!(text, "# HELP corenode_template_{name} {help}\n# TYPE corenode_template_{name} {kind}")?;
            for (resource, reading) in &readings {
                let label = resource.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                writeln!(text, "corenode_template_{name}{{resource=\"{label}\"}} {}", value(reading))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confd::Steps;

    #[test]
    fn a_resource_has_a_line_in_each_column() {
        let meter = Meter::default();
        assert_eq!(meter.to_string(), "");
        let mut status = Status {
            name: "sub/\"x".into(),
            machine: "m".into(),
            file: "/c/x.toml".into(),
            dest: "/d".into(),
            state: State::Ok,
            reads: Vec::new(),
            revision: 7,
            at: UnixMillis(1_500),
            steps: Steps { wait_us: 1_000, render_us: 500_000, ..Steps::default() },
            trouble: None,
            changes: Vec::new(),
        };
        meter.count(&status, 1);
        status.state = State::Failed;
        meter.count(&status, 0);
        let text = meter.to_string();
        for (name, value) in [
            ("passes_total", "2"),
            ("failures_total", "1"),
            ("replaced_total", "1"),
            ("failed", "1"),
            ("lookups", "0"),
            ("revision", "7"),
            ("last_pass_timestamp_seconds", "1.5"),
            ("last_pass_seconds", "0.501"),
        ] {
            let line = format!("\ncorenode_template_{name}{{resource=\"sub/\\\"x\"}} {value}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        meter.forget("sub/\"x");
        assert_eq!(meter.to_string(), "");
    }
}
