//! zbus (D-Bus) from peer to peer over a Unix socket, on tokio.
//!
//! Bytes go as `serde_bytes` has them, one block: a `Vec<u8>` is taken element by
//! element. The method is called on the connection itself, without a proxy, which
//! would look for the peer's properties first. Without its feature `tracing`.

use panpipe_benches::job::ready;
use panpipe_benches::work;
use serde_bytes::ByteBuf;
use std::os::unix::net::UnixStream;

use tokio::net::UnixListener;
use zbus::connection::Builder;
use zbus::{Guid, interface};

const PATH: &str = "/echo";
const INTERFACE: &str = "org.example.Echo";

struct Echoing;

#[interface(name = "org.example.Echo")]
impl Echoing {
    fn echo(&self, bytes: ByteBuf) -> ByteBuf {
        bytes
    }
}

/// Serves on a path until the process is killed.
pub async fn serve(path: &str) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    while let Ok((stream, _)) = listener.accept().await {
        let stream = stream.into_std().expect("it leaves the event loop");
        tokio::spawn(async move {
            let connection = Builder::unix_stream(stream)
                .server(Guid::generate())
                .p2p()
                .serve_at(PATH, Echoing)
                .build()
                .await
                .expect("the client speaks D-Bus");
            connection.closed().await;
        });
    }
}

/// A connection.
pub struct Connection(zbus::Connection);

/// The bytes.
pub struct Payload(ByteBuf);

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload(ByteBuf::from(bytes))
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl work::Echo for Connection {
    type Payload = Payload;

    async fn echo(&self, payload: Payload) -> Payload {
        let answer = self.0.call_method(None::<&str>, PATH, Some(INTERFACE), "Echo", &payload.0).await;
        let answer = answer.expect("the server answers");
        Payload(answer.body().deserialize().expect("it has bytes"))
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str) -> Connection {
    let stream = UnixStream::connect(path).expect("the server listens");
    Connection(Builder::unix_stream(stream).p2p().build().await.expect("the server speaks D-Bus"))
}
