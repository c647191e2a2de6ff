//! A live etcd 3: its snapshot, or where that is refused, its keys and leases as they are now.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::base::LeaseId;
use crate::base::limits::REMOTE_MESSAGE_BYTES_MAX;
use crate::etcd_file::Intake;
use crate::kv::{PastChange, PastIndex};
use crate::net::Address;
use crate::remote;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one answer, or one piece of the snapshot, may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Keys of one answer. Their values may be large.
const PAGE_KEYS: i64 = 500;

/// What a live etcd gave.
pub enum Taken {
    /// All of it, in a file that has no name.
    Snapshot(File),
    /// It gives no snapshot, and why; its keys are to be read one by one.
    Refused(String),
}

/// Fetches a snapshot into a file in `folder`, which goes when it is closed.
///
/// # Errors
/// A connection that fails or breaks, and a disk that cannot be written.
pub async fn snapshot(from: &Address, folder: &std::path::Path) -> anyhow::Result<Taken> {
    let writing = || format!("writing below {}", folder.display());
    let mut file = tempfile::tempfile_in(folder).with_context(writing)?;
    let mut client = MaintenanceClient::new(channel(from).await?).max_decoding_message_size(REMOTE_MESSAGE_BYTES_MAX);
    let silent = || format!("{from}: no piece of the snapshot within {ANSWER_WITHIN:?}");
    let asked = tokio::time::timeout(ANSWER_WITHIN, client.snapshot(pb::SnapshotRequest {})).await;
    let mut pieces = match asked.with_context(silent)? {
        Ok(pieces) => pieces.into_inner(),
        Err(status) if is_refusal(&status) => return Ok(Taken::Refused(status.message().to_owned())),
        Err(status) => anyhow::bail!("{from}: {}", status.message()),
    };
    let mut bytes = 0;
    loop {
        match tokio::time::timeout(ANSWER_WITHIN, pieces.message()).await.with_context(silent)? {
            Ok(Some(piece)) => {
                bytes += piece.blob.len();
                file.write_all(&piece.blob).with_context(writing)?;
            }
            Ok(None) => return Ok(Taken::Snapshot(file)),
            Err(status) if bytes == 0 && is_refusal(&status) => {
                return Ok(Taken::Refused(status.message().to_owned()));
            }
            Err(status) => anyhow::bail!("{from}: the snapshot broke off after {bytes} bytes: {}", status.message()),
        }
    }
}

/// Whether it was understood and is not granted or not there, as with proxies and users without rights.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
    )
}

async fn channel(to: &Address) -> anyhow::Result<Channel> {
    remote::channel(to, CONNECT_WITHIN).await.with_context(|| format!("connecting to {to}"))
}

/// The newest revision.
///
/// # Errors
/// An etcd that does not answer.
pub async fn revision(from: &Address) -> anyhow::Result<i64> {
    let request = pb::RangeRequest { key: Bytes::from_static(b"\0"), count_only: true, ..pb::RangeRequest::default() };
    let mut client = KvClient::new(channel(from).await?);
    let answer = answered(from, client.range(request)).await?;
    Ok(answer.header.unwrap_or_default().revision)
}

/// Takes leases and keys as they are at `revision`, with the numbers of their last changes; there is no history.
/// Returns how many leases could not be asked for.
///
/// # Errors
/// An etcd that does not answer, or no longer has that revision.
pub async fn keys(from: &Address, intake: &mut Intake<'_>, revision: i64, index: PastIndex) -> anyhow::Result<u64> {
    let channel = channel(from).await?;
    let silent = leases(from, LeaseClient::new(channel.clone()), intake).await?;
    let mut client = KvClient::new(channel).max_decoding_message_size(REMOTE_MESSAGE_BYTES_MAX);
    // Which places of each revision are taken: the answer does not tell the order within one.
    let mut subs: HashMap<i64, u32> = HashMap::new();
    let mut key = Bytes::from_static(b"\0");
    loop {
        let request = pb::RangeRequest {
            key: key.clone(),
            range_end: Bytes::from_static(b"\0"),
            limit: PAGE_KEYS,
            revision,
            ..pb::RangeRequest::default()
        };
        let answer = answered(from, client.range(request)).await?;
        let Some(last) = answer.kvs.last() else { return Ok(silent) };
        key = [&last.key[..], &[0]].concat().into();
        for kv in answer.kvs {
            let sub = subs.entry(kv.mod_revision).or_default();
            let change = PastChange {
                revision: kv.mod_revision,
                sub: *sub,
                key: kv.key,
                value: kv.value,
                create_revision: kv.create_revision,
                version: kv.version,
                lease: LeaseId(kv.lease),
                v2: index,
            };
            *sub += 1;
            intake.present(change)?;
        }
        if !answer.more {
            return Ok(silent);
        }
    }
}

async fn leases(from: &Address, mut client: LeaseClient<Channel>, intake: &mut Intake<'_>) -> anyhow::Result<u64> {
    let listed = match tokio::time::timeout(ANSWER_WITHIN, client.lease_leases(pb::LeaseLeasesRequest {})).await {
        Ok(Ok(answer)) => answer.into_inner().leases,
        Ok(Err(status)) if is_refusal(&status) => return Ok(1),
        Ok(Err(status)) => anyhow::bail!("{from}: leases: {}", status.message()),
        Err(_) => anyhow::bail!("{from}: leases: no answer within {ANSWER_WITHIN:?}"),
    };
    let mut silent = 0;
    for lease in listed {
        let request = pb::LeaseTimeToLiveRequest { id: lease.id, keys: false };
        match answered(from, client.lease_time_to_live(request)).await {
            Ok(told) if told.granted_ttl > 0 => intake.lease(LeaseId(lease.id), told.granted_ttl)?,
            // It has ended meanwhile.
            Ok(_) => {}
            Err(_) => silent += 1,
        }
    }
    Ok(silent)
}

async fn answered<T>(
    from: &Address,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(anyhow::anyhow!("{from}: {}", status.message())),
        Err(_) => Err(anyhow::anyhow!("{from}: no answer within {ANSWER_WITHIN:?}")),
    }
}
