//! `etcdctl lock` and `elect`: a place in a queue, held by a lease that is kept alive until the command or the person ends it.

use std::process::Command;
use std::time::Duration;

use crate::remote::Line;
use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::format::shown;
use super::{Context, Failed, arguments, connected, print_kv, refused, within};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest, RangeResponse,
};
use crate::wire::v3electionpb::election_client::ElectionClient;
use crate::wire::v3electionpb::{CampaignRequest, LeaderRequest, ResignRequest};
use crate::wire::v3lockpb::LockRequest;
use crate::wire::v3lockpb::lock_client::LockClient;

/// Seconds that a lock's lease lives without this process, unless `--ttl` says otherwise.
const LOCK_TTL_SECONDS: i64 = 10;
const ELECT_TTL_SECONDS: i64 = 60;

/// A lease that is kept alive while this lives.
struct Session {
    lease: i64,
    client: LeaseClient<Line>,
    /// The lease has ended.
    lost: CancellationToken,
}

impl Session {
    async fn open(context: &Context, channel: &Line, ttl: i64) -> Result<Self, Failed> {
        let mut client = LeaseClient::new(channel.clone());
        let granted = within(context, client.lease_grant(LeaseGrantRequest { ttl, id: 0 })).await?;
        let lost = CancellationToken::new();
        let session = Self { lease: granted.id, client, lost };
        let pause = Duration::from_secs_f64(granted.ttl as f64 / 3.0);
        tokio::spawn(keep(session.client.clone(), granted.id, pause, session.lost.clone()));
        Ok(session)
    }

    /// Ends the lease, and the place with it.
    async fn close(mut self, context: &Context) -> Result<(), Failed> {
        within(context, self.client.lease_revoke(LeaseRevokeRequest { id: self.lease })).await.map(|_| ())
    }
}

/// Renews until the lease is gone or cannot be renewed.
async fn keep(mut client: LeaseClient<Line>, id: i64, pause: Duration, lost: CancellationToken) {
    let _told = lost.drop_guard();
    loop {
        tokio::time::sleep(pause).await;
        let request = futures_util::stream::iter([LeaseKeepAliveRequest { id }]);
        let Ok(answers) = client.lease_keep_alive(request).await else { return };
        match answers.into_inner().message().await {
            Ok(Some(answer)) if answer.ttl > 0 => {}
            _ => return,
        }
    }
}

/// Waits until a person or a supervisor wants this to end.
async fn asked_to_end() -> Result<(), Failed> {
    let listen = |kind| signal(kind).map_err(|error| Failed::usage(format!("listening for signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn print_key(context: &Context, channel: &Line, key: Bytes) -> Result<(), Failed> {
    let request = RangeRequest { key, ..RangeRequest::default() };
    let found = within(context, KvClient::new(channel.clone()).range(request)).await?;
    print_found(context, &found)
}

fn print_found(context: &Context, found: &RangeResponse) -> Result<(), Failed> {
    if shown(context, found)? {
        return Ok(());
    }
    found.kvs.iter().try_for_each(|kv| print_kv(context, kv))
}

pub async fn lock(context: &Context) -> Result<u8, Failed> {
    let words = context.parsed.words.get(1..).unwrap_or_default();
    let [name, command @ ..] = words else {
        return Err(arguments("lock takes a lock name argument and an optional command to execute"));
    };
    let ttl = context.parsed.number("ttl")?.unwrap_or(LOCK_TTL_SECONDS);
    let channel = connected(context).await?;
    let session = Session::open(context, &channel, ttl).await?;
    let lost = session.lost.clone();
    let request = LockRequest { name: Bytes::from(name.clone()), lease: session.lease };
    let mut client = LockClient::new(channel.clone());
    let held = tokio::select! {
        held = client.lock(request) => held.map_err(|status| refused(&status)),
        ended = asked_to_end() => {
            session.close(context).await?;
            return ended.map(|()| 0);
        }
    };
    let held = match held {
        Ok(held) => held.into_inner(),
        Err(failed) => {
            // The lease would end by itself.
            let _ = session.close(context).await;
            return Err(failed);
        }
    };
    let done = match command {
        [] => {
            print_key(context, &channel, held.key).await?;
            tokio::select! {
                ended = asked_to_end() => ended,
                () = lost.cancelled() => Err(Failed::usage("session expired")),
            }
        }
        [program, rest @ ..] => {
            let revision = held.header.map_or(0, |header| header.revision);
            let mut command = Command::new(program);
            command.args(rest).env("ETCD_LOCK_KEY", String::from_utf8_lossy(&held.key).into_owned());
            command.env("ETCD_LOCK_REV", revision.to_string());
            let program = program.clone();
            let ran = tokio::task::spawn_blocking(move || run(&mut command, &program));
            ran.await.unwrap_or_else(|error| Err(Failed::usage(error.to_string())))
        }
    };
    session.close(context).await?;
    done.map(|()| 0)
}

fn run(command: &mut Command, program: &str) -> Result<(), Failed> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed::usage(status.to_string().replace("exit status: ", "exit status "))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failed::usage(format!("fork/exec {program}: no such file or directory")))
        }
        Err(error) => Err(Failed::usage(format!("fork/exec {program}: {error}"))),
    }
}

