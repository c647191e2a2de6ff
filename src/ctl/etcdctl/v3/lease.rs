//! `etcdctl lease`: grant, revoke, timetolive, list, keep-alive.

use std::time::Duration;

use super::format::{Format, shown, told};
use super::{Context, Failed, arguments, connected, exit, parse_int, refused, within};
use crate::remote::Line;
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};

/// A lease's id as people write it: hex. `what` begins the message where it is none.
pub fn id(text: &str, what: &str) -> Result<i64, Failed> {
    i64::from_str_radix(text, 16).map_err(|_| {
        arguments(format!("{what} (strconv.ParseInt: parsing {text:?}: invalid syntax), expecting ID in Hex"))
    })
}

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let mut words = context.parsed.words.iter().skip(1).map(String::as_str);
    let (verb, argument) = (words.next().unwrap_or_default(), words.next());
    let lease = || {
        let missing = match verb {
            "revoke" => "lease revoke command needs 1 argument".to_owned(),
            _ => format!("lease {verb} command needs lease ID as argument"),
        };
        id(argument.ok_or_else(|| arguments(missing))?, "bad lease ID arg")
    };
    match verb {
        "grant" => {
            let ttl = argument.ok_or_else(|| arguments("lease grant command needs TTL argument"))?;
            let ttl = parse_int(ttl).map_err(|error| arguments(format!("bad TTL ({error})")))?;
            let granted = within(context, client(context).await?.lease_grant(LeaseGrantRequest { ttl, id: 0 })).await;
            let granted = granted.map_err(|failed| failed.at("failed to grant lease"))?;
            told(context, &granted, format_args!("lease {:016x} granted with TTL({}s)", granted.id, granted.ttl))?;
        }
        "revoke" => {
            let id = lease()?;
            let revoked = within(context, client(context).await?.lease_revoke(LeaseRevokeRequest { id })).await;
            let revoked = revoked.map_err(|failed| failed.at("failed to revoke lease"))?;
            told(context, &revoked, format_args!("lease {id:016x} revoked"))?;
        }
        "timetolive" => {
            let request = LeaseTimeToLiveRequest { id: lease()?, keys: context.parsed.truth("keys")? };
            let told = within(context, client(context).await?.lease_time_to_live(request)).await?;
            if !shown(context, &told)? {
                print_time_to_live(&told, request.keys);
            }
        }
        "list" => {
            let found = within(context, client(context).await?.lease_leases(LeaseLeasesRequest {})).await?;
            if shown(context, &found)? {
                return Ok(0);
            }
            println!("found {} leases", found.leases.len());
            found.leases.iter().for_each(|lease| println!("{:016x}", lease.id));
        }
        "keep-alive" => {
            let id = lease()?;
            return keep_alive(context, client(context).await?, id).await;
        }
        _ => {
            return Err(arguments("write `lease grant TTL`, `revoke`, `timetolive`, `keep-alive ID` or `lease list`"));
        }
    }
    Ok(0)
}

async fn client(context: &Context) -> Result<LeaseClient<Line>, Failed> {
    connected(context).await.map(LeaseClient::new)
}

fn print_time_to_live(answer: &crate::wire::etcdserverpb::LeaseTimeToLiveResponse, with_keys: bool) {
    if answer.ttl < 0 {
        println!("lease {:016x} already expired", answer.id);
        return;
    }
    print!("lease {:016x} granted with TTL({}s), remaining({}s)", answer.id, answer.granted_ttl, answer.ttl);
    if with_keys {
        let keys: Vec<String> = answer.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        print!(", attached keys([{}])", keys.join(" "));
    }
    println!();
}

/// Renews at a third of the time to live, until the lease is gone, or once.
async fn keep_alive(context: &Context, mut client: LeaseClient<Line>, id: i64) -> Result<u8, Failed> {
    loop {
        let request = futures_util::stream::iter([LeaseKeepAliveRequest { id }]);
        let mut answers = within(context, client.lease_keep_alive(request)).await?;
        let answer = answers.message().await.map_err(|status| refused(&status))?;
        let answer = answer.unwrap_or_default();
        let ttl = answer.ttl;
        let once = context.parsed.truth("once")?;
        if ttl <= 0 && once {
            return Err(Failed::with(exit::CONNECTION, "etcdserver: requested lease not found"));
        }
        if ttl <= 0 {
            if context.format == Format::Simple {
                println!("lease {id:016x} expired or revoked.");
            }
            return Ok(0);
        }
        told(context, &answer, format_args!("lease {id:016x} keepalived with TTL({ttl})"))?;
        if once {
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_secs_f64(ttl as f64 / 3.0)).await;
    }
}
