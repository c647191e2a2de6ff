//! A unit's own checks, made on its machine: a command line, or a GET.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::base::limits::{HEALTH_CHECK_MS_MAX, HEALTH_WORDS_BYTES_MAX};
use crate::net::{Address, connect};
use crate::shell;
use crate::unit::health::Check;

/// What is read of an answer: its first line is enough.
const ANSWER_BYTES: usize = 256;

/// Makes all checks, one after the other.
///
/// # Errors
/// The first that does not pass, and what it said.
pub async fn check(checks: &[Check]) -> Result<(), String> {
    let limit = Duration::from_millis(HEALTH_CHECK_MS_MAX);
    for check in checks {
        match check {
            Check::Command(line) => {
                let ended = shell::run(line, limit).await;
                ended.map_err(|error| shortened(&format!("{error}: {}", String::from_utf8_lossy(error.output()))))?;
            }
            Check::Http { authority, path } => {
                let asked = tokio::time::timeout(limit, get(authority, path, limit)).await;
                let late = |_| format!("GET http://{authority}{path}: no answer within {limit:?}");
                asked.map_err(late)?.map_err(|error| shortened(&format!("GET http://{authority}{path}: {error}")))?;
            }
        }
    }
    Ok(())
}

async fn get(authority: &str, path: &str, limit: Duration) -> Result<(), String> {
    let address: Address = authority.parse().map_err(|error| format!("{error}"))?;
    let mut connection = connect(&address, limit).await.map_err(|error| error.to_string())?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: corenode\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while head.len() < ANSWER_BYTES && !head.contains(&b'\n') {
        match connection.read_buf(&mut head).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default().trim();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(_) => Err(line.to_owned()),
        None => Err("the answer is no HTTP".to_owned()),
    }
}

fn shortened(words: &str) -> String {
    let words = words.trim().trim_end_matches(':');
    words[..words.floor_char_boundary(HEALTH_WORDS_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn answering(answer: &'static str) -> Check {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        });
        Check::Http { authority, path: "/".into() }
    }

    #[tokio::test]
    async fn what_passes_and_what_is_said_of_what_does_not() {
        let command = |line: &str| Check::Command(line.into());
        assert_eq!(check(&[command("true"), answering("HTTP/1.1 204 No Content\r\n\r\n").await]).await, Ok(()));
        let cases = [
            (command("echo not yet >&2; exit 3"), "exit status 3: not yet"),
            (answering("HTTP/1.1 503 Busy\r\n").await, "HTTP/1.1 503 Busy"),
            (answering("SSH-2.0\r\n").await, "no HTTP"),
            (answering("").await, "no HTTP"),
            (Check::Http { authority: "127.0.0.1:1".into(), path: "/".into() }, "cannot connect to 127.0.0.1:1"),
        ];
        for (one, expected) in cases {
            let said = check(&[one]).await.unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
        let long = check(&[command("yes é | head -c 100000; false")]).await.unwrap_err();
        assert!(long.len() <= HEALTH_WORDS_BYTES_MAX);
    }
}
