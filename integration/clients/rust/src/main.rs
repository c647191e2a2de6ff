//! What a user of the crate etcd-client does, against one of our nodes: `etcd-client-user HOST:PORT`.
//!
//! Says `watching` when a watch is open, waits for a line of input (by then the leader is dead), goes on, and says `done`.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, LockOptions, PutOptions, Txn, TxnOp, WatchOptions};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
const WATCHED: usize = 20;

#[tokio::main]
async fn main() {
    let endpoint = std::env::args().nth(1).expect("HOST:PORT");
    let mut client = Client::connect([endpoint], None).await.expect("a connection");
    assert_eq!(client.member_list().await.expect("members").members().len(), 3);
    keys_and_transactions(&mut client).await.expect("keys");
    leases(&mut client).await.expect("leases");
    locks(&mut client).await.expect("locks");
    watch_over_a_change_of_leader(&mut client).await.expect("a watch");
    println!("done");
}

async fn keys_and_transactions(client: &mut Client) -> Result<(), Error> {
    client.put("rs/a", "1", None).await?;
    let found = client.get("rs/a", None).await?;
    assert_eq!((found.kvs()[0].value(), found.kvs()[0].version()), (&b"1"[..], 1));
    let txn = Txn::new()
        .when([Compare::value("rs/a", CompareOp::Equal, "1"), Compare::version("rs/a", CompareOp::Greater, 0)])
        .and_then([TxnOp::put("rs/b", "2", None), TxnOp::get("rs/a", None)])
        .or_else([TxnOp::delete("rs/a", None)]);
    let answer = client.txn(txn).await?;
    assert!(answer.succeeded() && answer.op_responses().len() == 2);
    let range = client.get("rs/", Some(GetOptions::new().with_prefix().with_count_only())).await?;
    assert_eq!(range.count(), 2);
    assert_eq!(client.delete("rs/b", None).await?.deleted(), 1);
    Ok(())
}

async fn leases(client: &mut Client) -> Result<(), Error> {
    let lease = client.lease_grant(2, None).await?.id();
    client.put("rs/leased", "x", Some(PutOptions::new().with_lease(lease))).await?;
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        keeper.keep_alive().await?;
        let answer = answers.message().await?.expect("an answer to a keep-alive");
        assert_eq!(answer.ttl(), 2);
    }
    assert_eq!(client.get("rs/leased", None).await?.count(), 1, "a lease that is kept alive has ended");
    client.lease_revoke(lease).await?;
    assert_eq!(client.get("rs/leased", None).await?.count(), 0);
    assert_eq!(client.lease_time_to_live(lease, None).await?.ttl(), -1);
    Ok(())
}

async fn locks(client: &mut Client) -> Result<(), Error> {
    let (first, second) = (client.lease_grant(20, None).await?.id(), client.lease_grant(20, None).await?.id());
    let held = client.lock("rs/lock", Some(LockOptions::new().with_lease(first))).await?;
    let mut other = client.clone();
    let mut waiting =
        tokio::spawn(async move { other.lock("rs/lock", Some(LockOptions::new().with_lease(second))).await });
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err(), "two hold one lock");
    client.unlock(held.key()).await?;
    let held = timeout(PATIENCE, waiting).await.expect("the lock in time").expect("no panic")?;
    client.unlock(held.key()).await?;
    Ok(())
}

async fn watch_over_a_change_of_leader(client: &mut Client) -> Result<(), Error> {
    let mut events = client.watch("rs/watched/", Some(WatchOptions::new().with_prefix())).await?;
    println!("watching");
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await.expect("a line");
    assert_eq!(line.trim(), "go");
    for number in 0..WATCHED {
        put(client, &format!("rs/watched/{number}")).await;
    }
    let mut found = BTreeSet::new();
    while found.len() < WATCHED {
        let answer = timeout(PATIENCE, events.message()).await.expect("events in time")?.expect("the watch goes on");
        found.extend(answer.events().iter().filter_map(|event| event.kv().map(|kv| kv.key().to_vec())));
    }
    Ok(())
}

/// A put that is not given up while there is no leader.
async fn put(client: &mut Client, key: &str) {
    let attempts = async {
        while client.put(key, "x", None).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, attempts).await.expect("a put within the bound");
}
