//! The first two frames of a connection: who speaks, for which cluster, and to whom it believes to speak.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::guests::{Guests, Seat};
use super::message::{Lane, decode, encode};
use super::roll::Roll;
use crate::base::limits::{PEER_HANDSHAKE_BYTES_MAX, PEER_HANDSHAKE_MS_MAX, PEER_ROSTER_BYTES_MAX};
use crate::base::{ClusterId, MemberId};
use crate::kv::Member;
use crate::net::{FrameReader, FrameWriter};

/// Begins every hello, so that a stray client is told apart from a peer of another version.
const MAGIC: [u8; 8] = *b"corenode";

/// The protocol between peers that this program speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// What the connecting side says first. Fields are only ever appended, so that any version can read `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    magic: [u8; 8],
    pub version: u16,
    pub cluster: ClusterId,
    pub from: MemberId,
    pub to: MemberId,
    pub lane: Lane,
    /// Chosen by the process at its start.
    pub instance: u64,
}

/// What the accepting side answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Welcome,
    /// The reason, for the log of the one who asked.
    Refused(String),
    /// The one who asked belonged to the cluster and was removed from it.
    Removed(String),
    /// To one who asked for no member.
    Roster(Roster),
}

/// A cluster as one of its members knows it, for those who want to join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    pub cluster: ClusterId,
    /// Empty: the cluster has not come into being.
    pub members: Vec<Member>,
}

/// Who comes in.
pub enum Visitor {
    Peer(Hello, Seat),
    /// Somebody who belongs to no cluster and asks for this one's roster.
    Stranger,
}

/// Who this member is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// Tells this process from others that say to be the same member.
    pub instance: u64,
}

/// Why a connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// This member was removed from the cluster.
    #[error("{0}")]
    Removed(String),
    #[error("not a peer: {0}")]
    NotAPeer(String),
    /// The accepting side's own finding, and who the other claims to be.
    #[error("{reason}")]
    Rejected { from: MemberId, reason: String },
}

/// Says hello and waits to be let in.
pub async fn greet<R, W>(
    me: &Identity,
    to: MemberId,
    lane: Lane,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<(), HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        cluster: me.cluster,
        from: me.member,
        to,
        lane,
        instance: me.instance,
    };
    bounded(async {
        send(writer, encode(&hello)).await?;
        let answer = receive(reader).await?;
        match decode(&answer).map_err(HandshakeError::NotAPeer)? {
            Answer::Welcome => Ok(()),
            Answer::Refused(reason) => Err(HandshakeError::Refused(reason)),
            Answer::Removed(reason) => Err(HandshakeError::Removed(reason)),
            Answer::Roster(_) => Err(HandshakeError::NotAPeer("it answers what was not asked".to_owned())),
        }
    })
    .await
}

/// Asks whoever listens for the roster of its cluster, as one who belongs to none.
pub async fn inquire<R, W>(reader: &mut FrameReader<R>, writer: &mut FrameWriter<W>) -> Result<Roster, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let nobody = MemberId(0);
    let hello = Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        cluster: ClusterId(0),
        from: nobody,
        to: nobody,
        lane: Lane::Control,
        instance: 0,
    };
    bounded(async {
        send(writer, encode(&hello)).await?;
        let answer = receive_up_to(reader, PEER_ROSTER_BYTES_MAX).await?;
        match decode(&answer).map_err(HandshakeError::NotAPeer)? {
            Answer::Roster(roster) => Ok(roster),
            Answer::Refused(reason) | Answer::Removed(reason) => Err(HandshakeError::Refused(reason)),
            Answer::Welcome => Err(HandshakeError::NotAPeer("it answers what was not asked".to_owned())),
        }
    })
    .await
}

/// Tells a stranger the roster.
pub async fn introduce<W: AsyncWrite + Unpin>(
    roster: Roster,
    writer: &mut FrameWriter<W>,
) -> Result<(), HandshakeError> {
    bounded(send(writer, encode(&Answer::Roster(roster)))).await
}

