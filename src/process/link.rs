//! The executor's side of a unit's shim: starts it where there is none, hands it orders, hears its reports, and notices its end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::time::Instant;

use super::protocol::{Order, Push};
use super::shim::READY;
use super::store::UnitDir;
use crate::base::limits::{SHIM_ANSWER_MS_MAX, SHIM_ATTEMPTS_MAX, SHIM_MESSAGE_BYTES_MAX};

/// A connection to a shim.
pub struct Link {
    reading: BufReader<OwnedReadHalf>,
    writing: OwnedWriteHalf,
    /// What was read of a line so far: reading may be given up in the middle and gone on with.
    line: Vec<u8>,
    /// Orders that were not yet answered, by their numbers.
    unanswered: BTreeMap<u64, Order>,
    last_id: u64,
    /// When the oldest unanswered order should have been answered.
    overdue: Option<Instant>,
}

impl Link {
    /// Connects to the shim that is there.
    ///
    /// # Errors
    /// There is none.
    pub fn connect(dir: &UnitDir) -> io::Result<Self> {
        let (reading, writing) = UnixStream::from_std(dir.connect()?)?.into_split();
        Ok(Self {
            reading: BufReader::new(reading),
            writing,
            line: Vec::new(),
            unanswered: BTreeMap::new(),
            last_id: 0,
            overdue: None,
        })
    }

    /// Connects to the unit's shim, starting one where there is none.
    ///
    /// # Errors
    /// None comes up within its bound.
    pub async fn open(dir: &UnitDir, command: &[PathBuf]) -> io::Result<Self> {
        let mut last = io::Error::other("no attempt was made");
        for _ in 0..SHIM_ATTEMPTS_MAX {
            if let Ok(link) = Self::connect(dir) {
                return Ok(link);
            }
            match start_shim(dir, command).await {
                Ok(()) => {}
                // One that was started by an earlier node may hold the lock and come up meanwhile.
                Err(error) => last = error,
            }
        }
        Self::connect(dir).map_err(|_| last)
    }

    /// Sends an order that is answered.
    ///
    /// # Errors
    /// The shim is gone: [`Link::unanswered`] still has the order.
    pub async fn order(&mut self, make: impl FnOnce(u64) -> Order) -> io::Result<()> {
        self.last_id += 1;
        let order = make(self.last_id);
        self.unanswered.insert(self.last_id, order.clone());
        let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
        self.overdue.get_or_insert_with(|| Instant::now() + limit);
        self.send(&order).await
    }

    /// Sends an order that is not answered.
    ///
    /// # Errors
    /// The shim is gone.
    pub async fn send(&mut self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
        tokio::time::timeout(limit, self.writing.write_all(&line)).await?
    }

    /// When it is time to say that an order is not answered.
    pub fn overdue(&self) -> Option<Instant> {
        self.overdue
    }

    /// That was said: once is enough.
    pub fn warned(&mut self) {
        self.overdue = None;
    }

    /// What the shim never said to have taken.
    pub fn unanswered(self) -> impl Iterator<Item = Order> {
        self.unanswered.into_values()
    }

    /// Time runs anew for the orders that are left.
    fn taken(&mut self, id: u64) {
        self.unanswered.remove(&id);
        let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
        self.overdue = (!self.unanswered.is_empty()).then(|| Instant::now() + limit);
    }

    /// The next thing that the shim says; `None`: it is gone. May be given up at any await and called again.
    pub async fn hear(&mut self) -> Option<Push> {
        loop {
            let room = (SHIM_MESSAGE_BYTES_MAX - self.line.len().min(SHIM_MESSAGE_BYTES_MAX)) as u64;
            let mut limited = (&mut self.reading).take(room);
            match limited.read_until(b'\n', &mut self.line).await {
                Ok(_) if self.line.ends_with(b"\n") => {}
                _ => return None,
            }
            let line = std::mem::take(&mut self.line);
            match serde_json::from_slice(&line) {
                Ok(push) => {
                    if let Push::Taken { id } = push {
                        self.taken(id);
                    }
                    return Some(push);
                }
                // Of a newer version; passed over.
                Err(error) => tracing::debug!(%error, "a shim says what is not understood"),
            }
        }
    }
}

/// Starts a shim and waits until it listens.
async fn start_shim(dir: &UnitDir, command: &[PathBuf]) -> io::Result<()> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::other("no program for the shim is configured"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(dir.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
    let mut said = Vec::new();
    let stdout = child.stdout.take();
    let ready = async {
        match stdout {
            Some(stdout) => stdout.take(READY.len() as u64).read_to_end(&mut said).await,
            None => Ok(0),
        }
    };
    // A short bound: it may wait for the lock of one that is about to listen, and that one is as good.
    let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX / SHIM_ATTEMPTS_MAX as u64);
    let waited = tokio::time::timeout(limit, ready).await;
    if said == READY {
        // Reaped when it ends; it is not waited for otherwise.
        tokio::spawn(async move { child.wait().await });
        return Ok(());
    }
    match waited {
        Err(_) => {
            child.kill().await?;
            Err(io::Error::other(format!("the shim was not ready within {limit:?}")))
        }
        Ok(_) => {
            let status = child.wait().await?;
            Err(io::Error::other(format!("the shim ended at once: {status}")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_order_that_was_taken_is_heard_of_and_no_longer_overdue() {
        let folder = tempfile::tempdir().unwrap();
        let dir = UnitDir::new(folder.path().to_owned());
        let shim = tokio::net::UnixListener::from_std(dir.listen().unwrap()).unwrap();
        let mut link = Link::connect(&dir).unwrap();
        let (mut shim, _) = shim.accept().await.unwrap();
        for _ in 0..2 {
            link.order(|id| Order::Stop { id }).await.unwrap();
        }
        let first = link.overdue().unwrap();
        for (id, overdue) in [(1, true), (2, false)] {
            let mut said = serde_json::to_vec(&Push::Taken { id }).unwrap();
            said.push(b'\n');
            shim.write_all(&said).await.unwrap();
            assert_eq!(link.hear().await, Some(Push::Taken { id }));
            assert_eq!(link.overdue().is_some(), overdue);
            assert_ne!(
                link.overdue(),
                Some(first),
                "a caller that goes by the old time warns of an order that was taken"
            );
        }
    }
}
