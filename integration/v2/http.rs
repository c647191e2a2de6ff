//! HTTP/1.1 by hand: requests go out byte for byte as a test wants them, whatever a client library would make of them.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// No server may be silent for so long, long polls apart.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Small, so that a test can hold many connections.
const BUFFER_BYTES: usize = 1_024;

/// A request as it goes over the wire.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Path and query, escaped.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Request {
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), ..Self::default() }
    }

    /// With a form as its body.
    pub fn form(mut self, form: impl Into<String>) -> Self {
        self.headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
        self.body = form.into();
        self
    }

    /// With JSON as its body.
    pub fn json(mut self, body: impl Into<String>) -> Self {
        self.headers.push(("Content-Type", "application/json".to_owned()));
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(f, " [{name}: {value}]")?;
        }
        if self.body.is_empty() { Ok(()) } else { write!(f, " {}", self.body) }
    }
}

/// An answer; of a long poll, what comes before its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} {}", self.status, self.number("X-Etcd-Index"), self.body)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A header that is a number; 0 where it is none.
    pub fn number(&self, name: &str) -> u64 {
        self.header(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// A connection that stays open from one request to the next.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWERS_WITHIN)).unwrap();
        Self(BufReader::with_capacity(BUFFER_BYTES, stream))
    }

    pub fn ask(&mut self, request: &Request) -> Answer {
        self.send(request);
        self.answer(&request.method)
    }

    pub fn send(&mut self, request: &Request) {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: v2\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !request.body.is_empty() || request.method == "PUT" || request.method == "POST" {
            text.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&request.body);
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Reads an answer to a request of this method.
    pub fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head();
        let empty = method == "HEAD" || answer.status == 204 || answer.status == 304;
        let chunked = answer.header("Transfer-Encoding").is_some();
        let body = match answer.header("Content-Length") {
            _ if empty => Vec::new(),
            _ if chunked => std::iter::from_fn(|| chunk(&mut self.0).unwrap()).flatten().collect(),
            Some(length) => {
                let mut body = vec![0; length.parse().unwrap()];
                self.0.read_exact(&mut body).unwrap();
                body
            }
            None => {
                let mut body = Vec::new();
                self.0.read_to_end(&mut body).unwrap();
                body
            }
        };
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Reads the next piece of a body whose end is not known yet.
    pub fn piece(&mut self) -> String {
        let piece = chunk(&mut self.0).unwrap().unwrap();
        String::from_utf8(piece).unwrap()
    }

    /// Reads status and headers.
    pub fn head(&mut self) -> Answer {
        let mut answer = Answer::default();
        let line = line(&mut self.0).unwrap();
        answer.status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        loop {
            let line = self::line(&mut self.0).unwrap();
            let Some((name, value)) = line.split_once(": ") else { return answer };
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

fn line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// The next chunk of a body; `None` behind the last.
fn chunk(from: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from_str_radix(&line(from)?, 16).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    line(from)?;
    Ok((length > 0).then_some(bytes))
}

/// A long poll or a stream under way. Dropping it ends it.
pub struct Watch {
    pub head: Answer,
    socket: TcpStream,
    lines: Receiver<String>,
}

impl Watch {
    /// Asks, and returns when the headers are there.
    pub fn open(to: SocketAddr, request: &Request) -> Self {
        let mut connection = Connection::open(to);
        connection.send(request);
        let head = connection.head();
        let socket = connection.0.get_ref().try_clone().unwrap();
        socket.set_read_timeout(None).unwrap();
        let (said, lines) = channel();
        let chunked = head.header("Transfer-Encoding").is_some();
        std::thread::spawn(move || {
            while chunked && let Ok(Some(bytes)) = chunk(&mut connection.0) {
                for line in String::from_utf8_lossy(&bytes).lines() {
                    let _ = said.send(line.to_owned());
                }
            }
        });
        Self { head, socket, lines }
    }

    /// The next line, if it comes in time; `Err` if none will come.
    pub fn next(&self, within: Duration) -> Result<Option<String>, ()> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
