//! tonic (gRPC, HTTP/2) over a Unix socket.
//!
//! Messages are prost's, with `Bytes` for bytes, which are not copied on decoding. The
//! stubs are of tonic's own generator without a `.proto` file. HTTP/2's windows are as
//! large as the largest message: with those of 64 KiB that it has by default a message
//! of 1 MiB waits sixteen times for its receiver. The server lets a connection have as
//! many calls at once as the work has; hyper's own limit is 200.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, repeat_with};
use panpipe_benches::job::{Job, ready};
use panpipe_benches::work;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::MAX_MESSAGE;
use stubs::echoes_client::EchoesClient;
use stubs::echoes_server::{Echoes, EchoesServer};

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/echo.Echoes.rs"));
}

/// Bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Block {
    /// Them.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

/// How many bytes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Size {
    /// So many.
    #[prost(uint32, tag = "1")]
    pub size: u32,
}

struct Echoing;

#[tonic::async_trait]
impl Echoes for Echoing {
    async fn echo(&self, request: Request<Block>) -> Result<Response<Block>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type ItemsStream = BoxStream<'static, Result<Block, Status>>;

    async fn items(&self, request: Request<Size>) -> Result<Response<Self::ItemsStream>, Status> {
        let size = request.into_inner().size as usize;
        Ok(Response::new(repeat_with(move || Ok(Block { bytes: vec![7; size].into() })).boxed()))
    }
}

/// Serves until the process is killed.
pub async fn serve(job: &Job) {
    let listener = UnixListener::bind(&job.place).expect("the path is free");
    ready();
    let service = EchoesServer::new(Echoing)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Server::builder()
        .initial_stream_window_size(window())
        .initial_connection_window_size(window())
        .max_concurrent_streams(u32::try_from(job.work.calls().max(200)).ok())
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .expect("it serves");
}

fn window() -> u32 {
    u32::try_from(MAX_MESSAGE).expect("HTTP/2 has windows of 31 bits")
}

/// A connection.
pub struct Connection(EchoesClient<Channel>);

impl work::Echo for Connection {
    type Payload = Bytes;

    async fn echo(&self, payload: Bytes) -> Bytes {
        let answer = self.0.clone().echo(Block { bytes: payload }).await;
        answer.expect("the server answers").into_inner().bytes
    }

    async fn items(&self, size: usize) -> BoxStream<'static, usize> {
        let size = u32::try_from(size).expect("the works' items are small");
        let items = self.0.clone().items(Size { size }).await.expect("the server answers").into_inner();
        items.map(|item| item.expect("the server sends on").bytes.len()).boxed()
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str) -> Connection {
    let channel = Endpoint::try_from(format!("unix:{path}"))
        .expect("that is an address")
        .initial_stream_window_size(window())
        .initial_connection_window_size(window())
        .connect()
        .await
        .expect("the server listens");
    let client = EchoesClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Connection(client)
}
