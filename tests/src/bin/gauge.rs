//! Serves a gauge until its standard input ends: `gauge NAME`.

use panpipe::Server;
use panpipe_tests::gauge::{Gauge, GaugeImpl};

#[tokio::main]
async fn main() {
    let name = std::env::args().nth(1).expect("a name");
    let server = Server::bind(name.as_str())
        .service(GaugeImpl::default().serve())
        .until(async {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
        })
        .start()
        .expect("the name is free");
    println!("ready");
    server.wait().await.expect("the server's task does not panic");
}
