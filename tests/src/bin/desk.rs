//! Tells of metadata: `desk NAME [max_metadata=N] [gateway=OTHER]` serves under a name, and
//! `desk child` and `desk plugin` serve their parent. Prints `ready`, and serves until its standard input has ended.

use panpipe::{Limits, NoService, Server, ServiceClient};
use panpipe_tests::desk::{Clerk, Desk, DeskClient, Program};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("the first argument is the name, or `child`");
    if name == "child" {
        let served = panpipe::serve_parent(|_: NoService| Clerk::default().serve()).await;
        return served.expect("the parent closes in order");
    }
    if name == "plugin" {
        let served = panpipe::plugin_main_async("DESK", |_: NoService| Clerk::default().serve()).await;
        return served.expect("the host closes in order");
    }
    let mut server = Server::bind(name).metadata(&Program::new("desk"));
    let mut gateway = None;
    for arg in args {
        let (key, value) = arg.split_once('=').expect("a setting has a value");
        match key {
            "max_metadata" => {
                let max_metadata = value.parse().expect("the limit is a number");
                server = server.limits(Limits { max_metadata, ..Limits::default() });
            }
            "gateway" => gateway = Some(DeskClient::connect(value).await.expect("the other serves")),
            other => panic!("{other} is no setting"),
        }
    }
    server = match gateway {
        Some(other) => server.service(other.relayed()),
        None => server.service(Clerk::default().serve()),
    };
    let server = server.start().expect("the name is free");
    println!("ready");
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    server.shutdown().await.expect("the server's task does not panic");
}
