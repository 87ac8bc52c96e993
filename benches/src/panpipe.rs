//! panpipe, as its users use it.

use std::future::Future;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, repeat_with};
use panpipe::{Limits, NoService, Server, Streaming};

use crate::job::{HUGE, Work};
use crate::work;

/// An echo and a stream.
#[panpipe::service]
pub trait Echo {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// The same with bytes that a large message shares.
    async fn echo_bytes(&self, bytes: Bytes) -> Bytes;
    /// Items of so many bytes, without end.
    async fn items(&self, size: u32) -> Streaming<Bytes>;
}

/// The implementation.
#[derive(Debug)]
pub struct Echoes;

impl Echo for Echoes {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn echo_bytes(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn items(&self, size: u32) -> Streaming<Bytes> {
        Streaming::new(repeat_with(move || Bytes::from(vec![7; size as usize])))
    }
}

impl work::Echo for EchoClient {
    type Payload = Vec<u8>;

    fn echo(&self, payload: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send {
        let call = EchoClient::echo(self, payload);
        async move { call.await.expect("the server answers") }
    }

    async fn items(&self, size: usize) -> BoxStream<'static, usize> {
        let size = u32::try_from(size).expect("the works' items are small");
        let items = EchoClient::items(self, size).await.expect("the server answers");
        items.map(|item| item.expect("the server sends on").len()).boxed()
    }
}

/// A client that sends [`Bytes`].
#[derive(Debug)]
pub struct BytesClient(pub EchoClient);

impl work::Echo for BytesClient {
    type Payload = Bytes;

    fn echo(&self, payload: Bytes) -> impl Future<Output = Bytes> + Send {
        let call = self.0.echo_bytes(payload);
        async move { call.await.expect("the server answers") }
    }
}

/// The limits as they are, but where the work has larger messages, or more clients or
/// calls.
pub(crate) fn limits(work: Work) -> Limits {
    let mut limits = Limits::default();
    if work == Work::Beside {
        limits.max_message = 2 * HUGE;
        limits.max_call_bytes = 4 * HUGE;
    }
    limits.max_clients = limits.max_clients.max(work.connections());
    limits.max_calls = limits.max_calls.max(u32::try_from(work.calls()).expect("they are few"));
    limits.max_calls_in_all = limits.max_calls_in_all.max(work.connections() + work.calls());
    limits
}

/// Serves under a name until the process is killed.
pub async fn serve(name: &str, work: Work) {
    let server = Server::bind(name).limits(limits(work)).service(Echoes.serve());
    let server = server.start().expect("the name is free");
    println!("ready");
    server.wait().await.expect("the server does not panic");
}

/// A client of [`serve`].
pub async fn connect(name: &str, work: Work) -> EchoClient {
    EchoClient::connect(name).limits(limits(work)).await.expect("the server listens")
}

/// Serves the parent.
pub async fn serve_parent() {
    let _ = panpipe::serve_parent(|_: NoService| Echoes.serve()).await;
}
