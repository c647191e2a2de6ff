//! Transactions: all checks first, against the state before; then the operations, each seeing those before it.
//!
//! Source of the rules: etcd's `checkTxnRequest`, `checkIntervals` and `applyTxn` as documented and observed.

use std::collections::BTreeSet;

use super::apply;
use super::command::Position;
use super::error::KvError;
use super::layout::in_range;
use super::read;
use super::state::Marks;
use super::stop::{self, Stop};
use super::tables::{Tables, TablesError};
use super::types::{
    Compare, CompareResult, CompareTarget, KeyValue, RangeRequest, Space, TxnOp, TxnOpReply, TxnReply, TxnRequest,
};
use super::writer::Writer;
use crate::base::limits::TXN_OPS_MAX;

/// Carries out a transaction, or refuses it without a trace.
pub(super) fn run(writer: &mut Writer<'_>, request: &TxnRequest) -> Result<TxnReply, Stop> {
    check(request, TXN_OPS_MAX)?;
    check_intervals(&request.success)?;
    check_intervals(&request.failure)?;
    let plan = decide(writer.tables, request)?;
    check_now(writer, request, &plan)?;
    execute(writer, request, &plan)
}

/// Answers a transaction that [reads only](TxnRequest::reads_only) from one moment of the tables, which it tells with the answer.
///
/// # Errors
/// Broken tables; what the request itself is refused for is within.
pub fn read_txn(
    tables: &dyn Tables,
    request: &TxnRequest,
) -> Result<(Position, Result<TxnReply, KvError>), TablesError> {
    let marks = Marks::load(tables)?;
    let answer = || {
        check(request, TXN_OPS_MAX)?;
        let plan = decide(tables, request)?;
        look(tables, &marks, request, &plan)
    };
    Ok((marks.position(), stop::split(answer())?))
}

/// The ranges of the branches that are taken.
fn look(tables: &dyn Tables, marks: &Marks, request: &TxnRequest, plan: &Plan) -> Result<TxnReply, Stop> {
    let mut nested_plans = plan.nested.iter();
    let mut replies = Vec::new();
    for op in plan.branch(request) {
        match (op, nested_plans.as_slice()) {
            (TxnOp::Range(range), _) => {
                read::check(marks, range)?;
                replies.push(TxnOpReply::Range(read::read(tables, range)?));
            }
            (TxnOp::Txn(nested), [plan, ..]) => {
                nested_plans.next();
                replies.push(TxnOpReply::Txn(look(tables, marks, nested, plan)?));
            }
            _ => {}
        }
    }
    Ok(TxnReply { succeeded: plan.succeeded, replies })
}

impl TxnRequest {
    /// Whether it changes nothing, whichever branch is taken.
    pub fn reads_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Txn(nested) => nested.reads_only(),
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => false,
        })
    }
}

/// Which branch a transaction takes, and those within it, all decided before the first operation.
struct Plan {
    succeeded: bool,
    /// One for each nested transaction of the branch, in order.
    nested: Vec<Plan>,
}

impl Plan {
    fn branch<'r>(&self, request: &'r TxnRequest) -> &'r [TxnOp] {
        if self.succeeded { &request.success } else { &request.failure }
    }
}

/// The form of the request: sizes and empty keys. Nested transactions share what their parent left of the budget.
fn check(request: &TxnRequest, budget: usize) -> Result<(), KvError> {
    let used = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = budget.checked_sub(used).ok_or(KvError::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(KvError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            TxnOp::Range(range) if range.key.is_empty() => return Err(KvError::EmptyKey),
            TxnOp::Range(_) => {}
            TxnOp::Put(put) => apply::check_put(put)?,
            TxnOp::DeleteRange(delete) => apply::check_delete(delete)?,
            TxnOp::Txn(nested) => check(nested, left)?,
        }
    }
    Ok(())
}

type PutKey<'r> = (Space, &'r [u8]);
type DeletedRange<'r> = (Space, &'r [u8], &'r [u8]);

/// The keys that some operations put and the ranges that they delete.
#[derive(Default)]
struct Touched<'r> {
    puts: BTreeSet<PutKey<'r>>,
    deletes: Vec<DeletedRange<'r>>,
}

impl<'r> Touched<'r> {
    fn deletes(&self, put: PutKey<'r>) -> bool {
        self.deletes.iter().any(|(space, from, end)| *space == put.0 && in_range(put.1, from, end))
    }

