//! A gRPC client that does no more than it must: what the load generator spends is taken from the servers it measures.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{Method, Request, Version};
use prost::Message;
use tokio::net::TcpStream;

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// A call of gRPC, named by its path: `/etcdserverpb.KV/Put`.
pub type Path = &'static str;

/// A connection; its clones share it.
#[derive(Clone)]
pub struct Connection {
    send: SendRequest<Bytes>,
    authority: String,
}

/// A message in gRPC's frame: a flag, four bytes of length, protobuf.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    message.encode(&mut bytes).expect("the buffer has room");
    bytes.freeze()
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (send, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            // The calls on it report their own failures.
            let _ = connection.await;
        });
        Ok(Self { send, authority: address.to_string() })
    }

    fn request(&self, path: Path) -> Request<()> {
        Request::builder()
            .version(Version::HTTP_2)
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a path of ours is a path")
    }

    /// One framed message there, one message back.
    pub async fn unary(&self, path: Path, message: Bytes) -> anyhow::Result<Bytes> {
        let mut send = self.send.clone().ready().await?;
        let (answer, mut body) = send.send_request(self.request(path), false)?;
        body.send_data(message, true)?;
        let answer = answer.await?;
        let mut status = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        let mut message = None;
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            message = Some(match message {
                None => piece,
                Some(before) => [before, piece].concat().into(),
            });
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        status = trailers.get("grpc-status").cloned().or(status);
        let status = status.with_context(|| format!("{path}: an answer without a status"))?;
        ensure!(status == "0", "{path}: status {status:?}, {:?}", trailers.get("grpc-message"));
        let message: Bytes = message.with_context(|| format!("{path}: an answer without a message"))?;
        Ok(message.slice(5..))
    }

    /// The same, with messages as values.
    pub async fn call<T: Message + Default>(&self, path: Path, message: &impl Message) -> anyhow::Result<T> {
        Ok(T::decode(self.unary(path, frame(message)).await?)?)
    }

    /// Sends one message and hears many.
    pub async fn stream(&self, path: Path, message: Bytes) -> anyhow::Result<Messages> {
        let mut send = self.send.clone().ready().await?;
        let (answer, mut body) = send.send_request(self.request(path), false)?;
        body.send_data(message, false)?;
        Ok(Messages { body: answer.await?.into_body(), _open: body, rest: BytesMut::new() })
    }
}

/// The answers of a stream.
pub struct Messages {
    body: RecvStream,
    /// Its end would end the call.
    _open: h2::SendStream<Bytes>,
    rest: BytesMut,
}

impl Messages {
    /// The next message.
    pub async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(head) = self.rest.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.rest.len() >= 5 + length {
                    let message = self.rest.split_to(5 + length).freeze();
                    return Ok(message.slice(5..));
                }
            }
            let Some(piece) = self.body.data().await else { bail!("the stream ended") };
            let piece = piece?;
            self.body.flow_control().release_capacity(piece.len())?;
            self.rest.extend_from_slice(&piece);
        }
    }
}
