//! The engine's event stream: says that it answers, wakes the keeper of each container that something happens to, and goes
//! on when the engine is back.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;

use super::engine::{self, EngineError, LABEL_UNIT};
use super::shared::{Link, Shared, now};
use crate::base::limits::CONTAINER_LINK_PAUSE_MS;

/// How far back the stream begins, so that nothing is missed between connecting and listening.
const OVERLAP_S: i64 = 2;

/// Watches for as long as it is polled.
pub async fn run(shared: Arc<Shared>) -> Infallible {
    let (shortest, longest) = CONTAINER_LINK_PAUSE_MS;
    let mut pause = shortest;
    loop {
        match engine::connect(&shared.options.socket).await {
            Ok(docker) => {
                pause = shortest;
                tracing::info!(socket = %shared.options.socket.display(), "the container engine answers");
                let why = follow(&shared, docker).await;
                tracing::warn!(socket = %shared.options.socket.display(), why, "the container engine is away");
                away(&shared, why);
            }
            Err(error) => away(&shared, absence(&shared.options.socket, &error)),
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        pause = (pause * 2).min(longest);
    }
}

fn away(shared: &Shared, why: String) {
    shared.link.send_replace(Link::Away(why));
    shared.nudge(None);
}

/// Why there is no engine, and what to do about it.
fn absence(socket: &Path, error: &EngineError) -> String {
    let path = socket.display();
    match error {
        EngineError::Away(_) if !socket.exists() => {
            format!("there is no {path}; install docker or podman on this machine, or set docker.socket")
        }
        EngineError::Away(why) => format!("{path}: {why}"),
        other => format!("{path}: {other}"),
    }
}

/// Hears events until the stream ends; why it did.
async fn follow(shared: &Shared, docker: Docker) -> String {
    let mut filters = engine::labelled(&shared.options.machine_id, None);
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    let since = (now().0 / 1000 - OVERLAP_S).to_string();
    let options = EventsOptionsBuilder::default().filters(&filters).since(&since).build();
    let mut events = Box::pin(docker.events(Some(options)));
    shared.link.send_replace(Link::Up(docker.clone()));
    shared.nudge(None);
    loop {
        match events.next().await {
            Some(Ok(event)) => {
                let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
                // The engine runs health checks as commands in the container: those say nothing yet.
                let noise = event.action.is_some_and(|action| action.starts_with("exec_"));
                if let Some(unit) = attributes.get(LABEL_UNIT).filter(|_| !noise) {
                    shared.nudge(Some(unit));
                }
            }
            Some(Err(error)) => return EngineError::from(error).to_string(),
            None => return "its event stream has ended".to_owned(),
        }
    }
}
