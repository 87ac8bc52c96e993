//! Serves a sequence until it is told a line, or its standard input ends: `sequence HOW NAME [MAX_CALLS]`, where HOW is
//! `current`, `threads` or `blocking`. Prints `ended` when the server has.

use std::time::Duration;

use panpipe::{Limits, Server};
use panpipe_tests::sequence::{Recorder, Sequence};
use tokio::runtime::Builder;

/// Longer than any test waits.
const GRACE: Duration = Duration::from_secs(3600);

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let mut limits = Limits::default();
    if let Some(max_calls) = args.get(2) {
        limits.max_calls = max_calls.parse().expect("a number");
    }
    let server =
        Server::bind(args[1].as_str()).grace(GRACE).service(Recorder::default().serve()).limits(limits);
    match args[0].as_str() {
        "current" => serve(&mut Builder::new_current_thread(), server),
        "threads" => serve(&mut Builder::new_multi_thread(), server),
        "blocking" => {
            let server = server.start_blocking().expect("the name is free");
            println!("ready");
            told();
            server.shutdown().expect("no thread of the server panics");
        }
        other => panic!("{other} is no way to serve"),
    }
    println!("ended");
}

/// Waits for a line, or for the end of the input.
fn told() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn serve(runtime: &mut Builder, server: Server) {
    let runtime = runtime.worker_threads(4).enable_all().build().expect("there is an event loop");
    runtime.block_on(async {
        let end = async {
            tokio::task::spawn_blocking(told).await.expect("a line can be read");
        };
        let server = server.until(end).start().expect("the name is free");
        println!("ready");
        server.wait().await.expect("the server's task does not panic");
    });
}