pub async fn elect(context: &Context) -> Result<u8, Failed> {
    let listen = context.parsed.truth("listen")?;
    match context.parsed.words.get(1..).unwrap_or_default() {
        [name] if listen => observe(context, name).await,
        [_] => Err(arguments("no proposal argument but -l not set")),
        [_, _] if listen => Err(arguments("proposal given but -l is set")),
        [name, proposal] => campaign(context, name, proposal).await,
        _ => Err(arguments("elect takes one election name argument and an optional proposal argument")),
    }
}

async fn observe(context: &Context, name: &str) -> Result<u8, Failed> {
    let mut client = ElectionClient::new(connected(context).await?);
    let request = LeaderRequest { name: Bytes::from(name.to_owned()) };
    let mut leaders = client.observe(request).await.map_err(|status| refused(&status))?.into_inner();
    let printing = async {
        while let Some(leader) = leaders.message().await.map_err(|status| refused(&status))? {
            // As the original: an answer to a read, but for the count.
            let found =
                RangeResponse { header: leader.header, kvs: leader.kv.into_iter().collect(), ..Default::default() };
            print_found(context, &found)?;
        }
        Err(Failed::usage("elect: observer lost"))
    };
    tokio::select! {
        ended = printing => ended,
        ended = asked_to_end() => ended.map(|()| 0),
    }
}

async fn campaign(context: &Context, name: &str, proposal: &str) -> Result<u8, Failed> {
    let channel = connected(context).await?;
    let session = Session::open(context, &channel, ELECT_TTL_SECONDS).await?;
    let lost = session.lost.clone();
    let mut client = ElectionClient::new(channel.clone());
    let (name, value) = (Bytes::from(name.to_owned()), Bytes::from(proposal.to_owned()));
    let request = CampaignRequest { name, lease: session.lease, value };
    let elected = tokio::select! {
        elected = client.campaign(request) => elected.map_err(|status| refused(&status)),
        ended = asked_to_end() => {
            session.close(context).await?;
            return ended.map(|()| 0);
        }
    };
    let reign = async {
        let leader = elected?.into_inner().leader;
        print_key(context, &channel, leader.clone().unwrap_or_default().key).await?;
        tokio::select! {
            ended = asked_to_end() => ended?,
            () = lost.cancelled() => return Err(Failed::usage("elect: session expired")),
        }
        within(context, client.resign(ResignRequest { leader })).await.map(|_| ())
    };
    let reigned = reign.await;
    // The lease would end by itself.
    let _ = session.close(context).await;
    reigned.map(|()| 0)
}
