//! What this node's engine has done since the node was started, in numbers, under the names that fleetd had for them.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::plan::Plan;
use super::reason::Reason;
use crate::base::UnixMillis;

/// Counters; each only grows.
#[derive(Debug, Default)]
pub struct Counts {
    /// When this node came to plan last; 0: it never did.
    leading_since_ms: AtomicI64,
    passes: AtomicU64,
    scheduled: AtomicU64,
    unscheduled: AtomicU64,
    /// Of both, what was not written because the cluster had changed meanwhile.
    not_scheduled: AtomicU64,
    not_unscheduled: AtomicU64,
    /// Units whose machine had gone, that did not fit any more where they were, and that fit nowhere.
    machine_away: AtomicU64,
    run: AtomicU64,
    schedule: AtomicU64,
}

impl Counts {
    /// This node plans from now on.
    pub fn leads(&self, now: UnixMillis) {
        self.leading_since_ms.store(now.0, Ordering::Relaxed);
    }

    /// A plan was made, and written or not.
    pub fn planned(&self, plan: &Plan, written: bool) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        add(&self.passes, 1);
        let (left, came) = (
            plan.decisions.iter().filter(|decision| decision.from.is_some()),
            plan.decisions.iter().filter(|decision| decision.to.is_some()),
        );
        add(if written { &self.unscheduled } else { &self.not_unscheduled }, left.clone().count());
        add(if written { &self.scheduled } else { &self.not_scheduled }, came.count());
        let gone = left.clone().filter(|decision| decision.reason == Reason::MachineGone).count();
        add(&self.machine_away, gone);
        let wished = |reason: &Reason| {
            matches!(reason, Reason::Inactive | Reason::Destroyed | Reason::BecameGlobal | Reason::Rebalanced)
        };
        add(&self.run, left.filter(|decision| !wished(&decision.reason)).count() - gone);
        add(&self.schedule, plan.waiting.len());
    }
}

/// Labels, and what was counted for each.
type Values<'a> = &'a [(&'a str, &'a AtomicU64)];

impl fmt::Display for Counts {
    /// Prometheus text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unscheduling, scheduling) = ("{type=\"UnscheduleUnit\"}", "{type=\"AttemptScheduleUnit\"}");
        let since = self.leading_since_ms.load(Ordering::Relaxed);
        let (name, help) = ("leader_start_time", "When this node came to plan, in seconds since the epoch.");
        writeln!(f, "# HELP fleet_engine_{name} {help}\n# TYPE fleet_engine_{name} gauge")?;
        writeln!(f, "fleet_engine_{name} {}", since / 1_000)?;
        let counters: [(&str, &str, Values<'_>); 4] = [
            (
                "task_count_total",
                "Units that were put on machines or taken from them.",
                &[(unscheduling, &self.unscheduled), (scheduling, &self.scheduled)],
            ),
            (
                "task_failure_count_total",
                "The same where the cluster changed before it was written.",
                &[(unscheduling, &self.not_unscheduled), (scheduling, &self.not_scheduled)],
            ),
            ("reconcile_count_total", "Passes of the scheduler.", &[("", &self.passes)]),
            (
                "reconcile_failure_count_total",
                "Units whose machine was gone, that could not stay where they were, and that fitted nowhere.",
                &[
                    ("{type=\"machine_away\"}", &self.machine_away),
                    ("{type=\"run\"}", &self.run),
                    ("{type=\"schedule\"}", &self.schedule),
                ],
            ),
        ];
        for (name, help, values) in counters {
            writeln!(f, "# HELP fleet_engine_{name} {help}\n# TYPE fleet_engine_{name} counter")?;
            for (labels, counter) in values {
                writeln!(f, "fleet_engine_{name}{labels} {}", counter.load(Ordering::Relaxed))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::super::testkit::Store;
    use super::*;

    #[test]
    fn h_metrics() {
        let (counts, mut store) = (Counts::default(), Store::default());
        counts.leads(UnixMillis(1_700_000_000_123));
        store.machine("m1", &[]);
        store.machine("m2", &[("disk", "ssd")]);
        store.launched("a.service", "MachineMetadata=disk=ssd");
        store.launched("b.service", "MachineMetadata=disk=ssd");
        store.launched("nowhere.service", "MachineMetadata=disk=tape");
        counts.planned(&plan(&store.cluster()), true);
        counts.planned(&plan(&store.cluster()), false);
        store.settle();
        store.lose("m2");
        counts.planned(&plan(&store.cluster()), true);
        let text = counts.to_string();
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "fleet_engine_leader_start_time 1700000000",
                "fleet_engine_task_count_total{type=\"UnscheduleUnit\"} 2",
                "fleet_engine_task_count_total{type=\"AttemptScheduleUnit\"} 2",
                "fleet_engine_task_failure_count_total{type=\"UnscheduleUnit\"} 0",
                "fleet_engine_task_failure_count_total{type=\"AttemptScheduleUnit\"} 2",
                "fleet_engine_reconcile_count_total 3",
                "fleet_engine_reconcile_failure_count_total{type=\"machine_away\"} 2",
                "fleet_engine_reconcile_failure_count_total{type=\"run\"} 0",
                "fleet_engine_reconcile_failure_count_total{type=\"schedule\"} 5",
            ]
        );
    }
}
