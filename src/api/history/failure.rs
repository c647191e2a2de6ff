//! What the door to history refuses, and in which words.

use axum::response::Response;

use super::render;
use crate::api::http::{encoded, json};
use crate::api::status;
use crate::kv::{PastRefusal, Place, StoreError};
use crate::wire::history as wire;

/// The settings that say how long history is kept.
const GOVERNED_BY: &str =
    "the settings history_keep, history_max and history_revisions govern that, and whoever compacts by hand";

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The request makes no sense.
    Bad(String),
    /// History does not have what it asks for.
    Past(PastRefusal),
    Store(StoreError),
}

impl Failure {
    pub(super) fn response(&self) -> Response {
        json(status::history(self), encoded(&wire::Refusal { error: self.to_string(), oldest: self.oldest() }))
    }

    fn oldest(&self) -> Option<wire::Place> {
        match self {
            Self::Past(PastRefusal::Gone { oldest }) => Some(render::place(oldest)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bad(what) => f.write_str(what),
            Self::Past(PastRefusal::Gone { oldest }) => {
                write!(f, "that is gone: history is kept since {}; {GOVERNED_BY}", said(oldest))
            }
            Self::Past(PastRefusal::Future { newest }) => {
                write!(f, "there is no such revision yet; the newest is {}", said(newest))
            }
            Self::Past(PastRefusal::Backwards { from, to }) => {
                write!(f, "{} is later than {}; give the earlier moment first", said(from), said(to))
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

fn said(place: &Place) -> String {
    match render::place(place).time {
        Some(time) => format!("revision {} ({time})", place.revision),
        None => format!("revision {}", place.revision),
    }
}
