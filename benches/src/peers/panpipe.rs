//! panpipe, as its users use it.

use std::future::Future;

use panpipe::{NoService, Server};

use crate::work;

/// An echo.
#[panpipe::service]
pub trait Echo {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
}

/// The implementation.
#[derive(Debug)]
pub struct Echoes;

impl Echo for Echoes {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

impl work::Echo for EchoClient {
    fn echo(&self, size: usize) -> impl Future<Output = usize> + Send {
        let call = EchoClient::echo(self, vec![7; size]);
        async move { call.await.expect("the server answers").len() }
    }
}

/// Serves under a name until the process is killed.
pub async fn serve(name: &str) {
    let server = Server::bind(name).service(Echoes.serve()).start().expect("the name is free");
    println!("ready");
    server.wait().await.expect("the server does not panic");
}

/// Serves the parent.
pub async fn serve_parent() {
    let _ = panpipe::serve_parent(|_: NoService| Echoes.serve()).await;
}
