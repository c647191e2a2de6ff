//! `cluster-health` and `member`.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::client::{Client, in_gos_words};
use super::line::Line;
use super::request::Asked;
use super::{Failed, exit};
use crate::ctl::http::{self, Answer};
use crate::wire::v2::{Member, Members, Message};

/// As long as the original, which waits for a connection only.
const HEALTH_WITHIN: Duration = Duration::from_secs(5);
const NEXT_CHECK_AFTER: Duration = Duration::from_secs(10);

pub async fn health(line: &Line) -> Result<u8, Failed> {
    let client = Client::new(line)?;
    client.tell("Cluster-Endpoints: ", ", ", "");
    let members = match client.members().await {
        Ok(members) => members.unwrap_or_default().members,
        Err(trouble) => {
            println!("cluster may be unhealthy: failed to list members");
            return Err(trouble.failed(exit::SERVER));
        }
    };
    loop {
        let mut healthy = 0;
        for member in &members {
            healthy += usize::from(is_healthy(&client, member).await);
        }
        match healthy {
            all if all == members.len() => println!("cluster is healthy"),
            0 => println!("cluster is unavailable"),
            _ => println!("cluster is degraded"),
        }
        if !line.truth("forever") {
            return Ok(if healthy == members.len() { 0 } else { exit::NOT_HEALTHY });
        }
        println!("\nnext check after 10 second...\n");
        tokio::select! {
            () = tokio::time::sleep(NEXT_CHECK_AFTER) => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
    }
}

/// Asks a member at its addresses, and prints what it says.
async fn is_healthy(client: &Client, member: &Member) -> bool {
    if member.client_urls.is_empty() {
        println!("member {} is unreachable: no available published client urls", member.id);
        return false;
    }
    for url in &member.client_urls {
        match health_at(client, url).await {
            Ok(true) => {
                println!("member {} is healthy: got healthy result from {url}", member.id);
                return true;
            }
            Ok(false) => {
                println!("member {} is unhealthy: got unhealthy result from {url}", member.id);
                return false;
            }
            Err(why) => println!("failed to check the health of member {} on {url}: {why}", member.id),
        }
    }
    println!("member {} is unreachable: [{}] are all unreachable", member.id, member.client_urls.join(" "));
    false
}

async fn health_at(client: &Client, url: &str) -> Result<bool, String> {
    let address = client.address(url).map_err(|error| error.to_string())?;
    let answer = http::call(&address, Method::GET, "/health", None, HEALTH_WITHIN).await;
    let answer = answer.map_err(|error| format!("Get \"{url}/health\": {}", in_gos_words(&error)))?;
    let told: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(told["health"] == "true" || told["health"] == true)
}

pub async fn member(verb: &str, line: &Line) -> Result<u8, Failed> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    match (verb, words.as_slice()) {
        ("list", []) => list(&Client::synced(line).await?).await,
        ("list", _) => Err(Failed::bare("No arguments accepted")),
        ("add", [name, url]) => add(&Client::synced(line).await?, name, url).await,
        ("add", _) => Err(Failed::bare("Provide a name and a single member peerURL")),
        ("remove", [id]) => remove(&Client::synced(line).await?, id).await,
        ("remove", _) => Err(Failed::bare("Provide a single member ID")),
        (_, [id, urls]) => update(&Client::synced(line).await?, id, urls).await,
        _ => Err(Failed::bare(
            "Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)",
        )),
    }
}

