//! What the doors bear of a client, in one value, so that tests need not wait as long as clients may.

use std::time::Duration;

use crate::base::limits::{
    ANSWER_CROWDED_MS_MAX, ANSWER_UNREAD_MS_MAX, ANSWERS_UNREAD_BYTES_MAX, BODIES_BYTES_MAX, BODY_BEGINNINGS_BYTES_MAX,
    BODY_ROOM_WAIT_MS_MAX, BODY_SILENT_MS_MAX, BODY_WAIT_MS_MAX, CLIENT_CONNECTIONS_MAX, FIRST_BYTES_WAIT_MS_MAX,
    HEADER_WAIT_MS_MAX,
};

/// Limits of time and size; the defaults are those of `base/limits.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections of one listener.
    pub connections: usize,
    /// From accepting a connection to its first bytes.
    pub first_bytes: Duration,
    /// The headers of each HTTP/1.1 request.
    pub headers: Duration,
    /// Within a body or message: without a further byte, and in all.
    pub body_silent: Duration,
    pub body: Duration,
    /// Bytes of unfinished requests: of their beginnings, and of what is beyond.
    pub beginnings_bytes: usize,
    pub bodies_bytes: usize,
    /// How long a body waits in all for room among them.
    pub room: Duration,
    /// How long an answer, or what a connection is sent, waits for a client that takes nothing.
    pub unread: Duration,
    pub unread_when_crowded: Duration,
    /// Bytes of large answers that clients have not taken yet, before they are a crowd.
    pub unread_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CLIENT_CONNECTIONS_MAX,
            first_bytes: Duration::from_millis(FIRST_BYTES_WAIT_MS_MAX),
            headers: Duration::from_millis(HEADER_WAIT_MS_MAX),
            body_silent: Duration::from_millis(BODY_SILENT_MS_MAX),
            body: Duration::from_millis(BODY_WAIT_MS_MAX),
            beginnings_bytes: BODY_BEGINNINGS_BYTES_MAX,
            bodies_bytes: BODIES_BYTES_MAX,
            room: Duration::from_millis(BODY_ROOM_WAIT_MS_MAX),
            unread: Duration::from_millis(ANSWER_UNREAD_MS_MAX),
            unread_when_crowded: Duration::from_millis(ANSWER_CROWDED_MS_MAX),
            unread_bytes: ANSWERS_UNREAD_BYTES_MAX,
        }
    }
}
