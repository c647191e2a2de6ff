//! The shim's side of its socket: takes orders from executors and tells them what has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::protocol::{Order, Push, Report};
use crate::base::limits::{SHIM_CONNECTIONS_MAX, SHIM_MESSAGE_BYTES_MAX};

/// An order, and where to say that it is taken.
pub struct Asked {
    pub order: Order,
    pub taken: mpsc::Sender<Push>,
}

/// What every connection is served from.
#[derive(Clone)]
pub struct Doors {
    pub orders: mpsc::Sender<Asked>,
    pub report: watch::Receiver<Report>,
    pub grown: watch::Receiver<u64>,
    /// Closed by the shim when it ends: connections then say what is left to say, and close.
    pub open: watch::Receiver<bool>,
    /// How many connections there are.
    pub guests: watch::Sender<usize>,
}

/// Serves connections until the shim ends.
pub async fn serve(listener: UnixListener, doors: Doors) {
    let mut open = doors.open.clone();
    let mut connections = JoinSet::new();
    let count = Arc::new(AtomicUsize::new(0));
    loop {
        tokio::select! {
            _ = open.wait_for(|open| !open) => break,
            Some(_) = connections.join_next() => {
                doors.guests.send_replace(count.fetch_sub(1, Ordering::Relaxed) - 1);
            }
            accepted = listener.accept(), if count.load(Ordering::Relaxed) < SHIM_CONNECTIONS_MAX => {
                if let Ok((stream, _)) = accepted {
                    doors.guests.send_replace(count.fetch_add(1, Ordering::Relaxed) + 1);
                    connections.spawn(converse(stream, doors.clone()));
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(stream: UnixStream, doors: Doors) {
    let (reading, writing) = stream.into_split();
    let (taken_in, taken) = mpsc::channel(64);
    let follow = watch::Sender::new(false);
    let writer = tell(writing, doors.clone(), taken, follow.subscribe());
    tokio::select! {
        () = hear(reading, doors, taken_in, follow) => {}
        () = writer => {}
    }
}

/// Reads orders until the other side hangs up or talks nonsense.
async fn hear(reading: OwnedReadHalf, doors: Doors, taken: mpsc::Sender<Push>, follow: watch::Sender<bool>) {
    let mut reading = BufReader::new(reading);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reading).take(SHIM_MESSAGE_BYTES_MAX as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 && line.ends_with(b"\n") => {}
            _ => return,
        }
        match serde_json::from_slice(&line) {
            Ok(Order::Follow { on }) => drop(follow.send_replace(on)),
            Ok(order) => {
                let asked = Asked { order, taken: taken.clone() };
                if doors.orders.send(asked).await.is_err() {
                    return;
                }
            }
            // An order of a newer version that this one does not know: its sender waits in vain, within its own bound.
            Err(_) => {}
        }
    }
}

async fn tell(
    mut writing: OwnedWriteHalf,
    mut doors: Doors,
    mut taken: mpsc::Receiver<Push>,
    mut follow: watch::Receiver<bool>,
) {
    doors.report.mark_changed();
    let mut ending = false;
    loop {
        let push = tokio::select! {
            biased;
            // Before what is taken, so that who hears of that has seen what came of it.
            Ok(()) = doors.report.changed() => {
                Push::Report(Box::new(doors.report.borrow_and_update().clone()))
            }
            Some(push) = taken.recv() => push,
            Ok(()) = doors.grown.changed(), if *follow.borrow() => {
                doors.grown.mark_unchanged();
                Push::Output
            }
            Ok(()) = follow.changed() => {
                if !*follow.borrow_and_update() {
                    continue;
                }
                // What came between the follower's own reading and this moment is told at once.
                doors.grown.mark_unchanged();
                Push::Output
            }
            _ = doors.open.wait_for(|open| !open), if !ending => {
                ending = true;
                continue;
            }
            () = std::future::ready(()), if ending => return,
        };
        let Ok(mut line) = serde_json::to_vec(&push) else {
            return;
        };
        line.push(b'\n');
        if writing.write_all(&line).await.is_err() {
            return;
        }
    }
}
