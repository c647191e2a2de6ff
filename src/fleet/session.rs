//! Commands that people run in a unit or on a machine, whichever machine that is: what is asked for, and what goes in and comes out.
//!
//! Between client, node and node each [`Input`] and [`Output`] is one message, whose first byte is its channel. The channels are
//! those of Kubernetes' remote command protocol (`v5.channel.k8s.io`): 0 standard input, 1 standard output, 2 standard error,
//! 3 how it ended, 4 the terminal's size, 255 the end of a channel.

use serde::{Deserialize, Serialize};

use crate::base::{BoxFuture, MachineId};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ENDED: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments; none: a shell, on machines only.
    pub words: Vec<String>,
    /// Whether it reads what the client sends; else it finds nothing there.
    #[serde(default)]
    pub stdin: bool,
    /// It gets a terminal of its own, and what it prints is one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
}

impl Command {
    /// The program by which people know it, without what it is given.
    pub fn name(&self) -> &str {
        self.words.first().map_or("a shell", String::as_str)
    }
}

/// The terminal of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// `$TERM`.
    pub kind: String,
    pub size: Size,
}

/// In characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

/// Where it is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub machine: MachineId,
    /// `None`: beside all units.
    pub unit: Option<String>,
}

/// What goes to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(Vec<u8>),
    /// There are no more bytes.
    End,
    Resize(Size),
}

/// What comes from a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The exit code, or 128 and the signal's number; nothing follows.
    Ended(i32),
    /// It could not be run; nothing follows.
    Failed(String),
    /// It was run, and why nothing is known of how it ended; nothing follows.
    Lost(String),
}

/// How it ended, on channel 3.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Exit(i32),
    Error(String),
    Lost(String),
}

impl Input {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => message(STDIN, bytes),
            Self::End => vec![CLOSE, STDIN],
            Self::Resize(size) => message(RESIZE, &json(size)),
        }
    }

    /// Out of a message; `None`: it is none that is known.
    pub fn decode(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&STDIN, bytes) => Some(Self::Bytes(bytes.to_vec())),
            (&CLOSE, [STDIN]) => Some(Self::End),
            (&RESIZE, size) => serde_json::from_slice(size).ok().map(Self::Resize),
            _ => None,
        }
    }
}

impl Output {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(bytes) => message(STDOUT, bytes),
            Self::Stderr(bytes) => message(STDERR, bytes),
            Self::Ended(code) => message(ENDED, &json(&End::Exit(*code))),
            Self::Failed(reason) => message(ENDED, &json(&End::Error(reason.clone()))),
            Self::Lost(reason) => message(ENDED, &json(&End::Lost(reason.clone()))),
        }
    }

    /// Out of a message; `None`: it is none that is known.
    pub fn decode(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&STDOUT, bytes) => Some(Self::Stdout(bytes.to_vec())),
            (&STDERR, bytes) => Some(Self::Stderr(bytes.to_vec())),
            (&ENDED, end) => Some(match serde_json::from_slice(end).ok()? {
                End::Exit(code) => Self::Ended(code),
                End::Error(reason) => Self::Failed(reason),
                End::Lost(reason) => Self::Lost(reason),
            }),
            _ => None,
        }
    }

    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Failed(_) | Self::Lost(_))
    }
}

fn message(channel: u8, content: &[u8]) -> Vec<u8> {
    [&[channel], content].concat()
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Numbers and text: serde_json has no way to fail on them.
    serde_json::to_vec(value).unwrap_or_default()
}

/// A command that runs.
pub struct Session {
    pub input: Box<dyn SessionInput>,
    pub output: Box<dyn SessionOutput>,
}

/// The way to a command.
pub trait SessionInput: Send {
    /// Hands it over, once there is room for it; `false`: nothing more is taken.
    fn send(&mut self, input: Input) -> BoxFuture<'_, bool>;
}

/// What comes from a command. Dropping it ends the command, if it still runs: SIGHUP, and SIGKILL where that is not enough.
pub trait SessionOutput: Send {
    /// The next piece; `None` after the last one. What was not awaited to its end is lost to nobody: it comes the next time.
    fn next(&mut self) -> BoxFuture<'_, Option<Output>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let size = Size { width: 80, height: 24 };
        for input in [Input::Bytes(b"\0x".to_vec()), Input::Bytes(Vec::new()), Input::End, Input::Resize(size)] {
            assert_eq!(Input::decode(&input.encode()), Some(input));
        }
        assert_eq!(Input::Resize(size).encode(), b"\x04{\"Width\":80,\"Height\":24}");
        let failed = Output::Failed("no such program".to_owned());
        let lost = Output::Lost("the machine is away".to_owned());
        for output in [Output::Stdout(b"a\n".to_vec()), Output::Stderr(Vec::new()), Output::Ended(-1), failed, lost] {
            assert_eq!(Output::decode(&output.encode()), Some(output));
        }
        assert_eq!(Output::Ended(3).encode(), b"\x03{\"exit\":3}");
    }

    #[test]
    fn nonsense_is_no_message() {
        for nonsense in
            [&b""[..], b"\x01", b"\x09x", b"\x04{}", b"\x04{\"Width\":-1,\"Height\":2}", b"\xff", b"\xff\x01"]
        {
            assert_eq!(Input::decode(nonsense), None, "{nonsense:?}");
        }
        for nonsense in [&b""[..], b"\0x", b"\x03", b"\x03{}", b"\x03{\"exit\":\"1\"}", b"\xff\0"] {
            assert_eq!(Output::decode(nonsense), None, "{nonsense:?}");
        }
    }
}