/// Reads the hello of whoever connected and answers it. `barred`: whose certificate he has, where it is taken no more; he is
/// told no more than that, and that he was removed if he was.
pub async fn admit<R, W>(
    me: &Identity,
    (roll, barred): (&Roll, Option<&str>),
    guests: &Arc<Guests>,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<Visitor, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    bounded(async {
        let bytes = receive(reader).await?;
        let hello: Hello = decode(&bytes).map_err(HandshakeError::NotAPeer)?;
        if hello.magic != MAGIC {
            return Err(HandshakeError::NotAPeer("it does not say hello".to_owned()));
        }
        let barred = barred.map(|holder| format!("the certificate of {holder} was revoked"));
        if hello.cluster == ClusterId(0) && hello.from == MemberId(0) && hello.version == PROTOCOL_VERSION {
            return match barred {
                Some(reason) => Err(HandshakeError::NotAPeer(reason)),
                None => Ok(Visitor::Stranger),
            };
        }
        let judged = judge(me, &hello);
        let farewell = match &judged {
            Ok(()) => roll.farewell(hello.from),
            Err(_) => roll.farewell_of_former(hello.cluster, me.cluster),
        };
        if let Some(reason) = farewell {
            send(writer, encode(&Answer::Removed(reason.clone()))).await?;
            return Err(HandshakeError::Rejected { from: hello.from, reason });
        }
        let judged = judged.and_then(|()| barred.map_or(Ok(()), Err));
        match judged.and_then(|()| guests.admit(hello.from, hello.instance)) {
            Ok(seat) => {
                send(writer, encode(&Answer::Welcome)).await?;
                Ok(Visitor::Peer(hello, seat))
            }
            Err(reason) => {
                send(writer, encode(&Answer::Refused(reason.clone()))).await?;
                Err(HandshakeError::Rejected { from: hello.from, reason })
            }
        }
    })
    .await
}

/// Whether `hello` is for this member and from another one of its cluster. A member that is not known may be one that
/// joined while this one was away.
fn judge(me: &Identity, hello: &Hello) -> Result<(), String> {
    if hello.version != PROTOCOL_VERSION {
        return Err(format!(
            "member {} speaks version {} of the peer protocol, member {} speaks {PROTOCOL_VERSION}: run the same release on both",
            hello.from, hello.version, me.member
        ));
    }
    if hello.cluster != me.cluster {
        return Err(format!(
            "member {} belongs to cluster {}, member {} to cluster {}: check the initial cluster and its token on both",
            hello.from, hello.cluster, me.member, me.cluster
        ));
    }
    if hello.to != me.member {
        return Err(format!(
            "member {} looks for member {}, this is member {}: check the addresses in the initial cluster",
            hello.from, hello.to, me.member
        ));
    }
    if hello.from == me.member {
        return Err(format!("another process runs as member {} too: give each node its own name", me.member));
    }
    Ok(())
}

async fn bounded<T>(steps: impl Future<Output = Result<T, HandshakeError>>) -> Result<T, HandshakeError> {
    let wait = Duration::from_millis(PEER_HANDSHAKE_MS_MAX);
    tokio::time::timeout(wait, steps)
        .await
        .unwrap_or_else(|_| Err(HandshakeError::NotAPeer(format!("no handshake within {wait:?}"))))
}

async fn send<W: AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W>,
    bytes: Result<Bytes, String>,
) -> Result<(), HandshakeError> {
    let bytes = bytes.map_err(HandshakeError::NotAPeer)?;
    let io = |error: crate::net::FrameError| HandshakeError::NotAPeer(error.to_string());
    writer.write(&[&bytes]).await.map_err(io)?;
    writer.flush().await.map_err(io)
}

async fn receive<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Bytes, HandshakeError> {
    receive_up_to(reader, PEER_HANDSHAKE_BYTES_MAX).await
}

