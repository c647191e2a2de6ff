//! A command elsewhere on this program's own standard streams: bytes there and back, the terminal's size, the exit code.

use std::convert::Infallible;
use std::io::{IsTerminal as _, Write as _};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::base::limits::SESSION_PIECE_BYTES_MAX;
use crate::fleet::session::{Command, Input, Output, Size, Terminal};

/// Exit code where nothing is known of how the command ended, as ssh has it.
const UNKNOWN: u8 = 255;
/// Exit code where the command cannot be run, as shells have it.
const NOT_RUN: u8 = 126;
/// Exit codes that shells show for those whose reader has gone (SIGPIPE), or who were told to end (SIGTERM, SIGHUP).
const READER_GONE: u8 = 141;
const TERMINATED: u8 = 143;
const HUNG_UP: u8 = 129;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// This program's terminal, if it has one.
pub fn own() -> Option<Terminal> {
    let there = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let kind = std::env::var("TERM").ok().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "xterm".to_owned());
    there.then(|| Terminal { kind, size: size() })
}

fn size() -> Size {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size { width: size.ws_col, height: size.ws_row },
        _ => Size { width: 80, height: 24 },
    }
}

/// Runs a command over a websocket that was opened for it; what it ends with. What goes wrong is said.
pub async fn converse(connection: TokioIo<Upgraded>, command: &Command) -> u8 {
    let socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
    let (mut to, from) = socket.split();
    // Plain structs with string keys: serde_json has no way to fail on them.
    let opening = serde_json::to_string(command).unwrap_or_default();
    if to.send(Message::text(opening)).await.is_err() {
        return broken_off();
    }
    let _raw = command.terminal.as_ref().and_then(|_| Raw::enter());
    let (mut terminated, mut hung_up) = (ended_by(SignalKind::terminate()), ended_by(SignalKind::hangup()));
    tokio::select! {
        code = listen(from) => code,
        never = speak(to, command) => match never {},
        () = heard(&mut terminated) => TERMINATED,
        () = heard(&mut hung_up) => HUNG_UP,
    }
}

fn broken_off() -> u8 {
    complain("the node does not answer any more");
    UNKNOWN
}

/// Says something also where the terminal takes lines as they are.
fn complain(what: &str) {
    // Where nobody listens any more there is nobody to be told.
    let _ = write!(std::io::stderr(), "{what}\r\n");
}

fn ended_by(kind: SignalKind) -> Option<tokio::signal::unix::Signal> {
    signal(kind).ok()
}

async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Prints what comes until the end.
async fn listen(mut from: SplitStream<Socket>) -> u8 {
    while let Some(Ok(message)) = from.next().await {
        let Message::Binary(bytes) = message else { continue };
        let printed = match Output::decode(&bytes) {
            Some(Output::Stdout(bytes)) => print(&mut std::io::stdout(), &bytes),
            Some(Output::Stderr(bytes)) => print(&mut std::io::stderr(), &bytes),
            Some(Output::Ended(code)) => return u8::try_from(code).unwrap_or(UNKNOWN),
            Some(Output::Failed(reason)) => {
                complain(&reason);
                return NOT_RUN;
            }
            Some(Output::Lost(reason)) => {
                complain(&reason);
                return UNKNOWN;
            }
            None => true,
        };
        if !printed {
            return READER_GONE;
        }
    }
    broken_off()
}

/// `false`: nobody reads any more.
fn print(to: &mut dyn std::io::Write, bytes: &[u8]) -> bool {
    to.write_all(bytes).and_then(|()| to.flush()).is_ok()
}

/// Sends what is typed, and each new size of the terminal, as long as that is taken. What comes tells when it is over.
async fn speak(mut to: SplitSink<Socket, Message>, command: &Command) -> Infallible {
    let mut stdin = command.stdin.then(tokio::io::stdin);
    let mut resized = command.terminal.as_ref().and_then(|_| signal(SignalKind::window_change()).ok());
    let mut bytes = vec![0; SESSION_PIECE_BYTES_MAX];
    loop {
        let read = async {
            match &mut stdin {
                Some(stdin) => stdin.read(&mut bytes).await.unwrap_or(0),
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            count = read => Some(count),
            () = heard(&mut resized) => None,
        };
        let input = match read {
            None => Input::Resize(size()),
            Some(0) => {
                stdin = None;
                Input::End
            }
            Some(count) => Input::Bytes(bytes[..count].to_vec()),
        };
        if to.send(Message::binary(input.encode())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The terminal hands on every key as it is pressed, until this goes.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}
