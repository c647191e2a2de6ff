//! etcdctl's commands of API 2: paths over HTTP, with the outputs and exit codes of the original.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Context, Failed};
use crate::ctl::http::{self, Answer as HttpAnswer, HttpError};
use crate::wire::v2::{Answer, Failure, Node};

pub const VERBS: &[&str] = &[
    "set",
    "get",
    "ls",
    "rm",
    "rmdir",
    "mk",
    "mkdir",
    "setdir",
    "update",
    "updatedir",
    "watch",
    "exec-watch",
    "cluster-health",
];

const FORM: &str = "application/x-www-form-urlencoded";
/// Left as they are in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@').remove(b':');

/// A good answer with the index of its header.
struct Reply {
    answer: Answer,
    index: u64,
    raw: Vec<u8>,
}

pub async fn run(verb: &str, context: &Context) -> Result<u8, Failed> {
    match verb {
        "get" => get(context).await,
        "ls" => ls(context).await,
        "watch" | "exec-watch" => watch(verb, context).await,
        "cluster-health" => cluster_health(context).await,
        "rm" | "rmdir" => remove(verb, context).await,
        _ => write(verb, context).await,
    }
}

fn word(context: &Context, at: usize, what: &str) -> Result<String, Failed> {
    context.parsed.words.get(at).cloned().ok_or_else(|| Failed::usage(format!("{what} required")))
}

/// The key as the path of a request.
fn path(key: &str) -> String {
    let bare = key.trim_start_matches('/');
    format!("/v2/keys/{}", utf8_percent_encode(bare, PATH))
}