    /// Adds a put that must be the only change of its key; `twin` holds keys that the other branch of the same `if` puts.
    fn add(&mut self, put: PutKey<'r>, twin: &BTreeSet<PutKey<'r>>) -> Result<(), KvError> {
        if (self.puts.contains(&put) && !twin.contains(&put)) || self.deletes(put) {
            return Err(KvError::DuplicateKey);
        }
        self.puts.insert(put);
        Ok(())
    }
}

/// No key may be put twice, or put and deleted, in one branch. The two branches of a nested transaction exclude each other.
fn check_intervals(ops: &[TxnOp]) -> Result<Touched<'_>, KvError> {
    let none = BTreeSet::new();
    let mut touched = Touched::default();
    for op in ops {
        if let TxnOp::DeleteRange(delete) = op {
            touched.deletes.push((delete.space, &delete.key, &delete.range_end));
        }
    }
    for op in ops {
        if let TxnOp::Txn(nested) = op {
            let success = check_intervals(&nested.success)?;
            let failure = check_intervals(&nested.failure)?;
            for put in &success.puts {
                touched.add(*put, &none)?;
            }
            for put in &failure.puts {
                touched.add(*put, &success.puts)?;
            }
            touched.deletes.extend(success.deletes);
            touched.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let TxnOp::Put(put) = op {
            touched.add((put.space, &put.key), &none)?;
        }
    }
    Ok(touched)
}

fn decide<T: Tables + ?Sized>(tables: &T, request: &TxnRequest) -> Result<Plan, Stop> {
    let mut succeeded = true;
    for compare in &request.compare {
        succeeded = succeeded && holds(tables, compare)?;
    }
    let mut plan = Plan { succeeded, nested: Vec::new() };
    for op in plan.branch(request) {
        if let TxnOp::Txn(nested) = op {
            plan.nested.push(decide(tables, nested)?);
        }
    }
    Ok(plan)
}

/// Whether a comparison holds: of every key in its range, or of its single key, which counts as all zeros where it does not exist.
fn holds<T: Tables + ?Sized>(tables: &T, compare: &Compare) -> Result<bool, Stop> {
    let range = RangeRequest {
        space: compare.space,
        key: compare.key.clone(),
        range_end: compare.range_end.clone(),
        keys_only: !matches!(compare.target, CompareTarget::Value(_)),
        ..RangeRequest::default()
    };
    let found = read::read(tables, &range)?.kvs;
    if found.is_empty() && compare.range_end.is_empty() {
        let missing_value = matches!(compare.target, CompareTarget::Value(_));
        return Ok(!missing_value && holds_of(compare, &KeyValue::default()));
    }
    Ok(found.iter().all(|kv| holds_of(compare, kv)))
}

fn holds_of(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}

/// What the state forbids in the branches that will run.
fn check_now(writer: &Writer<'_>, request: &TxnRequest, plan: &Plan) -> Result<(), Stop> {
    let mut nested_plans = plan.nested.iter();
    for op in plan.branch(request) {
        match op {
            TxnOp::Range(range) => read::check(&writer.state.marks, range)?,
            TxnOp::Put(put) => apply::check_put_now(writer, put)?,
            TxnOp::DeleteRange(_) => {}
            TxnOp::Txn(nested) => {
                if let Some(plan) = nested_plans.next() {
                    check_now(writer, nested, plan)?;
                }
            }
        }
    }
    Ok(())
}

fn execute(writer: &mut Writer<'_>, request: &TxnRequest, plan: &Plan) -> Result<TxnReply, Stop> {
    let mut nested_plans = plan.nested.iter();
    let mut replies = Vec::new();
    for op in plan.branch(request) {
        replies.push(match op {
            TxnOp::Range(range) => TxnOpReply::Range(read::read(writer.tables, range)?),
            TxnOp::Put(put) => TxnOpReply::Put { prev: apply::put(writer, put)? },
            TxnOp::DeleteRange(delete) => {
                let (deleted, prev) = apply::delete_range(writer, delete)?;
                TxnOpReply::DeleteRange { deleted, prev }
            }
            TxnOp::Txn(nested) => match nested_plans.next() {
                Some(plan) => TxnOpReply::Txn(execute(writer, nested, plan)?),
                None => continue,
            },
        });
    }
    Ok(TxnReply { succeeded: plan.succeeded, replies })
}
