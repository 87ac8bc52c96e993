//! Stock tarpc, over its own Unix transport and over ours.
//!
//! bincode, the quickest of its codecs, and each handler in a task, as its own examples
//! have it. A client lets 1,000 calls be under way at once unless told otherwise, and it
//! is told where the work has more.

use std::future::Future;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::ready;
use panpipe_benches::job::{self, Work};
use panpipe_benches::work;
use panpipe_transport::codec::Bincode;
use panpipe_transport::{Listener, Transport, connect};
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode as TarpcBincode;
use tarpc::{ClientMessage, Response, client, context};

use crate::MAX_MESSAGE;

/// An echo with a `Vec<u8>`.
#[tarpc::service]
pub trait EchoVec {
    /// Gives its argument back.
    async fn echo(bytes: Vec<u8>) -> Vec<u8>;
}

/// An echo with a bytes type.
#[tarpc::service]
pub trait EchoBytes {
    /// Gives its argument back.
    async fn echo(bytes: Bytes) -> Bytes;
}

/// The implementation.
#[derive(Debug, Clone)]
pub struct Echoes;

impl EchoVec for Echoes {
    async fn echo(self, _: context::Context, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

impl EchoBytes for Echoes {
    async fn echo(self, _: context::Context, bytes: Bytes) -> Bytes {
        bytes
    }
}

impl work::Echo for EchoVecClient {
    type Payload = Vec<u8>;

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        EchoVecClient::echo(self, context::current(), payload).await.expect("the server answers")
    }
}

impl work::Echo for EchoBytesClient {
    type Payload = Bytes;

    async fn echo(&self, payload: Bytes) -> Bytes {
        EchoBytesClient::echo(self, context::current(), payload).await.expect("the server answers")
    }
}

/// Runs a connection's handlers as tarpc's own examples do: each in a task.
macro_rules! serve_each {
    ($transport:expr, $serve:expr) => {
        tokio::spawn(BaseChannel::with_defaults($transport).execute($serve).for_each(|handler| {
            tokio::spawn(handler);
            ready(())
        }))
    };
}

/// Serves `Vec<u8>` over tarpc's own transport.
pub async fn serve_vec(path: &str) {
    let mut listener = unix::listen(path, TarpcBincode::default).await.expect("the path is free");
    listener.config_mut().max_frame_length(MAX_MESSAGE);
    job::ready();
    while let Some(Ok(transport)) = listener.next().await {
        serve_each!(transport, EchoVec::serve(Echoes));
    }
}

/// Serves `Bytes` over tarpc's own transport.
pub async fn serve_bytes(path: &str) {
    let mut listener = unix::listen(path, TarpcBincode::default).await.expect("the path is free");
    listener.config_mut().max_frame_length(MAX_MESSAGE);
    job::ready();
    while let Some(Ok(transport)) = listener.next().await {
        serve_each!(transport, EchoBytes::serve(Echoes));
    }
}

/// Serves `Vec<u8>` over our transport.
pub async fn serve_vec_over_pipe(name: &str) {
    let listener = Listener::bind(name).expect("the name is free");
    job::ready();
    while let Ok(stream) = listener.accept().await {
        let transport =
            Transport::<_, ClientMessage<EchoVecRequest>, Response<EchoVecResponse>, _>::new(stream, Bincode)
                .with_max_message(MAX_MESSAGE);
        serve_each!(transport, EchoVec::serve(Echoes));
    }
}

/// Serves `Bytes` over our transport.
pub async fn serve_bytes_over_pipe(name: &str) {
    let listener = Listener::bind(name).expect("the name is free");
    job::ready();
    while let Ok(stream) = listener.accept().await {
        let transport = Transport::<_, ClientMessage<EchoBytesRequest>, Response<EchoBytesResponse>, _>::new(
            stream, Bincode,
        )
        .with_max_message(MAX_MESSAGE);
        serve_each!(transport, EchoBytes::serve(Echoes));
    }
}

fn config(work: Work) -> client::Config {
    let mut config = client::Config::default();
    config.max_in_flight_requests = config.max_in_flight_requests.max(work.calls());
    config
}

/// A client of [`serve_vec`].
pub fn connect_vec(path: &str, work: Work) -> impl Future<Output = EchoVecClient> {
    let mut transport = unix::connect(path, TarpcBincode::default);
    transport.config_mut().max_frame_length(MAX_MESSAGE);
    async move {
        let transport = transport.await.expect("the server listens");
        EchoVecClient::new(config(work), transport).spawn()
    }
}

/// A client of [`serve_bytes`].
pub fn connect_bytes(path: &str, work: Work) -> impl Future<Output = EchoBytesClient> {
    let mut transport = unix::connect(path, TarpcBincode::default);
    transport.config_mut().max_frame_length(MAX_MESSAGE);
    async move {
        let transport = transport.await.expect("the server listens");
        EchoBytesClient::new(config(work), transport).spawn()
    }
}

/// A client of [`serve_vec_over_pipe`].
pub async fn connect_vec_over_pipe(name: &str, work: Work) -> EchoVecClient {
    let stream = connect(name).await.expect("the server listens");
    EchoVecClient::new(config(work), Transport::new(stream, Bincode).with_max_message(MAX_MESSAGE)).spawn()
}

/// A client of [`serve_bytes_over_pipe`].
pub async fn connect_bytes_over_pipe(name: &str, work: Work) -> EchoBytesClient {
    let stream = connect(name).await.expect("the server listens");
    EchoBytesClient::new(config(work), Transport::new(stream, Bincode).with_max_message(MAX_MESSAGE)).spawn()
}
