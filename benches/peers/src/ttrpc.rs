//! ttrpc's async server and client over a Unix socket.
//!
//! Messages are rust-protobuf's, which is its default. It has no settings that would
//! matter here, and a fixed limit of 4 MiB for a message.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use panpipe_benches::job::ready;
use panpipe_benches::work;
use ttrpc::r#async::{Client, Server, ServerStreamSender, TtrpcContext};
use ttrpc::context;

use stubs::echo::{Block, Size};
use stubs::echo_ttrpc::{Echoes, EchoesClient, create_echoes};

#[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub, rust_2018_idioms)]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

struct Echoing;

#[async_trait]
impl Echoes for Echoing {
    async fn echo(&self, _: &TtrpcContext, block: Block) -> ttrpc::Result<Block> {
        Ok(block)
    }

    async fn items(
        &self,
        _: &TtrpcContext,
        size: Size,
        sender: ServerStreamSender<Block>,
    ) -> ttrpc::Result<()> {
        let item = || Block { bytes: vec![7; size.size as usize], ..Block::default() };
        while sender.send(&item()).await.is_ok() {}
        Ok(())
    }
}

/// Serves on a path until the process is killed.
pub async fn serve(path: &str) {
    let service = create_echoes(Arc::new(Echoing));
    let server = Server::new().bind(&format!("unix://{path}")).expect("the path is free");
    let mut server = server.register_service(service);
    server.start().await.expect("it serves");
    ready();
    std::future::pending::<()>().await;
}

/// A connection.
pub struct Connection(EchoesClient);

impl work::Echo for Connection {
    type Payload = Vec<u8>;

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let block = Block { bytes: payload, ..Block::default() };
        let answer = self.0.echo(context::Context::default(), &block).await;
        answer.expect("the server answers").bytes
    }

    async fn items(&self, size: usize) -> BoxStream<'static, usize> {
        let size = u32::try_from(size).expect("the works' items are small");
        let size = Size { size, ..Size::default() };
        let items = self.0.items(context::Context::default(), &size).await.expect("the server answers");
        unfold(items, |mut items| async move {
            let item = items.recv().await.expect("the server sends on")?;
            Some((item.bytes.len(), items))
        })
        .boxed()
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str) -> Connection {
    Connection(EchoesClient::new(
        Client::connect(&format!("unix://{path}")).await.expect("the server listens"),
    ))
}
