//! Closed loops: each client asks, waits for the answer, and asks again.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corenode::wire::etcdserverpb as pb;
use futures_util::future::try_join_all;
use prost::Message as _;
use rand::RngExt as _;

use super::grpc::{Connection, frame};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Keys that the loops read and write.
pub const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 256;
const LEASE_SECONDS: i64 = 3_600;
const FILLERS: usize = 16;
/// Puts in a transaction of a filler; etcd allows 128.
const FILL_BATCH: usize = 100;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Put,
    Range {
        serializable: bool,
    },
    /// Nine linearizable reads, one write.
    Mixed,
    /// A comparison, a put and a range.
    Txn,
    /// A lease, and a key that hangs on it: one operation.
    LeasedPut,
}

/// What clients got done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub operations: f64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.operations / self.seconds
    }
}

/// Each client has a connection of its own; the clients are spread over the members.
pub async fn closed_loop(servers: &[SocketAddr], clients: usize, time: Duration, ask: Ask) -> anyhow::Result<Outcome> {
    let connections = connect(servers, clients).await?;
    let began = Instant::now();
    let until = began + time;
    let each = try_join_all(connections.into_iter().map(|connection| tokio::spawn(client(connection, until, ask))));
    let mut taken = Vec::new();
    for times in each.await? {
        taken.extend(times?);
    }
    let seconds = began.elapsed().as_secs_f64();
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    Ok(Outcome { operations: taken.len() as f64, seconds, p50_ms: at(0.5), p99_ms: at(0.99) })
}

async fn connect(servers: &[SocketAddr], count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for at in 0..count {
        connections.push(Connection::open(servers[at % servers.len()]).await?);
    }
    Ok(connections)
}

async fn client(connection: Connection, until: Instant, ask: Ask) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::new();
    while Instant::now() < until {
        let key = rand::rng().random_range(0..KEYS);
        let write = rand::rng().random_range(0..10) == 0;
        let began = Instant::now();
        match ask {
            Ask::Mixed if !write => drop(connection.unary(RANGE, frame(&range(key, false))).await?),
            Ask::Put | Ask::Mixed => drop(connection.unary(PUT, frame(&put(key, 0))).await?),
            Ask::Range { serializable } => drop(connection.unary(RANGE, frame(&range(key, serializable))).await?),
            Ask::Txn => drop(connection.unary(TXN, frame(&txn(key))).await?),
            Ask::LeasedPut => {
                let request = pb::LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
                let lease: pb::LeaseGrantResponse = connection.call(GRANT, &request).await?;
                connection.unary(PUT, frame(&put(key, lease.id))).await?;
            }
        }
        taken.push(began.elapsed());
    }
    Ok(taken)
}

fn key(number: usize) -> Bytes {
    format!("/bench/{number:020}").into()
}

/// Bytes that do not compress.
fn value() -> Bytes {
    let mut bytes = vec![0; VALUE_BYTES];
    rand::rng().fill(bytes.as_mut_slice());
    bytes.into()
}

fn put(number: usize, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key(number), value: value(), lease, ..Default::default() }
}

fn range(number: usize, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key: key(number), serializable, ..Default::default() }
}

fn txn(number: usize) -> pb::TxnRequest {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request;
    let compare = pb::Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: key(number),
        target_union: Some(TargetUnion::Version(-1)),
        ..Default::default()
    };
    let operations = [Request::RequestPut(put(number, 0)), Request::RequestRange(range(number, false))];
    pb::TxnRequest {
        compare: vec![compare],
        success: operations.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect(),
        failure: Vec::new(),
    }
}

/// Writes keys 0 to `count`, many in a transaction.
pub async fn fill(servers: &[SocketAddr], count: usize) -> anyhow::Result<()> {
    let fillers = connect(servers, FILLERS).await?.into_iter().enumerate().map(|(filler, connection)| {
        tokio::spawn(async move {
            let batches = (0..count).step_by(FILL_BATCH);
            for first in batches.skip(filler).step_by(FILLERS) {
                let puts = (first..count.min(first + FILL_BATCH))
                    .map(|number| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(number, 0))) });
                let request = pb::TxnRequest { success: puts.collect(), ..Default::default() };
                connection.unary(TXN, frame(&request)).await?;
            }
            anyhow::Ok(())
        })
    });
    for filler in try_join_all(fillers).await? {
        filler?;
    }
    Ok(())
}

/// `watchers` watch one key, each on a connection of its own, while `writers` write it. What they hear is counted.
pub async fn fan_out(
    servers: &[SocketAddr],
    watchers: usize,
    writers: usize,
    time: Duration,
) -> anyhow::Result<Outcome> {
    let (ready, mut all_ready) = tokio::sync::mpsc::channel(watchers);
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut counts = Vec::new();
    for connection in connect(servers, watchers).await? {
        let (ready, mut stopped) = (ready.clone(), stopped.clone());
        counts.push(tokio::spawn(async move {
            let create = pb::WatchCreateRequest { key: key(0), ..Default::default() };
            let request =
                pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
            let mut messages = connection.stream(WATCH, frame(&request)).await?;
            messages.next().await?;
            ready.send(()).await?;
            let mut count = 0;
            while let ControlFlow::Continue(message) = tokio::select! {
                message = messages.next() => ControlFlow::Continue(message?),
                _ = stopped.changed() => ControlFlow::Break(()),
            } {
                count += pb::WatchResponse::decode(message)?.events.len();
            }
            anyhow::Ok(count)
        }));
    }
    for _ in 0..watchers {
        all_ready.recv().await;
    }
    let began = Instant::now();
    let until = began + time;
    let writers = connect(servers, writers).await?.into_iter().map(|connection| {
        tokio::spawn(async move {
            while Instant::now() < until {
                connection.unary(PUT, frame(&put(0, 0))).await?;
            }
            anyhow::Ok(())
        })
    });
    for writer in try_join_all(writers).await? {
        writer?;
    }
    let seconds = began.elapsed().as_secs_f64();
    stop.send_replace(());
    let mut operations = 0;
    for count in try_join_all(counts).await? {
        operations += count?;
    }
    Ok(Outcome { operations: operations as f64, seconds, ..Outcome::default() })
}
