//! `etcdctl endpoint`, `alarm`, `defrag` and `move-leader`: what is asked of members, one by one.

use bytes::Bytes;

use super::{Context, Failed, arguments, connected, within};
use crate::ctl::etcdctl::address;
use crate::net::Address;
use crate::remote::{self, Line};
use crate::wire::etcdserverpb::alarm_request::AlarmAction;
use crate::wire::etcdserverpb::cluster_client::ClusterClient;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::wire::etcdserverpb::{
    AlarmRequest, AlarmType, DefragmentRequest, HashKvRequest, Member, MemberListRequest, MoveLeaderRequest,
    RangeRequest, StatusRequest,
};

async fn members(context: &Context) -> Result<Vec<Member>, Failed> {
    let request = MemberListRequest::default();
    within(context, ClusterClient::new(connected(context).await?).member_list(request)).await.map(|list| list.members)
}

/// A member's endpoint, as it is written and where it is.
struct Target {
    written: String,
    address: Address,
}

impl Target {
    async fn channel(&self, context: &Context) -> Result<Line, Failed> {
        let opened = remote::line(&self.address, context.timeout, context.login.as_ref()).await;
        opened.map_err(|error| Failed::usage(error.to_string()))
    }

    async fn care(&self, context: &Context) -> Result<MaintenanceClient<Line>, Failed> {
        self.channel(context).await.map(MaintenanceClient::new)
    }
}

/// The endpoints that were given, or with `--cluster` those of all members.
async fn targets(context: &Context) -> Result<Vec<Target>, Failed> {
    if !context.parsed.truth("cluster")? {
        let given = context.written.iter().cloned().zip(context.endpoints.iter().cloned());
        return Ok(given.map(|(written, address)| Target { written, address }).collect());
    }
    let members = members(context).await?;
    let urls = members.into_iter().flat_map(|member| member.client_ur_ls);
    urls.map(|written| Ok(Target { address: address(&context.tls, &written)?, written })).collect()
}

pub async fn endpoint(context: &Context) -> Result<u8, Failed> {
    match context.parsed.words.get(1).map(String::as_str) {
        Some("status") => status(context).await,
        Some("health") => health(context).await,
        Some("hashkv") => hash_kv(context).await,
        _ => Err(arguments("write `endpoint status`, `endpoint health` or `endpoint hashkv`")),
    }
}

async fn status(context: &Context) -> Result<u8, Failed> {
    let mut code = 0;
    for target in targets(context).await? {
        match status_line(context, &target).await {
            Ok(line) => println!("{line}"),
            Err(failed) => {
                eprintln!("Failed to get the status of endpoint {} ({})", target.written, failed.message);
                code = 1;
            }
        }
    }
    Ok(code)
}

async fn status_line(context: &Context, target: &Target) -> Result<String, Failed> {
    let status = within(context, target.care(context).await?.status(StatusRequest {})).await?;
    let member = status.header.map_or(0, |header| header.member_id);
    Ok(format!(
        "{}, {member:x}, {}, {}, {}, {}, {}, {}, {}, {}",
        target.written,
        status.version,
        human_bytes(status.db_size),
        status.leader == member,
        status.is_learner,
        status.raft_term,
        status.raft_index,
        status.raft_applied_index,
        status.errors.join(", ")
    ))
}

/// Two digits and a unit of a thousand, as etcdctl shows sizes.
fn human_bytes(bytes: i64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].iter();
    let mut unit = units.next().copied().unwrap_or("B");
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        size /= 1000.0;
        unit = next;
    }
    if size < 10.0 && unit != "B" { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// Everything goes to standard error, as with the original.
async fn health(context: &Context) -> Result<u8, Failed> {
    let mut well = true;
    for target in targets(context).await? {
        let started = std::time::Instant::now();
        match commit(context, &target).await {
            Ok(()) => {
                let took = started.elapsed();
                eprintln!("{} is healthy: successfully committed proposal: took = {took:?}", target.written);
            }
            Err(failed) => {
                eprintln!("{} is unhealthy: failed to commit proposal: {}", target.written, failed.message);
                well = false;
            }
        }
    }
    if well { Ok(0) } else { Err(Failed::usage("unhealthy cluster")) }
}

async fn commit(context: &Context, target: &Target) -> Result<(), Failed> {
    let request = RangeRequest { key: Bytes::from_static(b"health"), ..RangeRequest::default() };
    within(context, KvClient::new(target.channel(context).await?).range(request)).await.map(|_| ())
}

async fn hash_kv(context: &Context) -> Result<u8, Failed> {
    let revision = context.parsed.number("rev")?.unwrap_or(0);
    let mut last = Ok(0);
    for target in targets(context).await? {
        let asked = async { within(context, target.care(context).await?.hash_kv(HashKvRequest { revision })).await };
        match asked.await {
            Ok(answer) => println!("{}, {}", target.written, answer.hash),
            Err(failed) => {
                eprintln!("Failed to get the hash of endpoint {} ({})", target.written, failed.message);
                last = Err(failed);
            }
        }
    }
    last
}

pub async fn alarm(context: &Context) -> Result<u8, Failed> {
    let action = match context.parsed.words.get(1).map(String::as_str) {
        Some("list") => AlarmAction::Get,
        Some("disarm") => AlarmAction::Deactivate,
        _ => return Err(arguments("write `alarm list` or `alarm disarm`")),
    };
    let mut care = MaintenanceClient::new(connected(context).await?);
    let raised = within(context, care.alarm(AlarmRequest::default())).await?.alarms;
    for alarm in raised {
        if action == AlarmAction::Deactivate {
            let request = AlarmRequest { action: action.into(), member_id: alarm.member_id, alarm: alarm.alarm };
            within(context, care.alarm(request)).await?;
        }
        let name = AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
        println!("memberID:{} alarm:{name} ", alarm.member_id);
    }
    Ok(0)
}

pub async fn defrag(context: &Context) -> Result<u8, Failed> {
    let mut code = 0;
    for target in targets(context).await? {
        let asked = async { within(context, target.care(context).await?.defragment(DefragmentRequest {})).await };
        match asked.await {
            Ok(_) => println!("Finished defragmenting etcd member[{}]", target.written),
            Err(failed) => {
                eprintln!("Failed to defragment etcd member[{}] ({})", target.written, failed.message);
                code = 1;
            }
        }
    }
    Ok(code)
}

pub async fn move_leader(context: &Context) -> Result<u8, Failed> {
    let [_, to] = context.parsed.words.as_slice() else {
        return Err(arguments("move-leader command needs 1 argument"));
    };
    let target_id = u64::from_str_radix(to, 16)
        .map_err(|_| arguments(format!("strconv.ParseUint: parsing {to:?}: invalid syntax")))?;
    for target in targets(context).await? {
        let mut care = target.care(context).await?;
        let status = within(context, care.status(StatusRequest {})).await?;
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            within(context, care.move_leader(MoveLeaderRequest { target_id })).await?;
            println!("Leadership transferred from {:x} to {target_id:x}", status.leader);
            return Ok(0);
        }
    }
    Err(arguments(format!("no leader endpoint given at [{}]", context.written.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_etcdctl_does() {
        for (bytes, expected) in [(20_480, "20 kB"), (512, "512 B"), (1_234_567, "1.2 MB"), (25_000_000_000, "25 GB")] {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