fn form(pairs: &[(&str, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

/// Who asks, as HTTP's basic authentication has it.
fn basic(context: &Context) -> Option<String> {
    let login = context.login.as_ref()?;
    let pair = STANDARD.encode(format!("{}:{}", login.user, login.password));
    Some(format!("Basic {pair}"))
}

/// Asks the endpoints in turn until one can be connected to.
async fn ask(context: &Context, method: Method, path: &str, body: Option<String>) -> Result<HttpAnswer, Failed> {
    let mut reasons = Vec::new();
    for address in &context.endpoints {
        let body = body.clone().map(|body| (FORM, body.into_bytes()));
        match http::call_as(basic(context).as_deref(), address, method.clone(), path, body, context.timeout).await {
            Ok(answer) => return Ok(answer),
            Err(error @ HttpError::Connect(_)) => reasons.push(error.to_string()),
            // The request may have been carried out, so it is not sent to another.
            Err(error) => return Err(Failed { code: 2, message: error.to_string() }),
        }
    }
    let message = format!("client: etcd cluster is unavailable or misconfigured; {}", reasons.join("; "));
    Err(Failed { code: 2, message })
}

async fn keys(context: &Context, method: Method, path: &str, body: Option<String>) -> Result<Reply, Failed> {
    let answer = ask(context, method, path, body).await?;
    reply(answer.status, &answer.headers, answer.body.to_vec())
}

fn reply(status: StatusCode, headers: &hyper::HeaderMap, raw: Vec<u8>) -> Result<Reply, Failed> {
    if !status.is_success() {
        let code = if status.is_server_error() { 5 } else { 4 };
        let message = match serde_json::from_slice::<Failure>(&raw) {
            Ok(failure) => {
                format!("{}: {} ({}) [{}]", failure.error_code, failure.message, failure.cause, failure.index)
            }
            Err(_) => format!("{status}: {}", String::from_utf8_lossy(&raw)),
        };
        return Err(Failed { code, message });
    }
    let index = headers.get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let answer = serde_json::from_slice(&raw)
        .map_err(|error| Failed { code: 2, message: format!("the answer is not etcd's JSON: {error}") })?;
    Ok(Reply { answer, index, raw })
}

fn print_key(context: &Context, reply: &Reply) {
    let node = reply.answer.node.clone().unwrap_or_default();
    let previous = reply.answer.prev_node.as_ref().and_then(|node| node.value.as_deref());
    let removed = reply.answer.action == "delete";
    match context.parsed.value("output") {
        Some("json") => println!("{}", String::from_utf8_lossy(&reply.raw).trim_end()),
        Some("extended") => {
            println!(
                "Key: {}\nCreated-Index: {}\nModified-Index: {}",
                node.key, node.created_index, node.modified_index
            );
            if let Some(value) = previous {
                println!("PrevNode.Value: {value}");
            }
            println!("TTL: {}\nIndex: {}", node.ttl, reply.index);
            if !removed {
                println!("\n{}", node.value.unwrap_or_default());
            }
        }
        _ if removed => println!("PrevNode.Value: {}", previous.unwrap_or_default()),
        _ => println!("{}", node.value.unwrap_or_default()),
    }
}

async fn get(context: &Context) -> Result<u8, Failed> {
    let key = word(context, 1, "key")?;
    let quorum = context.parsed.truth("quorum")?.to_string();
    let query = form(&[("quorum", quorum), ("sorted", context.parsed.truth("sort")?.to_string())]);
    let reply = keys(context, Method::GET, &format!("{}?{query}", path(&key)), None).await?;
    if reply.answer.node.as_ref().is_some_and(|node| node.dir) {
        return Err(Failed::usage(format!("{key}: is a directory")));
    }
    print_key(context, &reply);
    Ok(0)
}

async fn ls(context: &Context) -> Result<u8, Failed> {
    let key = context.parsed.words.get(1).cloned().unwrap_or_else(|| "/".to_owned());
    let query = form(&[
        ("quorum", context.parsed.truth("quorum")?.to_string()),
        ("recursive", context.parsed.truth("recursive")?.to_string()),
        ("sorted", context.parsed.truth("sort")?.to_string()),
    ]);
    let reply = keys(context, Method::GET, &format!("{}?{query}", path(&key)), None).await?;
    if context.parsed.value("output") == Some("json") {
        print_key(context, &reply);
        return Ok(0);
    }
    let node = reply.answer.node.unwrap_or_default();
    let slash = context.parsed.truth("p")?;
    if node.dir {
        node.nodes.iter().for_each(|child| print_tree(child, slash));
    } else {
        println!("{}", node.key);
    }
    Ok(0)
}

fn print_tree(node: &Node, slash: bool) {
    println!("{}{}", node.key, if slash && node.dir { "/" } else { "" });
    node.nodes.iter().for_each(|child| print_tree(child, slash));
}

async fn write(verb: &str, context: &Context) -> Result<u8, Failed> {
    let key = word(context, 1, "key")?;
    let directory = verb.ends_with("dir");
    let mut fields = Vec::new();
    if directory {
        fields.push(("dir", "true".to_owned()));
    } else {
        fields.push(("value", value(context)?));
    }
    if let Some(ttl) = context.parsed.number::<u64>("ttl")?.filter(|ttl| *ttl > 0) {
        fields.push(("ttl", ttl.to_string()));
    }
    if let Some(previous) = context.parsed.value("swap-with-value") {
        fields.push(("prevValue", previous.to_owned()));
    }
    if let Some(index) = context.parsed.number::<u64>("swap-with-index")?.filter(|index| *index > 0) {
        fields.push(("prevIndex", index.to_string()));
    }
    let in_order = verb == "mk" && context.parsed.truth("in-order")?;
    match verb {
        "mk" | "mkdir" if !in_order => fields.push(("prevExist", "false".to_owned())),
        "update" | "updatedir" => fields.push(("prevExist", "true".to_owned())),
        _ => {}
    }
    let method = if in_order { Method::POST } else { Method::PUT };
    let reply = keys(context, method, &path(&key), Some(form(&fields))).await?;
    if !directory || context.parsed.value("output").is_some_and(|output| output != "simple") {
        print_key(context, &reply);
    }
    Ok(0)
}

/// The value: the second word, or what comes in on standard input.
fn value(context: &Context) -> Result<String, Failed> {
    match context.parsed.words.get(2) {
        Some(value) => Ok(value.clone()),
        None => {
            let text = std::io::read_to_string(std::io::stdin())
                .map_err(|error| Failed::usage(format!("reading the value from standard input: {error}")))?;
            if text.is_empty() { Err(Failed::usage("value required")) } else { Ok(text) }
        }
    }
}

async fn remove(verb: &str, context: &Context) -> Result<u8, Failed> {
    let key = word(context, 1, "key")?;
    let recursive = context.parsed.truth("recursive")?;
    let directory = verb == "rmdir" || context.parsed.truth("dir")?;
    let mut query = vec![("dir", directory.to_string()), ("recursive", recursive.to_string())];
    if let Some(previous) = context.parsed.value("swap-with-value") {
        query.push(("prevValue", previous.to_owned()));
    }
    if let Some(index) = context.parsed.number::<u64>("swap-with-index")?.filter(|index| *index > 0) {
        query.push(("prevIndex", index.to_string()));
    }
    let reply = keys(context, Method::DELETE, &format!("{}?{}", path(&key), form(&query)), None).await?;
    let was_directory = reply.answer.node.as_ref().is_some_and(|node| node.dir);
    if !was_directory || context.parsed.value("output").is_some_and(|output| output != "simple") {
        print_key(context, &reply);
    }
    Ok(0)
}

async fn watch(verb: &str, context: &Context) -> Result<u8, Failed> {
    let key = word(context, 1, "key")?;
    let command = context.parsed.words.get(2..).unwrap_or_default();
    let recursive = context.parsed.truth("recursive")?;
    let for_ever = context.parsed.truth("forever")? || verb == "exec-watch";
    if verb == "exec-watch" && command.is_empty() {
        return Err(Failed::usage("key and command to exec required"));
    }
    let mut next = context.parsed.number::<u64>("after-index")?.map(|index| index + 1);
    loop {
        let mut query = vec![("wait", "true".to_owned()), ("recursive", recursive.to_string())];
        if let Some(index) = next {
            query.push(("waitIndex", index.to_string()));
        }
        let reply = long_poll(context, &format!("{}?{}", path(&key), form(&query))).await?;
        // An empty answer is a watch that the server let go: the next one goes on where it was.
        let Some(reply) = reply else { continue };
        let node = reply.answer.node.clone().unwrap_or_default();
        next = Some(node.modified_index + 1);
        if verb == "exec-watch" {
            execute(command, &reply)?;
        } else if !node.dir {
            if recursive {
                println!("[{}] {}", reply.answer.action, node.key);
            }
            print_key(context, &reply);
        }
        if !for_ever {
            return Ok(0);
        }
    }
}

async fn long_poll(context: &Context, path: &str) -> Result<Option<Reply>, Failed> {
    let failed = |error: HttpError| Failed { code: 2, message: error.to_string() };
    let mut reasons = Vec::new();
    for address in &context.endpoints {
        let mut streamed = match http::open_as(basic(context).as_deref(), address, Method::GET, path, None).await {
            Ok(streamed) => streamed,
            Err(error) => {
                reasons.push(error.to_string());
                continue;
            }
        };
        let mut body = Vec::new();
        while let Some(piece) = streamed.next().await.map_err(failed)? {
            body.extend_from_slice(&piece);
        }
        return if body.is_empty() { Ok(None) } else { reply(streamed.status, &streamed.headers, body).map(Some) };
    }
    Err(Failed { code: 2, message: reasons.join("; ") })
}

fn execute(command: &[String], reply: &Reply) -> Result<(), Failed> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let node = reply.answer.node.clone().unwrap_or_default();
    std::process::Command::new(program)
        .args(arguments)
        .env("ETCD_WATCH_ACTION", &reply.answer.action)
        .env("ETCD_WATCH_KEY", &node.key)
        .env("ETCD_WATCH_MODIFIED_INDEX", node.modified_index.to_string())
        .env("ETCD_WATCH_VALUE", node.value.unwrap_or_default())
        .status()
        .map_err(|error| Failed::usage(format!("running {program}: {error}")))?;
    Ok(())
}

async fn cluster_health(context: &Context) -> Result<u8, Failed> {
    let answer = ask(context, Method::GET, "/v2/members", None).await?;
    let members: crate::wire::v2::Members = serde_json::from_slice(&answer.body)
        .map_err(|error| Failed { code: 2, message: format!("the list of members is not etcd's JSON: {error}") })?;
    let mut healthy = 0;
    for member in &members.members {
        let url = member.client_urls.first().cloned().unwrap_or_default();
        let answer = match super::address(&context.tls, &url) {
            Ok(address) => http::call(&address, Method::GET, "/health", None, context.timeout).await.ok(),
            Err(_) => None,
        };
        let well = answer.is_some_and(|answer| String::from_utf8_lossy(&answer.body).contains("\"health\":\"true\""));
        healthy += usize::from(well);
        match well {
            true => println!("member {} is healthy: got healthy result from {url}", member.id),
            false => println!("failed to check the health of member {} on {url}", member.id),
        }
    }
    match healthy {
        all if all == members.members.len() => println!("cluster is healthy"),
        some if some > members.members.len() / 2 => println!("cluster is degraded"),
        _ => println!("cluster is unavailable"),
    }
    Ok(if healthy == members.members.len() { 0 } else { 5 })
}
