//! Serves boards: `board HOW NAME..`, where HOW is `serve`, `serve_blocking` or
//! `without_signals`. Prints what panpipe logs, and `ended` when the last server has.

use std::sync::Arc;
use std::time::Duration;

use panpipe::{ServeError, Server};
use panpipe_tests::board::{Board, Wood};
use panpipe_tests::lines::print_log;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Longer than any test waits.
const GRACE: Duration = Duration::from_secs(3600);

fn board(name: &str) -> Server {
    let end = Arc::new(Notify::new());
    let told = Arc::clone(&end);
    Server::bind(name)
        .grace(GRACE)
        .service(Wood::new(end).serve())
        .until(async move { told.notified().await })
}

fn main() -> Result<(), ServeError> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (how, names) = args.split_first().expect("board HOW NAME..");
    print_log();
    match how.as_str() {
        "serve_blocking" => board(&names[0]).serve_blocking()?,
        how => serve(how, names)?,
    }
    println!("ended");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn serve(how: &str, names: &[String]) -> Result<(), ServeError> {
    let mut servers = JoinSet::new();
    for name in names {
        let server = board(name);
        servers.spawn(match how {
            "without_signals" => server.without_signals().serve(),
            _ => server.serve(),
        });
    }
    while let Some(ended) = servers.join_next().await {
        ended.expect("no server panics")?;
    }
    Ok(())
}
