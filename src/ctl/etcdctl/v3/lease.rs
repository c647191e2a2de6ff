//! `etcdctl lease`: grant, revoke, timetolive, list, keep-alive.

use std::time::Duration;

use super::{Context, Failed, connected, refused, within};
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};

/// A lease's id as people write it: hex.
pub fn id(text: &str) -> Result<i64, Failed> {
    i64::from_str_radix(text, 16)
        .map_err(|_| Failed::usage(format!("bad lease ID `{text}`; it is hex, as `lease grant` printed it")))
}

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let mut words = context.parsed.words.iter().skip(1).map(String::as_str);
    let (verb, argument) = (words.next().unwrap_or_default(), words.next());
    let lease = || argument.ok_or_else(|| Failed::usage(format!("lease {verb} needs a lease ID"))).and_then(id);
    let mut client = LeaseClient::new(connected(context).await?);
    match verb {
        "grant" => {
            let ttl = argument.and_then(|text| text.parse().ok());
            let ttl = ttl.ok_or_else(|| Failed::usage("lease grant needs a TTL in seconds"))?;
            let granted = within(context, client.lease_grant(LeaseGrantRequest { ttl, id: 0 })).await?;
            println!("lease {:016x} granted with TTL({}s)", granted.id, granted.ttl);
        }
        "revoke" => {
            let id = lease()?;
            within(context, client.lease_revoke(LeaseRevokeRequest { id })).await?;
            println!("lease {id:016x} revoked");
        }
        "timetolive" => {
            let request = LeaseTimeToLiveRequest { id: lease()?, keys: context.parsed.truth("keys")? };
            print_time_to_live(&within(context, client.lease_time_to_live(request)).await?, request.keys);
        }
        "list" => {
            let leases = within(context, client.lease_leases(LeaseLeasesRequest {})).await?.leases;
            println!("found {} leases", leases.len());
            leases.iter().for_each(|lease| println!("{:016x}", lease.id));
        }
        "keep-alive" => return keep_alive(context, client, lease()?).await,
        _ => {
            return Err(Failed::usage(
                "write `lease grant TTL`, `revoke`, `timetolive`, `keep-alive ID` or `lease list`",
            ));
        }
    }
    Ok(0)
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
async fn keep_alive(context: &Context, mut client: LeaseClient<crate::remote::Line>, id: i64) -> Result<u8, Failed> {
    loop {
        let request = futures_util::stream::iter([LeaseKeepAliveRequest { id }]);
        let mut answers = within(context, client.lease_keep_alive(request)).await?;
        let answer = answers.message().await.map_err(|status| refused(&status))?;
        let ttl = answer.map_or(0, |answer| answer.ttl);
        if ttl <= 0 {
            println!("lease {id:016x} expired or revoked.");
            return Ok(0);
        }
        println!("lease {id:016x} keepalived with TTL({ttl})");
        if context.parsed.truth("once")? {
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_secs_f64(ttl as f64 / 3.0)).await;
    }
}
