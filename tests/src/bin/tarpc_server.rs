//! Serves stock tarpc's world over a pipe: `tarpc_server name NAME` or
//! `tarpc_server handles READ,WRITE`, one client, to its end.

use futures::StreamExt;
use panpipe_tests::world::{Greeter, World};
use panpipe_transport::codec::Bincode;
use panpipe_transport::{Listener, PipeStream, Transport};
use tarpc::server::{BaseChannel, Channel};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let stream = match [args[0].as_str(), args[1].as_str()] {
        ["name", name] => {
            let listener = Listener::bind(name).expect("the name is free");
            listener.accept().await.expect("a client can be accepted")
        }
        ["handles", handles] => PipeStream::from_handles(handles).expect("the parent passed them"),
        other => panic!("{other:?} is nothing to do"),
    };
    BaseChannel::with_defaults(Transport::new(stream, Bincode))
        .execute(Greeter.serve())
        .for_each(|handler| async {
            tokio::spawn(handler);
        })
        .await;
}