async fn receive_up_to<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    bytes_max: usize,
) -> Result<Bytes, HandshakeError> {
    reader.set_limit(bytes_max);
    match reader.next().await {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(HandshakeError::NotAPeer("it closed the connection without a word".to_owned())),
        Err(error) => Err(HandshakeError::NotAPeer(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(cluster: u64, member: u64) -> Identity {
        Identity { cluster: ClusterId(cluster), member: MemberId(member), instance: member }
    }

    async fn meet(
        client: Identity,
        to: u64,
        server: Identity,
    ) -> (Result<(), HandshakeError>, Result<(Hello, Seat), HandshakeError>) {
        let roll = Roll::default();
        roll.set_removed(vec![(MemberId(98), "gone".to_owned())]);
        let (near, far) = tokio::io::duplex(4096);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let (mut r1, mut w1) = (FrameReader::new(near_read, 0), FrameWriter::new(near_write));
        let (mut r2, mut w2) = (FrameReader::new(far_read, 0), FrameWriter::new(far_write));
        let guests = Arc::new(Guests::default());
        let (near, far) = tokio::join!(
            greet(&client, MemberId(to), Lane::Log, &mut r1, &mut w1),
            admit(&server, (&roll, None), &guests, &mut r2, &mut w2)
        );
        let peer = |visitor| match visitor {
            Visitor::Peer(hello, seat) => (hello, seat),
            Visitor::Stranger => panic!("a stranger"),
        };
        (near, far.map(peer))
    }

    #[tokio::test]
    async fn peers_of_one_cluster_meet() {
        let (near, far) = meet(identity(1, 10), 11, identity(1, 11)).await;
        near.unwrap();
        let (hello, _seat) = far.unwrap();
        assert_eq!((hello.from, hello.lane), (MemberId(10), Lane::Log));
    }

    #[tokio::test]
    async fn others_are_told_why_not() {
        let cases = [
            (identity(2, 10), 11, "cluster 2"),
            (identity(1, 10), 12, "looks for member c"),
            (identity(1, 98), 11, "member 62 (gone) has been permanently removed"),
            (identity(1, 11), 11, "runs as member b too"),
        ];
        for (client, to, word) in cases {
            let (near, far) = meet(client, to, identity(1, 11)).await;
            let (near, far) = (near.unwrap_err().to_string(), far.unwrap_err().to_string());
            assert!(near.contains(word) && far.contains(word), "{near} / {far}");
        }
    }

    #[tokio::test]
    async fn strangers_are_not_peers() {
        for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 2, 1, 2], &[]] {
            let mut reader = FrameReader::new(noise, 0);
            let mut writer = FrameWriter::new(Vec::new());
            let guests = Arc::new(Guests::default());
            let result = admit(&identity(1, 11), (&Roll::default(), None), &guests, &mut reader, &mut writer).await;
            assert!(matches!(result, Err(HandshakeError::NotAPeer(_))));
        }
    }

    #[tokio::test]
    async fn a_stranger_is_told_who_is_here() {
        let (near, far) = tokio::io::duplex(4096);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let (mut r1, mut w1) = (FrameReader::new(near_read, 0), FrameWriter::new(near_write));
        let (mut r2, mut w2) = (FrameReader::new(far_read, 0), FrameWriter::new(far_write));
        let member = Member { id: MemberId(11), name: "b".to_owned(), ..Member::default() };
        let roster = Roster { cluster: ClusterId(1), members: vec![member] };
        let answering = async {
            let visitor = admit(&identity(1, 11), (&Roll::default(), None), &Arc::default(), &mut r2, &mut w2).await;
            assert!(matches!(visitor, Ok(Visitor::Stranger)));
            introduce(roster.clone(), &mut w2).await.unwrap();
        };
        let (told, ()) = tokio::join!(inquire(&mut r1, &mut w1), answering);
        assert_eq!(told.unwrap(), roster);
    }
}
