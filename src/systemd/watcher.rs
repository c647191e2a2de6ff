//! The one task that reads the bus: keeps the connection, follows signals, and reads all states anew where some may have
//! been missed.
//!
//! While it is connected it does nothing but take messages and hand out questions to tasks: zbus stops reading from the
//! socket when nobody takes what was read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zbus::message::Sequence;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, MessageStream};

use super::bus;
use super::shared::{Link, Shared, Stamp};
use super::signals::{self, Event};
use super::states;
use super::timer;
use crate::base::limits::{SYSTEMD_BACKOFF_MS_MAX, SYSTEMD_BACKOFF_MS_MIN};
use crate::fleet::executor::ActiveState;

/// Keeps the board up to date, for ever: a lost connection is made again.
pub async fn run(shared: Arc<Shared>) -> Infallible {
    let mut number = 0;
    let mut backoff = Backoff::default();
    loop {
        let ended = match bus::connect().await {
            Ok(connection) => {
                number += 1;
                let (ended, was_up) = Session::new(&shared, connection, number).run().await;
                if was_up {
                    backoff = Backoff::default();
                }
                ended
            }
            Err(reason) => reason,
        };
        tracing::warn!("systemd cannot be reached, units run on: {ended}");
        shared.link.send_replace(Link::Away { reason: ended });
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Doubling pauses.
#[derive(Default)]
struct Backoff {
    last_ms: u64,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        self.last_ms = (self.last_ms * 2).clamp(SYSTEMD_BACKOFF_MS_MIN, SYSTEMD_BACKOFF_MS_MAX);
        Duration::from_millis(self.last_ms)
    }
}

/// What a question of the watcher's came to.
enum Answer {
    /// Signals are passed on from now on; the name under which systemd sends its own, if it is there.
    Listening(Option<OwnedUniqueName>),
    States {
        states: Vec<(String, ActiveState)>,
        position: Sequence,
    },
}

/// The life of one connection.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    connection: Connection,
    number: u64,
    systemd: Option<OwnedUniqueName>,
    /// systemd forgets and finds all units in the course of a reload, which says nothing of their states.
    reloading: bool,
    listening: bool,
    was_up: bool,
    /// The question under way; never more than one.
    asking: JoinSet<zbus::Result<Answer>>,
    /// The states have to be read, again if they are being read already.
    outdated: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Arc<Shared>, connection: Connection, number: u64) -> Self {
        Self {
            shared,
            connection,
            number,
            systemd: None,
            reloading: false,
            listening: false,
            was_up: false,
            asking: JoinSet::new(),
            outdated: false,
            retry_at: None,
            backoff: Backoff::default(),
        }
    }

    /// Follows the connection to its end: why it ended, and whether it was ever of use.
    async fn run(mut self) -> (String, bool) {
        let mut messages = MessageStream::from(&self.connection);
        loop {
            self.ask();
            tokio::select! {
                message = messages.next() => match message {
                    Some(Ok(message)) => self.take(&message),
                    Some(Err(error)) => return (format!("the system bus: {}", bus::reason(&error)), self.was_up),
                    None => return ("the system bus has closed the connection".to_owned(), self.was_up),
                },
                Some(answer) = self.asking.join_next() => match answer {
                    Ok(Ok(answer)) => self.answered(answer),
                    Ok(Err(error)) => self.refused(&bus::reason(&error)),
                    Err(error) => self.refused(&error.to_string()),
                },
                () = pause(self.retry_at) => self.retry_at = None,
            }
        }
    }

    /// Asks the next question, if there is one and none is under way.
    fn ask(&mut self) {
        if !self.asking.is_empty() || self.retry_at.is_some() {
            return;
        }
        let connection = self.connection.clone();
        if !self.listening {
            self.asking.spawn(listen(connection));
        } else if self.outdated && self.systemd.is_some() {
            self.outdated = false;
            let names = self.shared.board().names();
            self.asking.spawn(read(connection, names));
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.backoff = Backoff::default();
        match answer {
            Answer::Listening(systemd) => {
                self.listening = true;
                // Whoever came while this was asked is known already, from a signal.
                self.systemd = self.systemd.take().or(systemd);
                self.outdated = true;
                if self.systemd.is_none() {
                    self.away("systemd is not on the bus");
                }
            }
            Answer::States { states, position } => {
                self.shared.take_down(&states, Stamp { connection: self.number, position });
                if self.systemd.is_some() {
                    self.up();
                }
            }
        }
    }

    fn refused(&mut self, reason: &str) {
        tracing::warn!("asking systemd for the states of units: {reason}");
        self.outdated = true;
        self.retry_at = Some(Instant::now() + self.backoff.next());
    }

    fn take(&mut self, message: &zbus::Message) {
        let shared = self.shared;
        let Some(event) = signals::event(message, self.systemd.as_ref(), |name| shared.board().holds(name)) else {
            return;
        };
        match event {
            Event::Unit { dropped: true, .. } if self.reloading => {}
            Event::Unit { name, seen, .. } => {
                let stamp = Stamp { connection: self.number, position: message.recv_position() };
                // Waking those who wait for changes is worth it only if there is one.
                let changed = shared.board().observe(&name, seen, stamp);
                if changed {
                    shared.update(|_| ());
                }
            }
            Event::Reloading(begun) => {
                self.reloading = begun;
                self.outdated |= !begun;
            }
            Event::Owner(systemd) => {
                self.reloading = false;
                self.outdated = true;
                self.retry_at = None;
                if systemd.is_none() {
                    self.away("systemd has left the bus");
                }
                self.systemd = systemd;
            }
        }
    }

    fn up(&mut self) {
        self.was_up = true;
        if matches!(*self.shared.link.borrow(), Link::Away { .. }) {
            tracing::info!("systemd is reached over the system bus");
            self.shared.link.send_replace(Link::Up { connection: self.connection.clone(), number: self.number });
        }
    }

    fn away(&self, reason: &str) {
        tracing::warn!("{reason}; units run on");
        self.shared.link.send_replace(Link::Away { reason: reason.to_owned() });
    }
}

/// Has the bus pass on signals, then looks who systemd is.
async fn listen(connection: Connection) -> zbus::Result<Answer> {
    let proxy = zbus::fdo::DBusProxy::new(&connection).await?;
    for rule in signals::rules()? {
        proxy.add_match_rule(rule).await?;
    }
    match proxy.get_name_owner(bus::SERVICE.try_into()?).await {
        Ok(owner) => Ok(Answer::Listening(Some(owner))),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => Ok(Answer::Listening(None)),
        Err(error) => Err(error.into()),
    }
}

/// Has systemd send signals, then asks for the states: what changes after that is told.
async fn read(connection: Connection, names: Vec<String>) -> zbus::Result<Answer> {
    match bus::manager(&connection).await?.subscribe().await {
        Err(error) if !bus::is_subscribed(&error) => return Err(error),
        _ => {}
    }
    let answer = bus::list_units(&connection, &names).await?;
    let mut states = states::rows(&answer)?;
    timer::read_all(&mut states, |name| bus::property(&connection, name, bus::TIMER, timer::LAST_TRIGGER)).await;
    Ok(Answer::States { states, position: answer.recv_position() })
}

/// Waits until `at`; for ever without it.
async fn pause(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }
}
