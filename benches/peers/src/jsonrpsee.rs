//! jsonrpsee: JSON-RPC in WebSocket messages over a Unix socket.
//!
//! Over the Unix socket, not over TCP on the loopback, as both its server and its
//! client take any stream: it is quicker, and what its peers here use. Bytes are base64 in
//! a string. Limits of size, connections, and calls at once are as the works need them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::server::{
    BatchRequestConfig, RpcModule, ServerBuilder, ServerConfig, serve_with_graceful_shutdown, stop_channel,
};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use panpipe_benches::job::{Job, Work, ready};
use panpipe_benches::work;
use tokio::net::{UnixListener, UnixStream};

/// The largest message: 1 MiB of base64.
const LARGEST: u32 = 16 << 20;

/// Serves until the process is killed.
pub async fn serve(job: &Job) {
    let mut methods = RpcModule::new(());
    methods
        .register_method("echo", |params, (), _| {
            let bytes = STANDARD.decode(params.one::<&str>()?).expect("the client sends base64");
            Ok::<_, ErrorObjectOwned>(STANDARD.encode(bytes))
        })
        .expect("the name is free");
    let config = ServerConfig::builder()
        .max_connections(u32::try_from(job.work.connections() + 100).expect("they are few"))
        .max_request_body_size(LARGEST)
        .max_response_body_size(LARGEST)
        .set_message_buffer_capacity(u32::try_from(job.work.calls().max(1024)).expect("they are few"))
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .ws_only()
        .build();
    let builder = ServerBuilder::with_config(config).to_service_builder();
    let listener = UnixListener::bind(&job.place).expect("the path is free");
    ready();
    let (stop, _server) = stop_channel();
    while let Ok((stream, _)) = listener.accept().await {
        let service = builder.clone().build(methods.clone(), stop.clone());
        tokio::spawn(serve_with_graceful_shutdown(stream, service, stop.clone().shutdown()));
    }
}

/// A connection.
pub struct Connection(WsClient);

impl work::Echo for Connection {
    type Payload = Vec<u8>;

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let mut params = ArrayParams::new();
        params.insert(STANDARD.encode(payload)).expect("a string can be encoded");
        let answer: String = self.0.request("echo", params).await.expect("the server answers");
        STANDARD.decode(answer).expect("it sends base64")
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str, work: Work) -> Connection {
    let stream = UnixStream::connect(path).await.expect("the server listens");
    let client = WsClientBuilder::new()
        .max_request_size(LARGEST)
        .max_response_size(LARGEST)
        .max_concurrent_requests(work.calls().max(256))
        .build_with_stream("ws://localhost", stream)
        .await
        .expect("the server speaks WebSocket");
    Connection(client)
}
