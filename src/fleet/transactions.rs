//! A plan as transactions: written only while its parent is the newest plan and its units are as they were.

use super::layout::{Key, encode};
use super::plan::Plan;
use super::types::{PlanHead, Scheduled};
use crate::base::LeaseId;
use crate::kv::TxnRequest;

/// The transactions that carry a plan out, to be sent in their order and abandoned at the first that does not succeed:
/// the cluster has changed then, and is to be planned anew. Each has at most `ops_max` conditions and operations
/// (at least 2), and each alone leaves the schedule sound. None for a plan that decides nothing.
pub fn transactions(plan: &Plan, ops_max: usize) -> Vec<TxnRequest> {
    let per_transaction = ops_max.max(2) - 1;
    let mut head = plan.parent;
    let mut transactions = Vec::new();
    for (index, decisions) in plan.decisions.chunks(per_transaction).enumerate() {
        // The revision of a head that an earlier one of these writes is not known yet, its value is.
        let parent = match index {
            0 => Key::Plan.unchanged(head.mod_revision),
            _ => Key::Plan.has_value(encode(&head)),
        };
        head = PlanHead { generation: head.generation + 1, mod_revision: 0 };
        let mut request = TxnRequest {
            compare: vec![parent],
            success: vec![Key::Plan.put(encode(&head), LeaseId::NONE)],
            failure: Vec::new(),
        };
        for decision in decisions {
            let unit = Key::Unit(decision.unit.clone());
            let schedule = Key::Schedule(decision.unit.clone());
            request.compare.push(unit.unchanged(decision.unit_revision));
            request.success.push(match &decision.to {
                None => schedule.delete(),
                Some(machine) => {
                    let scheduled = Scheduled {
                        machine: machine.clone(),
                        generation: head.generation,
                        moved_from: decision.moved_from(),
                        failures: decision.failures(),
                    };
                    schedule.put(encode(&scheduled), LeaseId::NONE)
                }
            });
        }
        transactions.push(request);
    }
    transactions
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
