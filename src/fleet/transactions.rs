//! A plan as transactions: written only while its parent is the newest plan and its units are as they were.

use super::layout::{Key, encode};
use super::plan::Plan;
use super::reason::Decision;
use super::types::{PlanHead, Scheduled};
use crate::base::LeaseId;
use crate::kv::{Compare, TxnOp, TxnRequest};

/// The transactions that carry a plan out, to be sent in their order and abandoned at the first that does not succeed:
/// the cluster has changed then, and is to be planned anew. Each has at most `ops_max` conditions and operations
/// (at least 4), and each alone leaves the schedule sound. None for a plan that decides nothing.
pub fn transactions(plan: &Plan, ops_max: usize) -> Vec<TxnRequest> {
    let mut head = plan.parent;
    let mut transactions: Vec<TxnRequest> = Vec::new();
    for decision in &plan.decisions {
        let conditions = conditions(decision);
        let full = |request: &TxnRequest| {
            let most = (request.compare.len() + conditions.len()).max(request.success.len() + 1);
            most > ops_max && request.compare.len() > 1
        };
        if transactions.last().is_none_or(full) {
            // The revision of a head that an earlier one of these writes is not known yet, its value is.
            let parent = match transactions.is_empty() {
                true => Key::Plan.unchanged(head.mod_revision),
                false => Key::Plan.has_value(encode(&head)),
            };
            head = PlanHead { generation: head.generation + 1, mod_revision: 0 };
            transactions.push(TxnRequest {
                compare: vec![parent],
                success: vec![Key::Plan.put(encode(&head), LeaseId::NONE)],
                failure: Vec::new(),
            });
        }
        if let Some(request) = transactions.last_mut() {
            request.compare.extend(conditions);
            request.success.push(operation(decision, head.generation));
        }
    }
    transactions
}

/// What has to be as it was for a decision to hold.
fn conditions(decision: &Decision) -> Vec<Compare> {
    let mut conditions = vec![Key::Unit(decision.unit.clone()).unchanged(decision.unit_revision)];
    if let Some(precaution) = &decision.precaution {
        conditions.push(Key::Schedule(decision.unit.clone()).unchanged(precaution.revision));
        let machine = Key::Machine(precaution.entry.machine.clone());
        conditions.extend(precaution.machine_revision.map(|revision| machine.unchanged(revision)));
    }
    conditions
}

/// What a decision writes.
fn operation(decision: &Decision, generation: u64) -> TxnOp {
    let schedule = Key::Schedule(decision.unit.clone());
    let (moved_from, failures) = (decision.moved_from(), decision.failures());
    let scheduled = match (&decision.precaution, &decision.to) {
        (Some(precaution), _) if precaution.asks_first => {
            Scheduled { generation, moved_from, failures, leaving: true, ..precaution.entry.clone() }
        }
        (_, None) => return schedule.delete(),
        (_, Some(machine)) => {
            Scheduled { machine: machine.clone(), generation, moved_from, failures, ..Scheduled::default() }
        }
    };
    schedule.put(encode(&scheduled), LeaseId::NONE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plan::plan;
    use super::super::testkit::Store;
    use super::*;

    #[test]
    fn a_plan_is_written_once_and_only_over_its_parent() {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.launched("a.service", "");
        let stale = transactions(&plan(&store.cluster()), 128);
        assert_eq!(stale.len(), 1);
        assert!(store.txn(&stale[0]));
        assert!(!store.txn(&stale[0]));
        assert_eq!(store.cluster().head.generation, 1);
        assert_eq!(store.cluster().schedule["a.service"].generation, 1);
        assert!(transactions(&plan(&store.cluster()), 128).is_empty());
    }

    #[test]
    fn a_unit_changed_meanwhile_stops_the_plan() {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.launched("a.service", "");
        let stale = transactions(&plan(&store.cluster()), 128);
        store.launched("a.service", "Global=true");
        assert!(!store.txn(&stale[0]));
        store.destroy("a.service");
        assert!(!store.txn(&stale[0]));
        assert!(store.cluster().schedule.is_empty());
    }

    #[test]
    fn a_long_plan_is_several_transactions_in_a_row() {
        let mut store = Store::default();
        store.machine("m1", &[]);
        for n in 0..10 {
            store.launched(&format!("a@{n}.service"), "");
        }
        let parts = transactions(&plan(&store.cluster()), 4);
        assert_eq!(parts.len(), 4);
        for part in &parts {
            assert!(part.compare.len() <= 4 && part.success.len() <= 4);
        }
        assert!(!store.txn(&parts[1]));
        for part in &parts {
            assert!(store.txn(part));
        }
        assert_eq!(store.cluster().schedule.len(), 10);
        assert_eq!(store.cluster().head.generation, 4);
    }
}
