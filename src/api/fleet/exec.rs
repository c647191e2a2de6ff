//! Commands in units and shells on machines, over a websocket: the client's first message is a [`Command`] in JSON, all others are
//! the messages of [`fleet::session`](crate::fleet::session), in binary.
//!
//! While users are asked for, whoever has the right may run commands on every machine. While they are not, only who may open a
//! machine's unix socket may, and there alone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval};

use super::query::Query;
use super::{Api, Failure};
use crate::api::http::Caller;
use crate::base::MachineId;
use crate::base::limits::{
    SESSION_COMMAND_BYTES_MAX, SESSION_HANG_UP_MS, SESSION_OPENING_MS_MAX, SESSION_PIECE_BYTES_MAX, SESSION_PING_MS,
    SESSIONS_MAX,
};
use crate::fleet::session::{Command, Input, Output, Session, SessionInput, SessionOutput, Target};

/// Why nobody may run commands from elsewhere while nobody is asked who he is.
const ASK_FOR_USERS: &str = "commands are run from elsewhere only while users are asked for (`etcdctl auth enable`), by those with \
    the role fleet-exec; until then only over a unix socket of the machine itself (client.socket)";

impl Api {
    /// `GET exec/NAME[?machine=ID]`, `GET exec?machine=ID`; with `roles` only while users are asked for.
    pub(super) async fn exec(
        self: &Arc<Self>,
        unit: Option<&str>,
        query: &Query,
        request: Request,
    ) -> Result<Response, Failure> {
        // A page in a browser could come with its user's certificate; programs send no such header.
        if request.headers().contains_key(header::ORIGIN) {
            return Err(Failure::Bad("commands are not run for pages in browsers".to_owned()));
        }
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let target = self.target(unit, query).await?;
        if !self.store.auth().enabled() {
            let elsewhere = !caller.local || target.machine != *self.inspector.here();
            if elsewhere || query.truth("roles") {
                return Err(Failure::Conflict(format!("machine {}: {ASK_FOR_USERS}", target.machine)));
            }
        }
        let (mut parts, _) = request.into_parts();
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Ok(refusal.into_response()),
        };
        let place = self.sessions.clone().try_acquire_owned();
        let place = place.map_err(|_| Failure::Busy(format!("{SESSIONS_MAX} commands are run by way of this node")))?;
        let by = caller.user.map_or_else(|| "whoever may open the socket".to_owned(), |user| format!("user {user}"));
        let upgrade = upgrade.max_message_size(SESSION_COMMAND_BYTES_MAX).max_frame_size(SESSION_COMMAND_BYTES_MAX);
        let api = self.clone();
        Ok(upgrade.on_upgrade(async move |socket| api.converse(socket, target, by, place).await))
    }

    /// The machine, and the unit there.
    async fn target(&self, unit: Option<&str>, query: &Query) -> Result<Target, Failure> {
        let machine = match unit {
            None => {
                let id = query.value("machine").ok_or_else(|| Failure::Bad("machine is not given".to_owned()))?;
                MachineId(id.to_owned())
            }
            Some(name) => {
                let mut holders = self.holders(name, query).await?;
                match (holders.pop(), holders.is_empty()) {
                    (Some(only), true) => only.id,
                    _ => {
                        return Err(Failure::Bad(format!("unit {name} is on several machines: say which, by machine")));
                    }
                }
            }
        };
        Ok(Target { machine, unit: unit.map(str::to_owned) })
    }

    async fn converse(&self, socket: WebSocket, target: Target, by: String, _place: OwnedSemaphorePermit) {
        let (mut to, mut from) = socket.split();
        let conversation = async {
            let last = match self.first_message(&mut from, &target, &by).await {
                Ok(session) => tokio::select! {
                    last = outward(session.output, &mut to) => last,
                    () = inward(&mut from, session.input) => None,
                },
                Err(reason) => Some(Output::Failed(reason)),
            };
            if let Some(last) = last {
                // The client may have gone already; so with the end.
                let _ = to.send(Message::Binary(last.encode().into())).await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = conversation => {}
        }
        let _ = to.close().await;
        // The client hangs up: were it done here, what it has not read yet could be lost to it.
        let read = async { while let Some(Ok(_)) = from.next().await {} };
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = tokio::time::timeout(Duration::from_millis(SESSION_HANG_UP_MS), read) => {}
        }
    }

    async fn first_message(
        &self,
        from: &mut SplitStream<WebSocket>,
        target: &Target,
        by: &str,
    ) -> Result<Session, String> {
        let within = Duration::from_millis(SESSION_OPENING_MS_MAX);
        let first = tokio::time::timeout(within, from.next()).await;
        let Ok(Some(Ok(Message::Text(text)))) = first else {
            return Err(format!("the first message has to be the command, as text, within {within:?}"));
        };
        let command: Command = serde_json::from_str(&text).map_err(|error| format!("the command: {error}"))?;
        if target.unit.is_some() && command.words.is_empty() {
            return Err("no command is given".to_owned());
        }
        self.inspector.exec(target, command, by).await.map_err(|error| error.to_string())
    }
}

/// What comes from a command goes to the client, until the last of it, which is returned; `None`: the client has gone.
async fn outward(mut output: Box<dyn SessionOutput>, to: &mut SplitSink<WebSocket, Message>) -> Option<Output> {
    let mut pings = interval(Duration::from_millis(SESSION_PING_MS));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            said = output.next() => match said? {
                last if last.is_last() => return Some(last),
                said => Message::Binary(said.encode().into()),
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        to.send(message).await.ok()?;
    }
}

/// What the client sends goes to the command, until the client goes.
async fn inward(from: &mut SplitStream<WebSocket>, mut input: Box<dyn SessionInput>) {
    let mut open = true;
    while let Some(Ok(message)) = from.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Some(sent) = Input::decode(&bytes) else { return };
        for piece in pieces(sent) {
            // A command that takes nothing more may still have something to say.
            open = open && input.send(piece).await;
        }
    }
}

/// Large messages as what other nodes take at once.
fn pieces(input: Input) -> Vec<Input> {
    match input {
        Input::Bytes(bytes) => {
            bytes.chunks(SESSION_PIECE_BYTES_MAX).map(|bytes| Input::Bytes(bytes.to_vec())).collect()
        }
        other => vec![other],
    }
}
