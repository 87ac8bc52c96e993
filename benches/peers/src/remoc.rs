//! remoc over a Unix socket, as its documentation has it.
//!
//! The codec is the quickest of its six: postbag, the default, takes 4 per cent
//! longer for a small call and gives 15 per cent less bulk. Its configuration is the
//! default but for what doubles a stream's bulk, see `configuration`: larger messages
//! in one piece halve the bulk of calls, larger chunks that of streams, and other
//! lengths of queues and numbers of calls at once change nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, poll_fn, unfold};
use panpipe_benches::job::{SMALL, ready};
use panpipe_benches::work;
use remoc::codec::Bincode as Wire;
use remoc::prelude::*;
use remoc::rtc::{self, CallError};
use remoc::{Cfg, Connect};
use tokio::net::{UnixListener, UnixStream};

use crate::MAX_MESSAGE;

/// How many blocks wait for their sender's or receiver's task. Sixteen, the default,
/// are as quick with small items and a little slower with large ones.
const BUFFER: usize = 64;

/// An echo and streams. `Bytes` is what remoc advises for bytes: one block, where a `Vec<u8>` is
/// a sequence.
#[rtc::remote]
pub trait Echo {
    /// Gives its argument back.
    async fn echo(&self, bytes: Bytes) -> Result<Bytes, CallError>;

    /// Items of so many bytes, on the channel for bytes: 25 per cent more small ones
    /// a second than on a typed one.
    async fn items(&self, size: usize) -> Result<rch::bin::Receiver, CallError>;

    /// Items of so many bytes, on a typed channel: with blocks of 64 KiB and one CPU
    /// twice as quick as the channel for bytes. As quick with `serde_bytes`.
    async fn blocks(&self, size: usize) -> Result<rch::mpsc::Receiver<Bytes, Wire, BUFFER>, CallError>;
}

/// The implementation.
#[derive(Debug)]
pub struct Echoes;

impl Echo for Echoes {
    async fn echo(&self, bytes: Bytes) -> Result<Bytes, CallError> {
        Ok(bytes)
    }

    async fn items(&self, size: usize) -> Result<rch::bin::Receiver, CallError> {
        let (sender, receiver) = rch::bin::channel();
        tokio::spawn(async move {
            let mut sender = sender.into_inner().await.expect("the client takes the receiver");
            while sender.send(vec![7; size].into()).await.is_ok() {}
        });
        Ok(receiver)
    }

    async fn blocks(&self, size: usize) -> Result<rch::mpsc::Receiver<Bytes, Wire, BUFFER>, CallError> {
        let (sender, receiver) = rch::mpsc::with_local_buffer::<Bytes, Wire>(BUFFER);
        tokio::spawn(async move { while sender.send(vec![7; size].into()).await.is_ok() {} });
        Ok(receiver.set_buffer())
    }
}

impl work::Echo for EchoClient<Wire> {
    type Payload = Bytes;

    async fn echo(&self, payload: Bytes) -> Bytes {
        Echo::echo(self, payload).await.expect("the server answers")
    }

    async fn items(&self, size: usize) -> BoxStream<'static, usize> {
        if size <= SMALL {
            let receiver = Echo::items(self, size).await.expect("the server answers");
            let receiver = receiver.into_inner().await.expect("the server has sent it");
            unfold(receiver, |mut receiver| async move {
                let item = Bytes::from(receiver.recv().await.expect("the server sends on")?);
                Some((item.len(), receiver))
            })
            .boxed()
        } else {
            let mut receiver = Echo::blocks(self, size).await.expect("the server answers");
            poll_fn(move |cx| {
                let item = receiver.poll_recv(cx);
                item.map(|item| item.expect("the server sends on").map(|item| item.len()))
            })
            .boxed()
        }
    }
}

/// The default, but that a port draws on the shared buffer for longer: its own limit of
/// 1 MB halves the bulk of a connection's only stream.
fn configuration() -> Cfg {
    Cfg { port_receive_throttle: 16 << 20, ..Cfg::default() }
}

/// Serves on a path until the process is killed.
pub async fn serve(path: &str) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (server, mut client) = EchoServerShared::<_, Wire>::new(Arc::new(Echoes));
            // The limits go to the other process with the client.
            client.set_max_request_size(MAX_MESSAGE);
            client.set_max_response_size(MAX_MESSAGE);
            let (read, write) = stream.into_split();
            // It buffers both halves itself.
            Connect::io(configuration(), read, write).provide(client).await.expect("the client connects");
            let _ = server.serve().await;
        });
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str) -> EchoClient<Wire> {
    let (read, write) = UnixStream::connect(path).await.expect("the server listens").into_split();
    Connect::io(configuration(), read, write).consume().await.expect("the server provides a client")
}
