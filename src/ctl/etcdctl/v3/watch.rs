//! `etcdctl watch`: events as they come, watches read from standard input (`-i`), a command for each event.

use std::process::Command;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::format::{quoted, shown};
use super::{Context, Failed, arguments, connected, exit, print_kv, refused};
use crate::ctl::args::{self, Parsed};
use crate::ctl::etcdctl::{FLAGS, V3_FLAGS};
use crate::kv::prefix_end;
use crate::wire::etcdserverpb::watch_client::WatchClient;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use crate::wire::mvccpb::Event;
use crate::wire::mvccpb::event::EventType;

/// Requests that may wait for the stream.
const REQUESTS_QUEUED_MAX: usize = 16;
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let (requests, queue) = mpsc::channel(REQUESTS_QUEUED_MAX);
    // A server may begin its answer only with the first watch: requests do not wait for it.
    let input_ended = CancellationToken::new();
    let mut command = Vec::new();
    if context.parsed.truth("interactive")? {
        let (requests, ended) = (requests.clone(), input_ended.clone());
        std::thread::spawn(move || {
            read_watches(&requests);
            ended.cancel();
        });
    } else {
        let create = create_request(&context.parsed)?;
        command = command_of(&context.parsed);
        let _ = requests.send(of(RequestUnion::CreateRequest(create))).await;
    }
    let stream = futures_util::stream::unfold(queue, async |mut queue: mpsc::Receiver<WatchRequest>| {
        queue.recv().await.map(|request| (request, queue))
    });
    let following = async {
        let mut client = WatchClient::new(connected(context).await?);
        let answers = client.watch(stream).await.map_err(|status| refused(&status))?.into_inner();
        follow(context, answers, &command).await
    };
    tokio::select! {
        followed = following => followed,
        () = input_ended.cancelled() => Err(Failed::with(exit::INPUT, "Error reading watch request line: EOF")),
    }
}

fn of(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}

/// `watch KEY [END]` and its flags.
fn create_request(parsed: &Parsed) -> Result<WatchCreateRequest, Failed> {
    let words = parsed.words.get(1..parsed.before_dashes.unwrap_or(parsed.words.len())).unwrap_or_default();
    let prefix = parsed.truth("prefix")?;
    let (key, range_end) = match words {
        [_, _] if prefix => return Err(arguments("`range_end` and `--prefix` are mutually exclusive")),
        [key] if prefix => (Bytes::from(key.clone()), prefix_end(key.as_bytes())),
        [key] => (Bytes::from(key.clone()), Bytes::new()),
        [key, end] => (Bytes::from(key.clone()), Bytes::from(end.clone())),
        _ => return Err(arguments("bad number of arguments")),
    };
    let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    Ok(WatchCreateRequest {
        key,
        range_end,
        start_revision: parsed.number("rev")?.unwrap_or(0),
        prev_kv: parsed.truth("prev-kv")?,
        progress_notify: parsed.truth("progress-notify")?,
        ..WatchCreateRequest::default()
    })
}

/// What stands behind `--`.
fn command_of(parsed: &Parsed) -> Vec<String> {
    parsed.before_dashes.and_then(|at| parsed.words.get(at..)).map(<[String]>::to_vec).unwrap_or_default()
}

/// One watch, or the wish to hear of progress, a line.
fn read_watches(requests: &mpsc::Sender<WatchRequest>) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match request_of(&line) {
            Ok(request) => {
                if requests.blocking_send(request).is_err() {
                    return;
                }
            }
            Err(message) => eprintln!("{message}"),
        }
    }
}

fn request_of(line: &str) -> Result<WatchRequest, String> {
    let words = shlex::split(line).unwrap_or_default();
    let shown = line.trim();
    match words.first().map(String::as_str) {
        None => Err(format!("Invalid command: {shown} (watch and progress supported)")),
        Some("progress") => Ok(of(RequestUnion::ProgressRequest(WatchProgressRequest {}))),
        Some("watch") if words.len() > 1 => {
            let parsed = args::parse(&words, &[FLAGS, V3_FLAGS], &|_| None);
            let parsed = parsed.map_err(|error| format!("Invalid command {shown} ({error})"))?;
            let create = create_request(&parsed);
            create
                .map(|create| of(RequestUnion::CreateRequest(create)))
                .map_err(|failed| format!("Invalid command {shown} ({})", failed.message))
        }
        Some("watch") => Err(format!("Invalid command {shown} (command type or key is not provided)")),
        Some(_) => Err(format!("Invalid command {shown} (only support watch)")),
    }
}

/// Prints until a watch is cancelled, the stream ends or the command fails.
async fn follow(context: &Context, mut answers: Streaming<WatchResponse>, command: &[String]) -> Result<u8, Failed> {
    while let Some(answer) = answers.message().await.map_err(|status| refused(&status))? {
        if answer.canceled {
            let reason = if answer.compact_revision == 0 { &answer.cancel_reason } else { COMPACTED };
            eprintln!("watch was canceled ({reason})");
            return Err(Failed::with(exit::INTERRUPTED, "watch is canceled by the server"));
        }
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.created && answer.events.is_empty() {
            continue;
        }
        if shown(context, &answer)? {
            answer.events.iter().try_for_each(|event| run_command(command, event, revision))?;
            continue;
        }
        if answer.events.is_empty() {
            println!("progress notify: {revision}");
        }
        for event in &answer.events {
            print_event(context, event)?;
            run_command(command, event, revision)?;
        }
    }
    Err(Failed::with(exit::INTERRUPTED, "the watch ended"))
}

fn kind(event: &Event) -> &'static str {
    if event.r#type == EventType::Delete as i32 { "DELETE" } else { "PUT" }
}

fn print_event(context: &Context, event: &Event) -> Result<(), Failed> {
    println!("{}", kind(event));
    event.prev_kv.iter().chain(&event.kv).try_for_each(|kv| print_kv(context, kv))
}

/// Runs the command with the event in its variables, text quoted as in Go.
fn run_command(command: &[String], event: &Event, revision: i64) -> Result<(), Failed> {
    let [program, rest @ ..] = command else { return Ok(()) };
    let kv = event.kv.clone().unwrap_or_default();
    let status = Command::new(program)
        .args(rest)
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quoted(kind(event).as_bytes()))
        .env("ETCD_WATCH_KEY", quoted(&kv.key))
        .env("ETCD_WATCH_VALUE", quoted(&kv.value))
        .status();
    let failure = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string().replace("exit status: ", "exit status "),
        Err(error) => error.to_string(),
    };
    let words: Vec<String> = command.iter().map(|word| quoted(word.as_bytes())).collect();
    eprintln!("command [{}] error ({failure})", words.join(" "));
    Err(Failed::usage(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_become_watches_or_say_why_not() {
        let create = |line: &str| match request_of(line).unwrap().request_union.unwrap() {
            RequestUnion::CreateRequest(create) => create,
            other => panic!("{other:?}"),
        };
        assert_eq!(create("watch a --prefix --rev=7").start_revision, 7);
        assert_eq!(create("watch a b").range_end, "b");
        assert!(matches!(request_of("progress").unwrap().request_union, Some(RequestUnion::ProgressRequest(_))));
        for (line, reason) in [
            ("", "Invalid command:  (watch and progress supported)"),
            ("watch", "Invalid command watch (command type or key is not provided)"),
            ("put a b", "Invalid command put a b (only support watch)"),
        ] {
            assert_eq!(request_of(line).unwrap_err(), reason);
        }
    }
}
