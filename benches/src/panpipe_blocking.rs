//! panpipe without a runtime on either side: blocking clients, and handlers that run
//! where their calls are read.

use panpipe::{NoService, Server};

use crate::blocking_work::BlockingEcho;
use crate::job::Work;
use crate::panpipe::{Echo, EchoBlockingClient, EchoClient, Echoes, limits};

impl BlockingEcho for EchoBlockingClient {
    type Payload = Vec<u8>;

    fn echo(&mut self, payload: Vec<u8>) -> Vec<u8> {
        EchoBlockingClient::echo(self, payload).expect("the server answers")
    }

    fn another(&self) -> Self {
        self.clone()
    }

    fn items(&mut self, size: usize) -> Box<dyn Iterator<Item = usize>> {
        let size = u32::try_from(size).expect("the works' items are small");
        let items = EchoBlockingClient::items(self, size).expect("the server answers");
        Box::new(items.into_iter().map(|item| item.expect("the server sends on").len()))
    }
}

/// Serves under a name until the process is killed.
pub fn serve(name: &str, work: Work) {
    let server = Server::bind(name).limits(limits(work)).service(Echoes.serve());
    let server = server.start_blocking().expect("the name is free");
    println!("ready");
    server.wait().expect("the server does not panic");
}

/// A client of [`serve`].
pub fn connect(name: &str, work: Work) -> EchoBlockingClient {
    EchoClient::connect(name).limits(limits(work)).blocking().expect("the server listens")
}

/// Serves the parent.
pub fn serve_parent() {
    let _ = panpipe::serve_parent_blocking(|_: NoService| Echoes.serve());
}