async fn answered(client: &Client, asked: &Asked, good: &[StatusCode]) -> Result<Answer, Failed> {
    let answer = client.ask(asked).await.map_err(|trouble| Failed::bare(trouble.text()))?;
    match good.contains(&answer.status) {
        true => Ok(answer),
        false => Err(Failed::bare(format!("unexpected status code {}", answer.status.as_u16()))),
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failed> {
    serde_json::from_slice(&answer.body).map_err(|error| Failed::bare(error.to_string()))
}

async fn members(client: &Client) -> Result<Vec<Member>, Failed> {
    let listed = answered(client, &Asked::get("/v2/members"), &[StatusCode::OK]).await?;
    Ok(read::<Members>(&listed)?.members)
}

async fn list(client: &Client) -> Result<u8, Failed> {
    let members = members(client).await?;
    let leader = answered(client, &Asked::get("/v2/members/leader"), &[StatusCode::OK]).await;
    let leader = leader.and_then(|answer| read::<Member>(&answer));
    let leader = leader.map_err(|failed| Failed::bare(format!("Failed to get leader:  {}", failed.text)))?;
    for Member { id, name, peer_urls, client_urls } in members {
        let (peers, clients) = (peer_urls.join(","), client_urls.join(","));
        match name.is_empty() {
            true => println!("{id}[unstarted]: peerURLs={peers}"),
            false => {
                println!("{id}: name={name} peerURLs={peers} clientURLs={clients} isLeader={}", id == leader.id);
            }
        }
    }
    Ok(0)
}

async fn add(client: &Client, name: &str, url: &str) -> Result<u8, Failed> {
    let body = json!({"peerURLs": peer_urls(&[url])?});
    let asked = Asked::with_json(Method::POST, "/v2/members".to_owned(), &body);
    let answer = answered(client, &asked, &[StatusCode::CREATED, StatusCode::CONFLICT]).await?;
    if answer.status == StatusCode::CONFLICT {
        return Err(Failed::bare(read::<Message>(&answer)?.message));
    }
    let added: Member = read(&answer)?;
    println!("Added member named {name} with ID {} to cluster", added.id);
    let mut initial = Vec::new();
    for member in members(client).await? {
        let called = if member.id == added.id { name } else { &member.name };
        initial.extend(member.peer_urls.iter().map(|url| format!("{called}={url}")));
    }
    println!("\nETCD_NAME={name:?}\nETCD_INITIAL_CLUSTER={:?}", initial.join(","));
    println!("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
    Ok(0)
}

async fn remove(client: &Client, id: &str) -> Result<u8, Failed> {
    let members = members(client)
        .await
        .map_err(|failed| Failed::bare(format!("Error while verifying ID against known members: {}", failed.text)))?;
    if let Some(named) = members.iter().find(|member| member.name == id) {
        eprint!(
            "Found a member named {}; if this is correct, please use its ID, eg:\n\tetcdctl member remove {}\nFor more details, read the \
             documentation at https://github.com/etcd-io/etcd/blob/master/Documentation/runtime-configuration.md#remove-a-member\n\n",
            named.name, named.id
        );
    }
    if !members.iter().any(|member| member.id == id) {
        return Err(Failed::bare(format!("Couldn't find a member in the cluster with an ID of {id}.")));
    }
    let asked = Asked { method: Method::DELETE, ..Asked::get(format!("/v2/members/{id}")) };
    let removed = answered(client, &asked, &[StatusCode::NO_CONTENT, StatusCode::GONE]).await;
    removed
        .map_err(|failed| Failed::bare(format!("Received an error trying to remove member {id}: {}", failed.text)))?;
    println!("Removed member {id} from cluster");
    Ok(0)
}

async fn update(client: &Client, id: &str, urls: &str) -> Result<u8, Failed> {
    let body = json!({"peerURLs": peer_urls(&urls.split(',').collect::<Vec<_>>())?});
    let asked = Asked::with_json(Method::PUT, format!("/v2/members/{id}"), &body);
    let good = [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND, StatusCode::CONFLICT];
    let answer = answered(client, &asked, &good).await?;
    if answer.status != StatusCode::NO_CONTENT {
        return Err(Failed::bare(read::<Message>(&answer)?.message));
    }
    println!("Updated member with ID {id} in cluster");
    Ok(0)
}

/// URLs as etcd takes them, in order.
fn peer_urls(given: &[&str]) -> Result<Vec<String>, Failed> {
    let mut urls = Vec::new();
    for url in given {
        let url = url.trim();
        let Some((scheme, rest)) =
            url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https" | "unix" | "unixs"))
        else {
            return Err(Failed::bare(format!("URL scheme must be http, https, unix, or unixs: {url}")));
        };
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, _)| (authority, "/"));
        if authority.rsplit_once(':').is_none() && !scheme.starts_with("unix") {
            return Err(Failed::bare(format!("URL address does not have the form \"host:port\": {url}")));
        }
        if !path.is_empty() {
            return Err(Failed::bare(format!("URL must not contain a path: {url}")));
        }
        urls.push(url.to_owned());
    }
    urls.sort();
    Ok(urls)
}
