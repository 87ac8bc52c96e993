//! Serves the probe over its standard streams, while it prints.

use std::process::ExitCode;

use panpipe::CloseReason;
use panpipe_tests::probe::{Probe, Prober};

#[tokio::main]
async fn main() -> ExitCode {
    print!("what is printed and not yet written when the streams are taken");
    let stream = match panpipe_transport::stdio() {
        Ok(stream) => stream,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    assert!(panpipe_transport::stdio().is_err(), "they can be taken once");
    let printing = tokio::spawn(async {
        loop {
            println!("a line that would break the protocol");
            tokio::task::yield_now().await;
        }
    });
    let reason = panpipe::serve_stream(stream, Prober::default().serve()).await;
    printing.abort();
    if reason == CloseReason::Closed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
