//! `etcdctl endpoint`, `alarm`, `defrag` and `move-leader`: what is asked of members, one by one.

use bytes::Bytes;

use super::format::{Hash, Health, Status, shown, told, took};
use super::{Context, Failed, arguments, connected, member, within};
use crate::ctl::etcdctl::address;
use crate::net::Address;
use crate::remote::{self, Line};
use crate::wire::etcdserverpb::alarm_request::AlarmAction;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::wire::etcdserverpb::{
    AlarmRequest, DefragmentRequest, HashKvRequest, MoveLeaderRequest, RangeRequest, StatusRequest,
};

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
    let members = member::listed(context).await?.members;
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
    let (mut all, mut code) = (Vec::new(), 0);
    for target in targets(context).await? {
        let asked = async { within(context, target.care(context).await?.status(StatusRequest {})).await };
        match asked.await {
            Ok(status) => all.push((target.written, status)),
            Err(failed) => {
                eprintln!("Failed to get the status of endpoint {} ({})", target.written, failed.message);
                code = 1;
            }
        }
    }
    let all = Status(all);
    if !shown(context, &all)? {
        all.0.iter().for_each(|one| println!("{}", Status::row(one).join(", ")));
    }
    Ok(code)
}

/// Plain text goes to standard error, as with the original.
async fn health(context: &Context) -> Result<u8, Failed> {
    let mut all = Vec::new();
    for target in targets(context).await? {
        let started = std::time::Instant::now();
        let outcome = commit(context, &target).await.map_err(|failed| failed.message);
        all.push((target.written, started.elapsed(), outcome));
    }
    let all = Health(all);
    if !shown(context, &all)? {
        for (endpoint, elapsed, outcome) in &all.0 {
            match outcome {
                Ok(()) => {
                    eprintln!("{endpoint} is healthy: successfully committed proposal: took = {}", took(*elapsed));
                }
                Err(error) => eprintln!("{endpoint} is unhealthy: failed to commit proposal: {error}"),
            }
        }
    }
    if all.0.iter().all(|(_, _, outcome)| outcome.is_ok()) { Ok(0) } else { Err(Failed::usage("unhealthy cluster")) }
}

async fn commit(context: &Context, target: &Target) -> Result<(), Failed> {
    let request = RangeRequest { key: Bytes::from_static(b"health"), ..RangeRequest::default() };
    match within(context, KvClient::new(target.channel(context).await?).range(request)).await {
        // Whoever may not read it has been answered all the same.
        Err(failed) if failed.message != "etcdserver: permission denied" => Err(failed),
        _ => Ok(()),
    }
}

async fn hash_kv(context: &Context) -> Result<u8, Failed> {
    let revision = context.parsed.number("rev")?.unwrap_or(0);
    let (mut all, mut last) = (Vec::new(), Ok(0));
    for target in targets(context).await? {
        let asked = async { within(context, target.care(context).await?.hash_kv(HashKvRequest { revision })).await };
        match asked.await {
            Ok(answer) => all.push((target.written, answer)),
            Err(failed) => {
                eprintln!("Failed to get the hash of endpoint {} ({})", target.written, failed.message);
                last = Err(failed);
            }
        }
    }
    let all = Hash(all);
    if !shown(context, &all)? {
        all.0.iter().for_each(|(endpoint, answer)| println!("{endpoint}, {}", answer.hash));
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
    let mut raised = within(context, care.alarm(AlarmRequest::default())).await?;
    if action == AlarmAction::Deactivate {
        let all = std::mem::take(&mut raised.alarms);
        for alarm in all {
            let request = AlarmRequest { action: action.into(), member_id: alarm.member_id, alarm: alarm.alarm };
            raised.alarms.extend(within(context, care.alarm(request)).await?.alarms);
        }
    }
    if shown(context, &raised)? {
        return Ok(0);
    }
    for alarm in raised.alarms {
        println!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name());
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
            let moved = within(context, care.move_leader(MoveLeaderRequest { target_id })).await?;
            let from = status.leader;
            told(context, &moved, format_args!("Leadership transferred from {from:x} to {target_id:x}"))?;
            return Ok(0);
        }
    }
    Err(arguments(format!("no leader endpoint given at [{}]", context.written.join(" "))))
}
