//! A child that its parent calls: `child WHAT`.

use std::process::ExitCode;

use panpipe::NoService;
use panpipe_tests::plug::{HostClient, Plug, Plugged};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::system;
use panpipe_tests::worker::{Worker, WorkerImpl};

#[tokio::main]
async fn main() -> ExitCode {
    let what = std::env::args().nth(1).expect("child WHAT");
    let served = match what.as_str() {
        "probe" => panpipe::serve_parent(|_: NoService| Prober::default().serve()).await,
        "worker" => panpipe::serve_parent(|host: ProbeClient| WorkerImpl { host }.serve()).await,
        "worker-small-pipes" => {
            system::shrink_pipes();
            panpipe::serve_parent(|host: ProbeClient| WorkerImpl { host }.serve()).await
        }
        "plugged" => panpipe::serve_parent(|host: HostClient| Plugged { host }.serve()).await,
        "fds" => {
            println!("{:?}", system::own_fds());
            return ExitCode::SUCCESS;
        }
        "exit" => return ExitCode::from(7),
        other => panic!("{other} is nothing to do"),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
