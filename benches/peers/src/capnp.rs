//! capnp-rpc over a Unix socket, as its examples have it.
//!
//! Its futures stay on their thread, which the runtime of one thread is; the wrapper
//! checks it. Messages are read into buffers of their own and written from where they
//! were built, with the reader and writer buffered, which its examples advise.

use std::rc::Rc;

use capnp::capability::Promise;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use futures::io::{BufReader, BufWriter};
use panpipe_benches::job::ready;
use panpipe_benches::work;
use send_wrapper::SendWrapper;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::echo_capnp::echo;

struct Echoing;

impl echo::Server for Echoing {
    fn echo(
        self: Rc<Self>,
        params: echo::EchoParams,
        mut results: echo::EchoResults,
    ) -> impl Future<Output = Result<(), capnp::Error>> + 'static {
        let echoed = (|| {
            results.get().set_bytes(params.get()?.get_bytes()?);
            Ok(())
        })();
        Promise::<(), capnp::Error>::from(echoed)
    }
}

fn network(stream: UnixStream, side: Side) -> Box<VatNetwork<impl futures::AsyncRead + Unpin>> {
    let (read, write) = stream.into_split();
    // Its own limit, of 64 MiB, is less than a message of the works.
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let (read, write) = (BufReader::new(read.compat()), BufWriter::new(write.compat_write()));
    Box::new(VatNetwork::new(read, write, side, options))
}

/// Serves on a path until the process is killed.
pub async fn serve(path: &str) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    let client: echo::Client = new_client(Echoing);
    while let Ok((stream, _)) = listener.accept().await {
        let system = RpcSystem::new(network(stream, Side::Server), Some(client.clone().client));
        tokio::spawn(SendWrapper::new(system));
    }
}

/// A connection.
pub struct Connection(SendWrapper<echo::Client>);

/// An answer, and what it is read from.
pub struct Payload(Vec<u8>);

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload(bytes)
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl work::Echo for Connection {
    type Payload = Payload;

    fn echo(&self, payload: Payload) -> impl Future<Output = Payload> + Send {
        let mut request = self.0.echo_request();
        request.get().set_bytes(&payload.0);
        SendWrapper::new(async move {
            let answer = request.send().promise.await.expect("the server answers");
            let bytes = answer.get().and_then(|answer| answer.get_bytes()).expect("it has bytes");
            Payload(bytes.to_vec())
        })
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str) -> Connection {
    let stream = UnixStream::connect(path).await.expect("the server listens");
    let mut system = RpcSystem::new(network(stream, Side::Client), None);
    let client = system.bootstrap(Side::Server);
    tokio::spawn(SendWrapper::new(system));
    Connection(SendWrapper::new(client))
}
