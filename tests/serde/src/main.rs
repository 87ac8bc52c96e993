//! Serves a type for each feature of serde's: `serde_features NAME`. Prints `ready`, and ends when its
//! standard input does.

use panpipe::Server;
use panpipe_tests_serde::{Echo, Features, Items, Shelf};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let name = std::env::args().nth(1).expect("the first argument is the name");
    let told = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let server =
        Server::bind(name).service(Echo::default().serve()).service(Shelf.serve()).until(told).start();
    let server = server.expect("the name is free");
    println!("ready");
    server.wait().await.expect("the server's task does not panic");
}
