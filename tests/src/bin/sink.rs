//! Reads a one-way pipe, and prints each line's writer and number: `sink name NAME`
//! or `sink handle HANDLE`.
//!
//! Prints `ready`; under a name it ends when its standard input does, and prints `ended`.
//! Over a handle it ends with the pipe, and prints what has come.

use std::process::ExitCode;

use panpipe::oneway;
use panpipe_tests::sink::{Basin, Sink};
use panpipe_transport::PipeReader;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match [&args[0][..], &args[1]] {
        ["name", name] => {
            let told = async {
                let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
            };
            match oneway::Server::bind(name).service(Basin::printing().serve()).until(told).start() {
                Ok(server) => {
                    println!("ready");
                    server.wait().await.expect("the server's task does not panic");
                    println!("ended");
                }
                Err(error) => {
                    println!("{error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        ["handle", handle] => {
            let reader = PipeReader::from_handle(handle).expect("the parent has passed it");
            println!("ready");
            let totals = oneway::serve_reader(reader, Basin::printing().serve()).await;
            let totals = totals.expect("a pipe can be read");
            println!("{} records, {} damaged", totals.records, totals.damaged);
        }
        other => panic!("{other:?} is nothing to read"),
    }
    ExitCode::SUCCESS
}
