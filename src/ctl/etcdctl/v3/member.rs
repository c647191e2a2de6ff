//! `etcdctl member`: list, add, remove, update, promote, with the outputs and refusals of etcdctl 3.4.

use super::format::{member_row, shown, told};
use super::{Context, Failed, connected, within};
use crate::wire::etcdserverpb::cluster_client::ClusterClient;
use crate::wire::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, ResponseHeader,
};

/// etcdctl's exit code for arguments that it does not take.
const BAD_ARGUMENTS: u8 = 128;

fn bad(message: impl Into<String>) -> Failed {
    Failed { code: BAD_ARGUMENTS, message: message.into() }
}

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let words: Vec<&str> = context.parsed.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["list"] | [] => list(context).await,
        ["add"] => Err(bad("member name not provided")),
        ["add", name] => add(context, name).await,
        ["add", ..] => Err(bad("too many arguments")),
        ["remove" | "update" | "promote"] => Err(bad("member ID is not provided")),
        ["remove", id] => remove(context, id).await,
        ["update", id] => update(context, id).await,
        ["promote", id] => promote(context, id).await,
        _ => Err(Failed::usage("write `member list`, `add NAME`, `remove ID`, `update ID` or `promote ID`")),
    }
}

fn id(text: &str) -> Result<u64, Failed> {
    u64::from_str_radix(text, 16).map_err(|_| {
        bad(format!("bad member ID arg (strconv.ParseUint: parsing \"{text}\": invalid syntax), expecting ID in Hex"))
    })
}

/// `--peer-urls`, checked as etcdctl checks them.
fn peer_urls(context: &Context) -> Result<Vec<String>, Failed> {
    let urls = context.parsed.value("peer-urls").unwrap_or_default();
    if urls.is_empty() {
        return Err(bad("member peer urls not provided"));
    }
    let urls: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
    urls.iter().try_for_each(|url| check_url(url))?;
    Ok(urls)
}

fn check_url(url: &str) -> Result<(), Failed> {
    let rest = ["http://", "https://", "unix://", "unixs://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(rest) = rest else {
        return Err(Failed::usage(format!("URL scheme must be http, https, unix, or unixs: {url}")));
    };
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(Failed::usage(format!("URL address does not have the form \"host:port\": {url}"))),
    }
}

fn cluster(header: Option<ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

/// The members, as any of the endpoints has them.
pub async fn listed(context: &Context) -> Result<MemberListResponse, Failed> {
    let request = MemberListRequest { linearizable: true };
    within(context, ClusterClient::new(connected(context).await?).member_list(request)).await
}

async fn list(context: &Context) -> Result<u8, Failed> {
    let response = listed(context).await?;
    if !shown(context, &response)? {
        response.members.iter().for_each(|member| println!("{}", member_row(member).join(", ")));
    }
    Ok(0)
}

async fn add(context: &Context, name: &str) -> Result<u8, Failed> {
    let peer_ur_ls = peer_urls(context)?;
    let request = MemberAddRequest { peer_ur_ls: peer_ur_ls.clone(), is_learner: context.parsed.truth("learner")? };
    let added = within(context, ClusterClient::new(connected(context).await?).member_add(request)).await?;
    if shown(context, &added)? {
        return Ok(0);
    }
    let id = added.member.map_or(0, |member| member.id);
    println!("Member {id:16x} added to cluster {:16x}\n", cluster(added.header));
    print!("{}", settings(name, id, &added.members));
    Ok(0)
}

/// What the new member is to be started with.
fn settings(name: &str, id: u64, members: &[Member]) -> String {
    let mut cluster = Vec::new();
    let mut own = Vec::new();
    for member in members {
        let named = if member.id == id { name } else { &member.name };
        for url in &member.peer_ur_ls {
            cluster.push(format!("{named}={url}"));
        }
        if member.id == id {
            own.clone_from(&member.peer_ur_ls);
        }
    }
    format!(
        "ETCD_NAME=\"{name}\"\nETCD_INITIAL_CLUSTER=\"{}\"\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"{}\"\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        cluster.join(","),
        own.join(",")
    )
}

async fn remove(context: &Context, text: &str) -> Result<u8, Failed> {
    let id = id(text)?;
    let request = MemberRemoveRequest { id };
    let removed = within(context, ClusterClient::new(connected(context).await?).member_remove(request)).await?;
    told(context, &removed, format_args!("Member {id:16x} removed from cluster {:16x}", cluster(removed.header)))?;
    Ok(0)
}

async fn update(context: &Context, text: &str) -> Result<u8, Failed> {
    let id = id(text)?;
    let request = MemberUpdateRequest { id, peer_ur_ls: peer_urls(context)? };
    let updated = within(context, ClusterClient::new(connected(context).await?).member_update(request)).await?;
    told(context, &updated, format_args!("Member {id:16x} updated in cluster {:16x}", cluster(updated.header)))?;
    Ok(0)
}

async fn promote(context: &Context, text: &str) -> Result<u8, Failed> {
    let id = id(text)?;
    let request = MemberPromoteRequest { id };
    let promoted = within(context, ClusterClient::new(connected(context).await?).member_promote(request)).await?;
    told(context, &promoted, format_args!("Member {id:16x} promoted in cluster {:16x}", cluster(promoted.header)))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_member_is_told_how_to_start() {
        let member = |id, name: &str, url: &str| Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: vec![url.to_owned()],
            ..Member::default()
        };
        let members = [member(1, "a", "http://a:1"), member(2, "", "http://b:1")];
        let expected = "ETCD_NAME=\"b\"\nETCD_INITIAL_CLUSTER=\"a=http://a:1,b=http://b:1\"\n\
                        ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://b:1\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
        assert_eq!(settings("b", 2, &members), expected);
        assert!(check_url("http://a:1").is_ok());
        assert_eq!(check_url("foo").unwrap_err().message, "URL scheme must be http, https, unix, or unixs: foo");
        let error = check_url("http://foo").unwrap_err().message;
        assert_eq!(error, "URL address does not have the form \"host:port\": http://foo");
        assert_eq!(id("zz").unwrap_err().code, BAD_ARGUMENTS);
    }
}
